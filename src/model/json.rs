//! Attributes as JSON texts.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{AttributeValue, Attributes};

/// Attributes as one object, in their order.
pub(crate) struct AttributesJson<'a>(pub(crate) &'a Attributes);
struct ValueJson<'a>(&'a AttributeValue);

impl Serialize for AttributesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(&**name, &ValueJson(value))?;
        }
        map.end()
    }
}

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AttributeValue::Text(text) => serializer.serialize_str(text),
            AttributeValue::Bool(value) => serializer.serialize_bool(*value),
            AttributeValue::Int(value) => serializer.serialize_i64(*value),
            AttributeValue::Double(value) => serializer.serialize_f64(*value),
            AttributeValue::Json(value) => value.serialize(serializer),
        }
    }
}

/// An object; none when empty.
pub(crate) fn attributes_json(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    serde_json::to_string(&AttributesJson(attributes)).ok()
}
