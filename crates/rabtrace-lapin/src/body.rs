//! Bodies of messages on spans: off unless asked for, capped, and as the application redacts them.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lapin::BasicProperties;
use opentelemetry::KeyValue;

use crate::semconv;

type Redact = dyn Fn(&[u8]) -> Option<String> + Send + Sync;

/// Which bodies go onto spans as `rabtrace.message.body`, and how much of them. Only spans that
/// are recorded have one.
///
/// ```
/// use rabtrace_lapin::{BodyCapture, TraceConfig};
///
/// let bodies = BodyCapture::up_to_bytes(256)
///     .with_content_type("application/json")
///     .with_redaction(|body| {
///         let text = std::str::from_utf8(body).ok()?;
///         (!text.contains("password")).then(|| text.to_owned())
///     });
/// let config = TraceConfig::new().with_body_capture(bodies);
/// ```
#[derive(Clone)]
pub struct BodyCapture {
    bytes: usize,
    content_types: Vec<String>,
    redact: Option<Arc<Redact>>,
}

impl BodyCapture {
    /// The first `bytes` bytes of every body that is text.
    #[must_use]
    pub fn up_to_bytes(bytes: usize) -> Self {
        Self {
            bytes,
            content_types: Vec::new(),
            redact: None,
        }
    }

    /// Only bodies of this content type, and of others that are named so. Parameters
    /// (`; charset=utf-8`) do not matter.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_types.push(content_type.into());
        self
    }

    /// What of a body may be shown, or none. It gets the whole body; its text is cut afterwards.
    /// Where it panics, nothing is shown.
    #[must_use]
    pub fn with_redaction<F>(mut self, redact: F) -> Self
    where
        F: Fn(&[u8]) -> Option<String> + Send + Sync + 'static,
    {
        self.redact = Some(Arc::new(redact));
        self
    }

    /// The attribute of a message, if its body may be shown.
    pub(crate) fn attribute(&self, properties: &BasicProperties, data: &[u8]) -> Option<KeyValue> {
        if !self.takes(properties) {
            return None;
        }
        let text: Cow<'_, str> = match &self.redact {
            Some(redact) => catch_unwind(AssertUnwindSafe(|| redact(data)))
                .ok()??
                .into(),
            None => text_of(data, self.bytes)?.into(),
        };
        let shown = cut(&text, self.bytes).to_owned();
        Some(KeyValue::new(semconv::RABTRACE_MESSAGE_BODY, shown))
    }

    fn takes(&self, properties: &BasicProperties) -> bool {
        if self.content_types.is_empty() {
            return true;
        }
        let stated = properties.content_type().as_ref().map(|kind| kind.as_str());
        let stated = stated.unwrap_or_default().split(';').next();
        let stated = stated.unwrap_or_default().trim();
        let types = self.content_types.iter();
        types
            .into_iter()
            .any(|kind| kind.eq_ignore_ascii_case(stated))
    }
}

impl fmt::Debug for BodyCapture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BodyCapture")
            .field("bytes", &self.bytes)
            .field("content_types", &self.content_types)
            .finish_non_exhaustive()
    }
}

/// The beginning of a body that is text. Bytes beyond the cut are not looked at.
fn text_of(data: &[u8], bytes: usize) -> Option<&str> {
    let head = data.get(..bytes).unwrap_or(data);
    match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // A character that the cut went through is no reason to call it binary.
        Err(error) if error.error_len().is_none() && head.len() < data.len() => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev();
    let end = end.into_iter().find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(capture: &BodyCapture, content_type: &str, body: &[u8], expect: Option<&str>) {
        let properties = BasicProperties::default().with_content_type(content_type.into());
        let shown = capture.attribute(&properties, body);
        let shown = shown.map(|attribute| attribute.value.to_string());
        assert_eq!(shown.as_deref(), expect, "{content_type} {body:?}");
    }

    #[test]
    fn bodies_are_cut_between_characters() {
        let capture = BodyCapture::up_to_bytes(5);
        check(&capture, "", b"hello world", Some("hello"));
        check(&capture, "", "hell\u{e9}".as_bytes(), Some("hell"));
        check(&capture, "", b"", Some(""));
        check(&capture, "", b"\xff\xfe", None);
        check(&capture, "", b"abc\xc3", None);
    }

    #[test]
    fn only_the_named_content_types_are_shown() {
        let capture = BodyCapture::up_to_bytes(50).with_content_type("application/json");
        check(
            &capture,
            "application/json; charset=utf-8",
            b"{}",
            Some("{}"),
        );
        check(&capture, "Application/JSON", b"{}", Some("{}"));
        check(&capture, "text/plain", b"{}", None);
        check(&capture, "", b"{}", None);
    }

    #[test]
    fn redaction_has_the_last_word() {
        let capture = BodyCapture::up_to_bytes(4);
        let hidden = capture.clone().with_redaction(|_| None);
        check(&hidden, "", b"secret", None);
        let panics = capture.clone().with_redaction(|_| panic!("as a test"));
        check(&panics, "", b"secret", None);
        let binary = capture.with_redaction(|body| Some(format!("{} bytes", body.len())));
        check(&binary, "", b"\xff\xff", Some("2 by"));
    }
}
