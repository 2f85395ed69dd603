//! Ring one: the spans of publishes and deliveries, without a broker.

mod absence;
mod conformance;
mod consume;
mod delivery;
mod destinations;
mod fuzz;
mod hooks;
mod meters;
mod metrics;
mod paths;
mod publish;
mod safety;
mod tracing_users;

use std::sync::{Arc, Weak};

use lapin::BasicProperties;
use lapin::types::ShortString;
use opentelemetry::Context;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SdkTracerProvider, ShouldSample, SpanData,
};

use crate::config::TraceConfig;
use crate::delivery::Delivery;
use crate::open::Open;
use crate::operation::Operation;
use crate::process::AckMode;
use crate::publish::{Outgoing, Publish};
use crate::source::{HandOut, Source, Taken};
use crate::telemetry::Telemetry;

/// One service: its tracer, and what it exported.
struct Service {
    provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
    telemetry: Arc<Telemetry>,
}

impl Service {
    fn new(name: &str) -> Self {
        Self::sampled(name, Sampler::AlwaysOn)
    }

    fn sampled(name: &str, sampler: impl ShouldSample + 'static) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_sampler(sampler)
            .build();
        let config = TraceConfig::new()
            .with_tracer_provider(&provider)
            .with_service_name(name)
            .with_server("broker.example", 5672);
        Self {
            telemetry: Arc::new(Telemetry::new(&config)),
            provider,
            exporter,
        }
    }

    /// The same service under another configuration.
    fn configured(&self, change: impl FnOnce(TraceConfig) -> TraceConfig) -> Self {
        let config = TraceConfig::new()
            .with_tracer_provider(&self.provider)
            .with_service_name("planner");
        Self {
            telemetry: Arc::new(Telemetry::new(&change(config))),
            provider: self.provider.clone(),
            exporter: self.exporter.clone(),
        }
    }

    fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    fn source(&self, queue: &str, ack_mode: AckMode) -> Arc<Source> {
        Arc::new(Source {
            telemetry: Arc::clone(&self.telemetry),
            open: Arc::new(Open::default()),
            queue: queue.into(),
            ack_mode,
            channel: Weak::new(),
        })
    }

    /// Publishes under `parent`; the properties are those on the wire.
    fn publish(&self, to: (&str, &str), parent: &Context) -> BasicProperties {
        self.start(to, BasicProperties::default(), parent).1
    }

    /// The span of a publish, and the properties on the wire.
    fn start(
        &self,
        to: (&str, &str),
        mut properties: BasicProperties,
        parent: &Context,
    ) -> (Publish, BasicProperties) {
        let (exchange, routing_key) = (ShortString::from(to.0), ShortString::from(to.1));
        let message = Outgoing {
            exchange: &exchange,
            routing_key: &routing_key,
            data: b"body",
            mandatory: true,
        };
        let publish = Publish::start(&self.telemetry, message, &mut properties, parent);
        (publish, properties)
    }

    /// Takes a message from the queue of its routing key.
    fn consume(&self, routing_key: &str, properties: BasicProperties) -> Delivery {
        let source = self.source(routing_key, AckMode::Manual);
        let received = message((1, "", routing_key), properties);
        hand_out(&source, received, &Context::new())
    }
}

/// Hands a delivery to an application that has `ambient` active.
fn hand_out(
    source: &Arc<Source>,
    received: lapin::message::Delivery,
    ambient: &Context,
) -> Delivery {
    let how = HandOut {
        ambient,
        taken: Taken::ByDelegate,
        operation: Operation::Process,
    };
    source.hand_out(received, how)
}

fn message(
    (tag, exchange, routing_key): (u64, &str, &str),
    properties: BasicProperties,
) -> lapin::message::Delivery {
    let mut delivery = lapin::message::Delivery::mock(
        tag,
        exchange.into(),
        routing_key.into(),
        false,
        b"body".to_vec(),
    );
    delivery.properties = properties;
    delivery
}

/// Name, kind, status and attributes as text, sorted; durations as `some`.
fn shown(span: &SpanData) -> String {
    let mut lines: Vec<String> = span
        .attributes
        .iter()
        .map(|attribute| {
            let key = attribute.key.as_str();
            let value = attribute.value.to_string();
            if key.ends_with("duration") && value != "0" {
                return format!("  {key} = some");
            }
            format!("  {key} = {value}")
        })
        .collect();
    lines.sort();
    let head = format!("{} {:?} {:?}", span.name, span.span_kind, span.status);
    format!("{head}\n{}", lines.join("\n"))
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

fn is_root(span: &SpanData) -> bool {
    span.parent_span_id == SpanId::INVALID
}
