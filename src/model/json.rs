//! Attributes as JSON texts.

use std::sync::Arc;

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
///
/// Every span is written so, and its texts are plain: what [`AttributesJson`] gives, at a fifth of its
/// instructions.
pub(crate) fn attributes_json(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let length = |(name, value): &(Arc<str>, AttributeValue)| {
        name.len() + value.text().map_or(ROOM, |text| text.len()) + PUNCTUATION
    };
    let mut json = String::with_capacity(1 + attributes.iter().map(length).sum::<usize>());
    for (at, (name, value)) in attributes.iter().enumerate() {
        json.push(if at == 0 { '{' } else { ',' });
        push_text(name, &mut json)?;
        json.push(':');
        match value {
            AttributeValue::Text(text) => push_text(text, &mut json)?,
            other => json.push_str(&serde_json::to_string(&ValueJson(other)).ok()?),
        }
    }
    json.push('}');
    Some(json)
}

/// Bytes that a value has that is no text, about.
const ROOM: usize = 16;
/// Quotes, colon and comma of one attribute.
const PUNCTUATION: usize = 6;

fn push_text(text: &str, json: &mut String) -> Option<()> {
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    // Without branches: so many bytes are looked at at once.
    let has_special = text.bytes().fold(false, |any, byte| any | is_special(byte));
    if has_special {
        json.push_str(&serde_json::to_string(text).ok()?);
    } else {
        json.push('"');
        json.push_str(text);
        json.push('"');
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{AttributesJson, attributes_json};
    use crate::model::{AttributeValue, Attributes};

    #[test]
    fn it_is_what_the_serializer_gives() {
        let long = "x".repeat(100);
        let texts = [
            "",
            "plain",
            "é ✓",
            "a\"b",
            "back\\slash",
            "line\nbreak",
            "\u{1}\u{7f}",
            &long,
        ];
        let texts = texts.map(|text| (text.into(), AttributeValue::Text(text.into())));
        let numbers = [
            AttributeValue::Int(i64::MIN),
            AttributeValue::Double(0.1),
            AttributeValue::Double(f64::NAN),
            AttributeValue::Bool(true),
            AttributeValue::Json(serde_json::json!({ "a": [1, null, "\""] })),
        ];
        let numbers = numbers.map(|value| ("n".into(), value));
        let attributes: Attributes = texts.into_iter().chain(numbers).collect();
        for number in 1..=attributes.len() {
            let some = attributes[..number].to_vec();
            let expected = serde_json::to_string(&AttributesJson(&some)).unwrap();
            assert_eq!(attributes_json(&some), Some(expected));
        }
        assert_eq!(attributes_json(&Vec::new()), None);
    }
}
