//! One traced service: its connection, its channel, and the spans that it ended.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use rabtrace::demo::broker::{Broker, Options};
use rabtrace_lapin::lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use rabtrace_lapin::lapin::types::FieldTable;
use rabtrace_lapin::lapin::{BasicProperties, ConnectionProperties, Result};
use rabtrace_lapin::message::Delivery;
use rabtrace_lapin::{TraceConfig, TracedChannel, TracedConfirm, TracedConnection, TracedConsumer};

/// Ended spans, in the order in which they ended.
#[derive(Clone, Debug, Default)]
struct Exporter(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

pub(super) struct Service {
    exporter: Exporter,
    pub(super) connection: TracedConnection,
    pub(super) channel: TracedChannel,
    _provider: SdkTracerProvider,
}

pub(super) async fn broker() -> Broker {
    let options = Options {
        management: false,
        prometheus: false,
        ..Options::default()
    };
    Broker::start_with(options).await.unwrap()
}

impl Service {
    pub(super) async fn connect(broker: &Broker, name: &str) -> Self {
        Self::connect_to(&broker.amqp_url(), name).await
    }

    pub(super) async fn connect_to(url: &str, name: &str) -> Self {
        let properties = ConnectionProperties::default();
        Self::connect_with(url, name, properties, |config| config).await
    }

    /// Connected and traced in a way of its own.
    pub(super) async fn connect_with(
        url: &str,
        name: &str,
        properties: ConnectionProperties,
        change: impl FnOnce(TraceConfig) -> TraceConfig,
    ) -> Self {
        let exporter = Exporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let config = TraceConfig::new()
            .with_tracer_provider(&provider)
            .with_service_name(name);
        let connection = TracedConnection::connect_with_config(url, properties, change(config));
        let connection = connection.await.unwrap();
        Self {
            exporter,
            channel: connection.create_channel().await.unwrap(),
            connection,
            _provider: provider,
        }
    }

    /// The same, with confirms.
    pub(super) async fn confirming(broker: &Broker, name: &str) -> Self {
        Self::connect(broker, name).await.with_confirms().await
    }

    pub(super) async fn with_confirms(self) -> Self {
        let options = ConfirmSelectOptions::default();
        self.channel.confirm_select(options).await.unwrap();
        self
    }

    pub(super) async fn queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions::default();
        let declared = self.channel.queue_declare(name.into(), options, arguments);
        declared.await.unwrap();
    }

    pub(super) async fn publish(&self, exchange: &str, key: &str) -> Result<TracedConfirm> {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let channel = &self.channel;
        let publish =
            channel.basic_publish(exchange.into(), key.into(), options, b"body", properties);
        publish.await
    }

    pub(super) async fn consume(&self, queue: &str) -> TracedConsumer {
        let options = BasicConsumeOptions::default();
        let arguments = FieldTable::default();
        let consumer = self
            .channel
            .basic_consume(queue.into(), "".into(), options, arguments);
        consumer.await.unwrap()
    }

    /// The spans that ended since the last call.
    pub(super) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.exporter.0.lock().unwrap())
    }

    /// The spans that ended since the last call of [`Service::take`], which stay.
    pub(super) fn seen(&self) -> Vec<SpanData> {
        self.exporter.0.lock().unwrap().clone()
    }

    pub(super) fn ended(&self) -> usize {
        self.exporter.0.lock().unwrap().len()
    }

    /// The only span that ended since the last call.
    pub(super) fn take_one(&self) -> SpanData {
        let mut spans = self.take();
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans.remove(0)
    }
}

pub(super) async fn next(consumer: &mut TracedConsumer) -> Delivery {
    let next = tokio::time::timeout(std::time::Duration::from_secs(20), consumer.next());
    next.await.expect("no delivery came").unwrap().unwrap()
}

pub(super) fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

/// Asserts that `child` is the child of `parent`, in the same trace.
pub(super) fn assert_child(child: &SpanData, parent: &SpanData) {
    assert_ne!(child.parent_span_id, SpanId::INVALID, "{child:#?}");
    assert_eq!(child.parent_span_id, parent.span_context.span_id());
    assert_eq!(
        child.span_context.trace_id(),
        parent.span_context.trace_id()
    );
}
