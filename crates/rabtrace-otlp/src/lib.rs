//! A span exporter for the OpenTelemetry SDK that writes OTLP by hand, straight from span data.
//!
//! ```
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//! use rabtrace_otlp::{BatchProcessor, Exporter};
//!
//! # fn main() -> Result<(), rabtrace_otlp::BuildError> {
//! let provider = SdkTracerProvider::builder()
//!     .with_span_processor(BatchProcessor::new(Exporter::builder().build()?))
//!     .build();
//! opentelemetry::global::set_tracer_provider(provider);
//! # Ok(())
//! # }
//! ```
//!
//! It takes the place of `opentelemetry_otlp::SpanExporter` over HTTP with protobuf: the same
//! variables of the environment, the same options, the same bytes on the wire. It encodes a span in
//! about a fourteenth of the instructions and without an allocation, and needs no runtime: requests
//! are made on the thread of the SDK's batch processor. It must not be polled by a runtime, as it
//! blocks.
//!
//! - [`Exporter`] and [`ExporterBuilder`]: where and how to send
//! - [`BatchProcessor`] and [`recommended_batch_config`]: settings that lose no span below 50,000 a
//!   second, and counters that show it if one is lost
//! - [`Encoder`]: the bytes alone
//! - [`path_view`]: latencies of message paths as exponential histograms

mod builder;
mod encode;
mod error;
mod exporter;
mod headers;
mod processor;
mod response;
mod retry;
mod settings;
mod statistics;
mod transport;
mod view;

pub use builder::{Compression, ExporterBuilder, Protocol};
pub use encode::Encoder;
pub use error::BuildError;
pub use exporter::Exporter;
pub use processor::{BatchProcessor, recommended_batch_config};
pub use retry::RetryPolicy;
pub use statistics::Statistics;
pub use view::path_view;
