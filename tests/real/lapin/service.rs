//! One traced service: its connection, its channel, and the spans that it ended.

use std::collections::BTreeMap;
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

pub(crate) struct Service {
    exporter: Exporter,
    pub(crate) connection: TracedConnection,
    pub(crate) channel: TracedChannel,
    _provider: SdkTracerProvider,
}

pub(crate) async fn broker() -> Broker {
    let options = Options {
        management: false,
        prometheus: false,
        ..Options::default()
    };
    Broker::start_with(options).await.unwrap()
}

impl Service {
    pub(crate) async fn connect(broker: &Broker, name: &str) -> Self {
        Self::connect_to(&broker.amqp_url(), name).await
    }

    pub(crate) async fn connect_to(url: &str, name: &str) -> Self {
        Self::configured(url, name, |config| config).await
    }

    pub(crate) async fn configured(
        url: &str,
        name: &str,
        change: impl FnOnce(TraceConfig) -> TraceConfig,
    ) -> Self {
        Self::connect_with(url, name, ConnectionProperties::default(), change).await
    }

    /// Connected and traced in a way of its own.
    pub(crate) async fn connect_with(
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
        let config = change(config);
        let connection = TracedConnection::connect_traced(url, properties, config);
        let connection = connection.await.unwrap();
        Self {
            exporter,
            channel: connection.create_channel().await.unwrap(),
            connection,
            _provider: provider,
        }
    }

    /// The same, with confirms.
    pub(crate) async fn confirming(broker: &Broker, name: &str) -> Self {
        Self::connect(broker, name).await.with_confirms().await
    }

    pub(crate) async fn with_confirms(self) -> Self {
        let options = ConfirmSelectOptions::default();
        self.channel.confirm_select(options).await.unwrap();
        self
    }

    pub(crate) async fn queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions::default();
        let declared = self.channel.queue_declare(name.into(), options, arguments);
        declared.await.unwrap();
    }

    /// As quorum queues have to be.
    pub(crate) async fn durable_queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self.channel.queue_declare(name.into(), options, arguments);
        declared.await.unwrap();
    }

    pub(crate) async fn publish(&self, exchange: &str, key: &str) -> Result<TracedConfirm> {
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let channel = &self.channel;
        let publish =
            channel.basic_publish(exchange.into(), key.into(), options, b"body", properties);
        publish.await
    }

    /// Publishes a message of that id, mandatory or not.
    pub(crate) async fn publish_as(
        &self,
        (exchange, key): (&str, &str),
        id: usize,
        mandatory: bool,
    ) -> Result<TracedConfirm> {
        let options = BasicPublishOptions {
            mandatory,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default().with_message_id(id.to_string().into());
        let channel = &self.channel;
        let publish =
            channel.basic_publish(exchange.into(), key.into(), options, b"body", properties);
        publish.await
    }

    /// Asserts that no publish is kept any more.
    pub(crate) fn assert_nothing_kept(&self) {
        let shown = format!("{:?}", self.channel);
        let empty = "Publishes { looked_for: 0, unwatched: 0, returned: 0, uncommitted: 0 }";
        assert!(shown.contains(empty), "{shown}");
    }

    pub(crate) async fn consume(&self, queue: &str) -> TracedConsumer {
        let options = BasicConsumeOptions::default();
        let arguments = FieldTable::default();
        let consumer = self
            .channel
            .basic_consume(queue.into(), "".into(), options, arguments);
        consumer.await.unwrap()
    }

    /// The spans that ended since the last call.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.exporter.0.lock().unwrap())
    }

    /// The spans that ended since the last call of [`Service::take`], which stay.
    pub(crate) fn seen(&self) -> Vec<SpanData> {
        self.exporter.0.lock().unwrap().clone()
    }

    pub(crate) fn ended(&self) -> usize {
        self.exporter.0.lock().unwrap().len()
    }

    /// The only span that ended since the last call.
    pub(crate) fn take_one(&self) -> SpanData {
        let mut spans = self.take();
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans.remove(0)
    }
}

pub(crate) async fn next(consumer: &mut TracedConsumer) -> Delivery {
    let next = tokio::time::timeout(std::time::Duration::from_secs(20), consumer.next());
    next.await.expect("no delivery came").unwrap().unwrap()
}

pub(crate) fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

/// Outcome and `error.type` of a publish.
pub(crate) fn outcome(span: &SpanData) -> String {
    let outcome = attribute(span, "rabtrace.publish.outcome").unwrap_or_default();
    match attribute(span, "error.type") {
        Some(error_type) => format!("{outcome} {error_type}"),
        None => outcome,
    }
}

/// The outcomes of publishes by message id, each exactly once.
pub(crate) fn outcomes(spans: &[SpanData]) -> BTreeMap<usize, String> {
    let mut outcomes = BTreeMap::new();
    for span in spans {
        let id = attribute(span, "messaging.message.id").unwrap();
        let twice = outcomes.insert(id.parse().unwrap(), outcome(span));
        assert_eq!(twice, None, "message {id} ended twice");
    }
    outcomes
}

/// Asserts that `child` is the child of `parent`, in the same trace.
pub(crate) fn assert_child(child: &SpanData, parent: &SpanData) {
    assert_ne!(child.parent_span_id, SpanId::INVALID, "{child:#?}");
    assert_eq!(child.parent_span_id, parent.span_context.span_id());
    assert_eq!(
        child.span_context.trace_id(),
        parent.span_context.trace_id()
    );
}
