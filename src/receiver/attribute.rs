//! OTLP's attribute values as the model has them.

use std::collections::HashSet;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use serde_json::{Map, Number, Value as Json};

use crate::model::{AttributeValue, Attributes, base64};

/// Texts that repeat within one request, each allocated once.
#[derive(Default)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>>,
}

impl Interner {
    /// The shared copy of `text`.
    pub(super) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = Arc::from(text);
        self.texts.insert(Arc::clone(&shared));
        shared
    }

    /// Attributes with shared keys; values that are absent become JSON's null.
    pub(super) fn attributes(&mut self, attributes: Vec<KeyValue>) -> Attributes {
        let attribute = |KeyValue { key, value, .. }| (self.intern(&key), attribute_value(value));
        attributes.into_iter().map(attribute).collect()
    }
}

/// One value: simple ones as they are, arrays, maps and bytes as JSON.
pub(super) fn attribute_value(value: Option<AnyValue>) -> AttributeValue {
    use any_value::Value;
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => AttributeValue::Text(text.into()),
        Some(Value::BoolValue(value)) => AttributeValue::Bool(value),
        Some(Value::IntValue(value)) => AttributeValue::Int(value),
        Some(Value::DoubleValue(value)) => AttributeValue::Double(value),
        other => AttributeValue::Json(json(other)),
    }
}

/// As protobuf's JSON mapping has it: numbers that JSON lacks are texts.
fn json(value: Option<any_value::Value>) -> Json {
    use any_value::Value;
    match value {
        Some(Value::StringValue(text)) => Json::String(text),
        Some(Value::BoolValue(value)) => Json::Bool(value),
        Some(Value::IntValue(value)) => Json::from(value),
        Some(Value::DoubleValue(value)) => {
            Number::from_f64(value).map_or_else(|| Json::String(not_finite(value)), Json::Number)
        }
        Some(Value::ArrayValue(array)) => {
            let values = array.values.into_iter().map(|value| json(value.value));
            Json::Array(values.collect())
        }
        Some(Value::KvlistValue(list)) => {
            let entry = |KeyValue { key, value, .. }| (key, json(value.and_then(|v| v.value)));
            Json::Object(list.values.into_iter().map(entry).collect::<Map<_, _>>())
        }
        Some(Value::BytesValue(bytes)) => Json::String(base64(&bytes).map(char::from).collect()),
        // An index into a table that only profiles have.
        Some(Value::StringValueStrindex(_)) | None => Json::Null,
    }
}

fn not_finite(value: f64) -> String {
    let name = match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{AnyValue, AttributeValue, KeyValue, any_value::Value, attribute_value};
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use serde_json::json;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn check(value: Value, expected: &AttributeValue) {
        assert_eq!(attribute_value(Some(any(value))), *expected);
    }

    #[test]
    fn simple_values_stay_and_the_rest_becomes_json() {
        check(
            Value::StringValue("a".to_owned()),
            &AttributeValue::Text("a".into()),
        );
        check(Value::BoolValue(true), &AttributeValue::Bool(true));
        check(Value::IntValue(-7), &AttributeValue::Int(-7));
        check(Value::DoubleValue(0.5), &AttributeValue::Double(0.5));
        check(
            Value::BytesValue(vec![0, 255]),
            &AttributeValue::Json(json!("AP8=")),
        );
        let list = KeyValueList {
            values: vec![KeyValue {
                key: "n".to_owned(),
                value: Some(any(Value::DoubleValue(f64::NEG_INFINITY))),
                ..KeyValue::default()
            }],
        };
        let values = vec![
            any(Value::IntValue(1)),
            AnyValue::default(),
            any(Value::KvlistValue(list)),
        ];
        check(
            Value::ArrayValue(ArrayValue { values }),
            &AttributeValue::Json(json!([1, null, { "n": "-Infinity" }])),
        );
        assert_eq!(attribute_value(None), AttributeValue::Json(json!(null)));
    }
}
