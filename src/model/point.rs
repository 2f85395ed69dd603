//! One row of a measurement, as InfluxDB has it: tags say which series, fields carry values.

use std::sync::Arc;

/// The value of a tag that stands for what is beyond a cap.
pub const OTHER: &str = "_other";

/// The value of one field. The type of a field never changes: InfluxDB refuses a point whose
/// field has another type than its first one had.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// A signed integer, written with the suffix `i`.
    Int(i64),
    /// A float; NaN and infinities are left out when the point is written.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A text.
    Text(Arc<str>),
    /// Bytes: base64 text in InfluxDB, a blob in the store.
    Bytes(Vec<u8>),
}

/// One point of a measurement.
///
/// High-cardinality values (trace, span, message and task ids) are fields, never tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Which measurement, one of the data model's names.
    pub measurement: &'static str,
    /// Tags in a fixed order; an empty value means that the tag is absent.
    pub tags: Vec<(&'static str, Arc<str>)>,
    /// Fields; a value that the source does not have is left out, never zero.
    pub fields: Vec<(&'static str, FieldValue)>,
    /// Nanoseconds since the Unix epoch.
    pub time_unix_nano: i64,
}

impl Point {
    /// An empty point of `measurement` at `time_unix_nano`.
    ///
    /// ```
    /// use rabtrace::model::Point;
    /// let point = Point::new("rabbitmq_queue", 1).tag("queue", "orders").int("messages", Some(3));
    /// assert_eq!(point.fields.len(), 1);
    /// ```
    #[must_use]
    pub fn new(measurement: &'static str, time_unix_nano: i64) -> Self {
        Self {
            measurement,
            tags: Vec::new(),
            fields: Vec::new(),
            time_unix_nano,
        }
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, name: &'static str, value: impl Into<Arc<str>>) -> Self {
        self.tags.push((name, value.into()));
        self
    }

    /// Adds an integer field if there is a value; one above `i64::MAX` is cut to it.
    #[must_use]
    pub fn int(mut self, name: &'static str, value: Option<u64>) -> Self {
        if let Some(value) = value {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            self.fields.push((name, FieldValue::Int(value)));
        }
        self
    }

    /// Adds a float field if there is a value.
    #[must_use]
    pub fn float(mut self, name: &'static str, value: Option<f64>) -> Self {
        if let Some(value) = value {
            self.fields.push((name, FieldValue::Float(value)));
        }
        self
    }

    /// Adds a text field if there is a value.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: Option<impl Into<Arc<str>>>) -> Self {
        if let Some(value) = value {
            self.fields.push((name, FieldValue::Text(value.into())));
        }
        self
    }
}
