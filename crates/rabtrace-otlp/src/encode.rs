//! OTLP written by hand, straight from span data.
//!
//! Purpose: an `ExportTraceServiceRequest` without the messages in between that the SDK's exporter
//! builds and frees again. Input: a batch of spans. Output: the bytes that
//! `opentelemetry-proto` and `prost` give for it, byte for byte. Memory: one buffer that is used
//! again; nothing is allocated for a span once it has grown.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>, and the protobuf files of version 1 of OTLP.

mod backward;
mod scope;
mod span;
#[cfg(test)]
mod tests;
mod value;

use opentelemetry::{Key, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

use backward::Backward;
use scope::Groups;
use value::key_value;

/// Space to begin with, in bytes.
const FIRST_SPACE: usize = 64 * 1024;

/// Space that is kept from one batch to the next, in bytes: more than this is given back.
const KEPT_SPACE: usize = 8 * 1024 * 1024;

/// Encodes batches of spans that belong to one resource.
///
/// ```
/// use opentelemetry_sdk::Resource;
/// use rabtrace_otlp::Encoder;
///
/// let mut encoder = Encoder::new(&Resource::builder().with_service_name("planner").build());
/// let request = encoder.encode(&[]);
/// assert!(!request.is_empty(), "the resource is in it");
/// ```
#[derive(Debug)]
pub struct Encoder {
    /// The resource as first field of `ResourceSpans`, with its tag.
    resource: Vec<u8>,
    schema_url: String,
    groups: Groups,
    space: Vec<u8>,
}

impl Encoder {
    /// An encoder for the spans of `resource`.
    #[must_use]
    pub fn new(resource: &Resource) -> Self {
        Self {
            resource: encoded_resource(resource),
            schema_url: resource.schema_url().unwrap_or_default().to_owned(),
            groups: Groups::default(),
            space: Vec::new(),
        }
    }

    /// The `ExportTraceServiceRequest` of `batch`, as protobuf.
    pub fn encode(&mut self, batch: &[SpanData]) -> &[u8] {
        if self.space.len() > KEPT_SPACE {
            self.space = Vec::new();
        }
        self.groups.group(batch);
        let start = loop {
            if let Some(start) = self.write(batch) {
                break start;
            }
            let larger = self.space.len().saturating_mul(2).max(FIRST_SPACE);
            self.space = vec![0; larger];
        };
        self.space.get(start..).unwrap_or_default()
    }

    /// Writes to the end of the space and says where it begins; `None` if the space is too small.
    fn write(&mut self, batch: &[SpanData]) -> Option<usize> {
        let mut out = Backward::new(&mut self.space);
        let whole = out.free();
        out = out.text(3, &self.schema_url);
        out = self.groups.write(out, 2, batch);
        out = out.bytes(&self.resource).close(1, whole);
        (!out.is_full()).then(|| out.free())
    }
}

/// `Resource` of OTLP as field 1 of a message. It is encoded once, in the order of the resource.
fn encoded_resource(resource: &Resource) -> Vec<u8> {
    let attributes: Vec<(&Key, &Value)> = resource.iter().collect();
    let mut space = vec![0; 1024];
    loop {
        let mut out = Backward::new(&mut space);
        let whole = out.free();
        for (key, value) in attributes.iter().rev() {
            out = key_value(out, 1, key.as_str(), value);
        }
        out = out.close(1, whole);
        if !out.is_full() {
            let start = out.free();
            return space.split_off(start);
        }
        space = vec![0; space.len() * 2];
    }
}
