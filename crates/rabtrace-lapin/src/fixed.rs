//! Attributes that many spans have alike, kept so that copying one is cheap.
//!
//! Input: names and values, once. Output: the attribute, as often as a span wants it. A key that is
//! known to be static and a text that is known to be shared are copied without asking what they are.

use std::sync::Arc;

use opentelemetry::{KeyValue, StringValue};

/// An attribute of many spans.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    key: &'static str,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Constant(&'static str),
    Shared(Arc<str>),
    Number(i64),
    Flag(bool),
}

impl Fixed {
    pub(crate) fn constant(key: &'static str, value: &'static str) -> Self {
        let value = Value::Constant(value);
        Self { key, value }
    }

    pub(crate) fn text(key: &'static str, value: impl Into<Arc<str>>) -> Self {
        let value = Value::Shared(value.into());
        Self { key, value }
    }

    pub(crate) fn number(key: &'static str, value: i64) -> Self {
        let value = Value::Number(value);
        Self { key, value }
    }

    pub(crate) fn flag(key: &'static str, value: bool) -> Self {
        let value = Value::Flag(value);
        Self { key, value }
    }

    /// The attribute.
    pub(crate) fn attribute(&self) -> KeyValue {
        match &self.value {
            Value::Constant(text) => KeyValue::new(self.key, *text),
            Value::Shared(text) => KeyValue::new(self.key, StringValue::from(Arc::clone(text))),
            Value::Number(number) => KeyValue::new(self.key, *number),
            Value::Flag(flag) => KeyValue::new(self.key, *flag),
        }
    }
}
