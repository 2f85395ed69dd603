//! Names of spans and attributes: OpenTelemetry's messaging conventions v1.44.0 for RabbitMQ, and
//! the few of ours beyond them. Pure; plain strings, so that no feature of another crate is needed.
//!
//! Source: `docs/messaging/{messaging-spans,rabbitmq}.md` of
//! <https://github.com/open-telemetry/semantic-conventions/tree/v1.44.0>.

use lapin::{Error, ErrorKind};

/// The schema of the attributes.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// `messaging.system`, always [`RABBITMQ`].
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// The value of [`MESSAGING_SYSTEM`].
pub const RABBITMQ: &str = "rabbitmq";
/// The operation's own name: `publish`, `process`, `receive`, `ack`, `nack`, `reject`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// The operation's type: `send`, `process`, `receive`, `settle`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// `{exchange}:{routing key}` when publishing, `{exchange}:{routing key}:{queue}` otherwise.
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// The destination without its generated part, where it has one.
pub const MESSAGING_DESTINATION_TEMPLATE: &str = "messaging.destination.template";
/// True on a queue whose name the broker made up.
pub const MESSAGING_DESTINATION_ANONYMOUS: &str = "messaging.destination.anonymous";
/// True on a queue that goes with its connection.
pub const MESSAGING_DESTINATION_TEMPORARY: &str = "messaging.destination.temporary";
/// The routing key, if it is not empty.
pub const MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY: &str =
    "messaging.rabbitmq.destination.routing_key";
/// The delivery tag.
pub const MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG: &str = "messaging.rabbitmq.message.delivery_tag";
/// The property `message_id`.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// The property `correlation_id`.
pub const MESSAGING_MESSAGE_CONVERSATION_ID: &str = "messaging.message.conversation_id";
/// How many messages a settlement with `multiple` settled.
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
/// Size of the body in bytes; set where [`TraceConfig::with_body_size`](crate::TraceConfig::with_body_size) asks for it.
pub const MESSAGING_MESSAGE_BODY_SIZE: &str = "messaging.message.body.size";
/// Host of the broker.
pub const SERVER_ADDRESS: &str = "server.address";
/// Port of the broker.
pub const SERVER_PORT: &str = "server.port";
/// Why it failed: the broker's code name, lapin's variant name, `nack`, `panic` (of a handler), or
/// [`ERROR_TYPE_OTHER`].
pub const ERROR_TYPE: &str = "error.type";

/// Hash of the path with this step: 16 hexadecimal digits.
pub const RABTRACE_PATH_HASH: &str = "rabtrace.path.hash";
/// Hash of the path before this step: 16 hexadecimal digits; absent at the origin.
pub const RABTRACE_PATH_PARENT: &str = "rabtrace.path.parent";
/// `out` or `in`.
pub const RABTRACE_DIRECTION: &str = "rabtrace.direction";
/// The node of the path: exchange, or queue for the default exchange, when published; queue else.
pub const RABTRACE_DESTINATION: &str = "rabtrace.destination";
/// Seconds since the checkpoint before.
pub const RABTRACE_PATH_EDGE_DURATION: &str = "rabtrace.path.edge.duration";
/// Seconds since the path's origin.
pub const RABTRACE_PATH_DURATION: &str = "rabtrace.path.duration";
/// What led to a checkpoint, [`EdgeKind`](crate::path::EdgeKind); absent where the message goes on
/// for the first time.
pub const RABTRACE_EDGE_KIND: &str = "rabtrace.edge.kind";
/// What a delivery came through where that is not its queue: the exchange, the routing key of the
/// default exchange, or the queue that gave it up.
pub const RABTRACE_PATH_VIA: &str = "rabtrace.path.via";
/// `measured` on the scope of spans whose paths are measured too.
pub const RABTRACE_PATHS: &str = "rabtrace.paths";
/// True when the broker delivered the message before.
pub const RABTRACE_REDELIVERED: &str = "rabtrace.redelivered";
/// Which attempt at the message this delivery is, from 2 on; absent at the first.
pub const RABTRACE_ATTEMPT: &str = "rabtrace.attempt";
/// Why the message was dead-lettered last: `rejected`, `expired`, `maxlen`, `delivery_limit`.
pub const RABTRACE_DEATH_REASON: &str = "rabtrace.death.reason";
/// The queue in which the message was dead-lettered last.
pub const RABTRACE_DEATH_QUEUE: &str = "rabtrace.death.queue";
/// How often the message was dead-lettered, in all queues and for all reasons.
pub const RABTRACE_DEATH_COUNT: &str = "rabtrace.death.count";
/// Seconds from the publish to the broker; where the broker stamps `timestamp_in_ms`.
pub const RABTRACE_WAIT_INGRESS_DURATION: &str = "rabtrace.wait.ingress.duration";
/// Seconds in the broker; where it stamps `timestamp_in_ms` and `x-opt-rabbitmq-sent-time`.
pub const RABTRACE_WAIT_BROKER_DURATION: &str = "rabtrace.wait.broker.duration";
/// Seconds on the wire and in the prefetch buffer; where the broker stamps
/// `x-opt-rabbitmq-sent-time`.
pub const RABTRACE_WAIT_PREFETCH_DURATION: &str = "rabtrace.wait.prefetch.duration";
/// The body, where [`BodyCapture`](crate::BodyCapture) asks for it.
pub const RABTRACE_MESSAGE_BODY: &str = "rabtrace.message.body";
/// What of the trace context was left out of the headers, as they would not have fitted into the
/// frame: `baggage`, `tracestate`, `traceparent`.
pub const RABTRACE_CONTEXT_PART: &str = "rabtrace.context.part";
/// How a publish ended; see [`crate::PublishOutcome`].
pub const RABTRACE_PUBLISH_OUTCOME: &str = "rabtrace.publish.outcome";
/// Seconds until a confirmed publish was written to the socket.
pub const RABTRACE_PUBLISH_WRITE_DURATION: &str = "rabtrace.publish.write.duration";
/// How a delivery ended; see [`crate::Settlement`].
pub const RABTRACE_SETTLEMENT: &str = "rabtrace.settlement";

/// Seconds that an operation took; equal to the duration of its span. Not for `process`.
pub const METRIC_OPERATION_DURATION: &str = "messaging.client.operation.duration";
/// Messages that were handed to the broker.
pub const METRIC_SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// Messages that were delivered to the application.
pub const METRIC_CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// Seconds from a delivery to its settlement.
pub const METRIC_PROCESS_DURATION: &str = "messaging.process.duration";
/// The buckets of both durations in seconds, as the conventions advise.
pub const DURATION_BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Publishes by [`RABTRACE_PUBLISH_OUTCOME`].
pub const METRIC_PUBLISH_OUTCOMES: &str = "rabtrace.publish.outcomes";
/// Publishes that came back, as no queue took them.
pub const METRIC_PUBLISH_RETURNED: &str = "rabtrace.publish.returned";
/// Deliveries by [`RABTRACE_SETTLEMENT`]; `dropped_unsettled` are those that nobody settled.
pub const METRIC_DELIVERY_SETTLEMENTS: &str = "rabtrace.delivery.settlements";
/// Deliveries that the broker had delivered before.
pub const METRIC_DELIVERY_REDELIVERED: &str = "rabtrace.delivery.redelivered";
/// Deliveries that are not settled yet.
pub const METRIC_DELIVERY_OPEN: &str = "rabtrace.delivery.open";
/// Seconds from the publish to the delivery, of messages that carry a path and were not delivered
/// before.
pub const METRIC_QUEUE_TIME: &str = "rabtrace.queue.time";
/// Parts of the trace context that did not fit into the frame, by [`RABTRACE_CONTEXT_PART`].
pub const METRIC_CONTEXT_SHED: &str = "rabtrace.context.shed";
/// Calls of [`TraceHooks`](crate::TraceHooks) that panicked.
pub const METRIC_HOOK_PANICS: &str = "rabtrace.hook.panics";

/// Messages at each checkpoint of their path.
pub const METRIC_PATH_MESSAGES: &str = "rabtrace.path.messages";
/// Seconds since the checkpoint before, where that is known.
pub const METRIC_PATH_EDGE_DURATION: &str = "rabtrace.path.edge.duration";
/// Seconds since the path's origin, where that is known; zero there.
pub const METRIC_PATH_DURATION: &str = "rabtrace.path.duration";
/// Seconds from a delivery to its end.
pub const METRIC_PATH_PROCESS_DURATION: &str = "rabtrace.path.process.duration";
/// Publishes that came back, were refused, failed or were lost, and deliveries that ended in an
/// error or were given back, by [`ERROR_TYPE`].
pub const METRIC_PATH_ERRORS: &str = "rabtrace.path.errors";
/// Which attempt at the message a delivery is, from 2 on.
pub const METRIC_PATH_ATTEMPTS: &str = "rabtrace.path.attempts";
/// Seconds by which a checkpoint was before the one that it follows, by the clocks of the two.
pub const METRIC_PATH_SKEW: &str = "rabtrace.path.skew";
/// The buckets of the durations of paths in seconds, where the application's SDK has no view that
/// makes exponential histograms of them.
pub const PATH_BOUNDARIES: [f64; 21] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0,
    120.0, 300.0, 600.0, 1800.0, 3600.0,
];
/// The buckets of [`METRIC_PATH_ATTEMPTS`], likewise.
pub const ATTEMPT_BOUNDARIES: [f64; 9] = [2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0];

/// The name of all destinations beyond the limit, in span names, metrics and paths.
pub const OTHER_DESTINATION: &str = "_other";

/// `error.type` where nothing better is known.
pub const ERROR_TYPE_OTHER: &str = "_OTHER";

/// `messaging.destination.name` when exchange and routing key are both empty.
const DEFAULT_DESTINATION: &str = "amq.default";

/// Where a message goes to or comes from.
///
/// ```
/// use rabtrace_lapin::semconv::Destination;
///
/// let destination = Destination { exchange: "events", routing_key: "order.new", queue: Some("audit") };
/// assert_eq!(destination.name(), "events:order.new:audit");
/// assert_eq!(destination.node(), "audit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The exchange; empty for the default one.
    pub exchange: &'a str,
    /// The routing key, often empty.
    pub routing_key: &'a str,
    /// The queue, when receiving.
    pub queue: Option<&'a str>,
}

impl Destination<'_> {
    /// `messaging.destination.name`.
    #[must_use]
    pub fn name(&self) -> String {
        joined(
            self.exchange,
            self.routing_key,
            self.queue.unwrap_or_default(),
        )
    }

    /// `messaging.destination.template`: the name with generated parts collapsed, if it has any.
    #[must_use]
    pub fn template(&self) -> Option<String> {
        let queue = self.queue.unwrap_or_default();
        let parts = [self.exchange, self.routing_key, queue];
        let [exchange, routing_key, collapsed] = parts.map(collapsed);
        (parts != [exchange, routing_key, collapsed])
            .then(|| joined(exchange, routing_key, collapsed))
    }

    /// Whether the broker made the queue's name up.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        let queue = self.queue.unwrap_or(if self.exchange.is_empty() {
            self.routing_key
        } else {
            ""
        });
        collapsed(queue) != queue || queue == REPLY_TO
    }

    /// The node of the path: the queue, else the exchange, else the queue that the default
    /// exchange routes to.
    #[must_use]
    pub fn node(&self) -> &str {
        let queue = self.queue.unwrap_or_default();
        let node = [queue, self.exchange, self.routing_key]
            .into_iter()
            .find(|part| !part.is_empty());
        collapsed(node.unwrap_or(DEFAULT_DESTINATION))
    }

    /// What a delivery came through where that is not its queue: the exchange, else the routing
    /// key.
    ///
    /// ```
    /// use rabtrace_lapin::semconv::Destination;
    ///
    /// let queue = Some("audit");
    /// let destination = Destination { exchange: "events", routing_key: "order.new", queue };
    /// assert_eq!(destination.via(), Some("events"));
    /// let direct = Destination { exchange: "", routing_key: "audit", queue };
    /// assert_eq!(direct.via(), None);
    /// ```
    #[must_use]
    pub fn via(&self) -> Option<&str> {
        self.queue?;
        let through = [self.exchange, self.routing_key];
        let through = through.into_iter().find(|part| !part.is_empty())?;
        let through = collapsed(through);
        (through != self.node()).then_some(through)
    }
}

/// Parts that are empty are left out, and a queue that is named as the routing key.
fn joined(exchange: &str, routing_key: &str, queue: &str) -> String {
    let queue = if queue == routing_key { "" } else { queue };
    let parts = [exchange, routing_key, queue];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return DEFAULT_DESTINATION.to_owned();
    }
    parts.join(":")
}

/// The pseudo queue of direct reply-to.
const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Whether a queue is the pseudo queue of direct reply-to.
pub(crate) fn is_direct_reply(queue: &str) -> bool {
    queue.starts_with(REPLY_TO)
}

/// A name that the broker or a client library made up (`amq.gen-..`, direct reply-to, `amq_..`,
/// `spring.gen-..`, a UUID), without its random part; every other name unchanged.
#[must_use]
pub fn collapsed(name: &str) -> &str {
    if name.starts_with("amq.gen-") {
        "amq.gen"
    } else if name.starts_with(REPLY_TO) {
        REPLY_TO
    } else if name.starts_with("amq_") {
        "amq_"
    } else if name.starts_with("spring.gen-") {
        "spring.gen"
    } else if is_uuid(name) {
        UUID
    } else {
        name
    }
}

/// What a name that is a UUID becomes.
const UUID: &str = "{uuid}";

/// 32 hexadecimal digits, by themselves or in groups of 8-4-4-4-12.
fn is_uuid(name: &str) -> bool {
    let grouped = match name.len() {
        32 => false,
        36 => true,
        _ => return false,
    };
    name.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 if grouped => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// `error.type` of an error of lapin: the broker's code name (`NOT_FOUND`), else the variant.
#[must_use]
pub fn error_type(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::ChannelsLimitReached => "ChannelsLimitReached",
        ErrorKind::InvalidProtocolVersion(_) => "InvalidProtocolVersion",
        ErrorKind::InvalidChannel(_) => "InvalidChannel",
        ErrorKind::InvalidChannelState(..) => "InvalidChannelState",
        ErrorKind::InvalidConnectionState(_) => "InvalidConnectionState",
        ErrorKind::IOError(_) => "IOError",
        ErrorKind::RuntimeShutdownError(_) => "RuntimeShutdownError",
        ErrorKind::ParsingError(_) => "ParsingError",
        ErrorKind::ProtocolError(error) => reply_code_name(error.get_id()),
        ErrorKind::SerialisationError(_) => "SerialisationError",
        ErrorKind::AuthProviderError(_) => "AuthProviderError",
        ErrorKind::FutureCompleted => "FutureCompleted",
        ErrorKind::NoDefaultRuntime => "NoDefaultRuntime",
        ErrorKind::MissingHeartbeatError => "MissingHeartbeatError",
        _ => ERROR_TYPE_OTHER,
    }
}

/// The name that the AMQP 0-9-1 specification gives a reply code.
#[must_use]
pub const fn reply_code_name(code: u16) -> &'static str {
    match code {
        311 => "CONTENT_TOO_LARGE",
        312 => "NO_ROUTE",
        313 => "NO_CONSUMERS",
        320 => "CONNECTION_FORCED",
        402 => "INVALID_PATH",
        403 => "ACCESS_REFUSED",
        404 => "NOT_FOUND",
        405 => "RESOURCE_LOCKED",
        406 => "PRECONDITION_FAILED",
        501 => "FRAME_ERROR",
        502 => "SYNTAX_ERROR",
        503 => "COMMAND_INVALID",
        504 => "CHANNEL_ERROR",
        505 => "UNEXPECTED_FRAME",
        506 => "RESOURCE_ERROR",
        530 => "NOT_ALLOWED",
        540 => "NOT_IMPLEMENTED",
        541 => "INTERNAL_ERROR",
        _ => ERROR_TYPE_OTHER,
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn check(parts: [&str; 3], name: &str, template: Option<&str>, node: &str) {
        let [exchange, routing_key, queue] = parts;
        let destination = Destination {
            exchange,
            routing_key,
            queue: (!queue.is_empty()).then_some(queue),
        };
        assert_eq!(destination.name(), name, "{parts:?}");
        assert_eq!(destination.template().as_deref(), template, "{parts:?}");
        assert_eq!(destination.node(), node, "{parts:?}");
        let generated = node == "amq.gen" || node == REPLY_TO;
        assert_eq!(destination.is_anonymous(), generated, "{parts:?}");
    }

    #[test]
    fn destinations_are_named_as_the_conventions_say() {
        check(["", "", ""], "amq.default", None, "amq.default");
        check(["", "tasks", ""], "tasks", None, "tasks");
        check(["events", "", ""], "events", None, "events");
        check(["events", "a.b", ""], "events:a.b", None, "events");
        check(["", "tasks", "tasks"], "tasks", None, "tasks");
        check(
            ["events", "a.b", "audit"],
            "events:a.b:audit",
            None,
            "audit",
        );
        check(["events", "", "audit"], "events:audit", None, "audit");
    }

    #[test]
    fn generated_names_collapse_into_templates() {
        check(
            ["", "amq.gen-x1", ""],
            "amq.gen-x1",
            Some("amq.gen"),
            "amq.gen",
        );
        check(
            ["events", "a", "amq.gen-x1"],
            "events:a:amq.gen-x1",
            Some("events:a:amq.gen"),
            "amq.gen",
        );
        check(
            ["", "amq.rabbitmq.reply-to.g2.xyz", "amq.rabbitmq.reply-to"],
            "amq.rabbitmq.reply-to.g2.xyz:amq.rabbitmq.reply-to",
            Some("amq.rabbitmq.reply-to"),
            "amq.rabbitmq.reply-to",
        );
    }

    #[test]
    fn errors_have_the_name_of_their_code_or_variant() {
        let not_found = AMQPError::from_id(404, "no queue".into()).unwrap();
        let error = Error::from(ErrorKind::ProtocolError(not_found));
        assert_eq!(error_type(&error), "NOT_FOUND");
        let error = Error::from(ErrorKind::ChannelsLimitReached);
        assert_eq!(error_type(&error), "ChannelsLimitReached");
        assert_eq!(reply_code_name(312), "NO_ROUTE");
        assert_eq!(reply_code_name(999), ERROR_TYPE_OTHER);
    }
}
