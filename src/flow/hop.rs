//! A span becomes a hop: which queue or exchange it concerns, how long the message waited, and
//! its step on a path, read from the attributes that `rabtrace-lapin` sets.

use std::sync::Arc;
use std::time::Duration;

use super::points;
use crate::model::{AttributeValue, Direction, EdgeKind, Hop, OTHER, PathStep, Span, SpanKind};

/// Bytes that a name may have: no exchange or queue has a longer one (AMQP 0-9-1, short strings).
const MAX_NAME: usize = 255;

/// Makes a hop of a span. Spans that have nothing to do with messaging have no destination.
#[must_use]
pub fn hop(span: Span) -> Hop {
    let step = step(&span);
    let destination = match &step {
        Some(step) => Some(Arc::clone(&step.destination)),
        None => destination(&span),
    };
    // The time since the publish of a redelivery holds the attempts before it: it is no wait.
    let again = is_redelivered(&span);
    let queue_wait = step
        .as_ref()
        .filter(|step| step.direction == Direction::In && !again)
        .and_then(|step| step.edge);
    Hop {
        point_unix_nano: points::time(&span),
        span,
        destination,
        queue_wait,
        step,
        path: None,
    }
}

/// Makes service, name and destination of a hop `_other`, those that are to be; its attributes have
/// what they were.
pub(super) fn fold(hop: &mut Hop, others: [bool; 3]) {
    let mut other = |place: usize, name: &mut Arc<str>| {
        if others[place] {
            let was = std::mem::replace(name, Arc::from(OTHER));
            let attribute = (Arc::from(Hop::FOLDED[place]), AttributeValue::Text(was));
            hop.span.attributes.push(attribute);
        }
    };
    other(0, &mut hop.span.service);
    other(1, &mut hop.span.name);
    if let Some(destination) = &mut hop.destination {
        other(2, destination);
    }
}

fn step(span: &Span) -> Option<PathStep> {
    let direction = match span.text("rabtrace.direction")?.as_ref() {
        "out" => Direction::Out,
        "in" => Direction::In,
        _ => return None,
    };
    let names = ["rabtrace.destination", "rabtrace.path.via"].map(|name| span.text(name));
    let is_long = |name: &Arc<str>| name.len() > MAX_NAME;
    if names
        .into_iter()
        .flatten()
        .chain([&span.service])
        .any(is_long)
    {
        return None;
    }
    Some(PathStep {
        // No step has hash 0: there it means that there is none.
        hash: hash(span, "rabtrace.path.hash").filter(|hash| *hash != 0)?,
        parent: hash(span, "rabtrace.path.parent").filter(|hash| *hash != 0),
        direction,
        destination: Arc::clone(span.text("rabtrace.destination")?),
        kind: kind(span)?,
        via: span.text("rabtrace.path.via").cloned(),
        edge: seconds(span, "rabtrace.path.edge.duration"),
        total: seconds(span, "rabtrace.path.duration"),
    })
}

fn is_redelivered(span: &Span) -> bool {
    span.attribute("rabtrace.redelivered") == Some(&AttributeValue::Bool(true))
}

/// What led to the checkpoint; a kind that this agent does not know is no step of its.
fn kind(span: &Span) -> Option<EdgeKind> {
    match span.text("rabtrace.edge.kind") {
        Some(name) => EdgeKind::named(name),
        None if is_redelivered(span) => Some(EdgeKind::Redelivery),
        None => Some(EdgeKind::Forward),
    }
}

fn hash(span: &Span, name: &str) -> Option<u64> {
    u64::from_str_radix(span.text(name)?, 16).ok()
}

fn seconds(span: &Span, name: &str) -> Option<Duration> {
    match span.attribute(name)? {
        AttributeValue::Double(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        _ => None,
    }
}

/// The queue or exchange of a span without a path, by `messaging.destination.name`.
///
/// The conventions for RabbitMQ join `{exchange}:{routing key}` for a producer and
/// `{exchange}:{routing key}:{queue}` for a consumer, and leave empty parts out.
fn destination(span: &Span) -> Option<Arc<str>> {
    let name = span.text("messaging.destination.name")?;
    let part = match span.kind {
        SpanKind::Producer => match span.text("messaging.rabbitmq.destination.routing_key") {
            Some(key) => name
                .strip_suffix(&**key)
                .map_or(&**name, |left| left.trim_end_matches(':')),
            None => name,
        },
        _ => name.rsplit(':').next().unwrap_or(name),
    };
    Some(if part.is_empty() || part.len() == name.len() {
        Arc::clone(name)
    } else {
        Arc::from(part)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::hop;
    use crate::model::{AttributeValue, Direction, Span, SpanId, SpanKind, SpanStatus, TraceId};

    /// A span of `service` with text attributes.
    pub(in crate::flow) fn span(
        service: &str,
        kind: SpanKind,
        attributes: &[(&str, &str)],
    ) -> Span {
        let text = |value: &&str| AttributeValue::Text(Arc::from(*value));
        Span {
            trace_id: TraceId::from_bytes(&[1; 16]).unwrap(),
            span_id: SpanId::from_bytes(&[2; 8]).unwrap(),
            parent_span_id: None,
            service: Arc::from(service),
            name: Arc::from("work"),
            kind,
            status: SpanStatus::Unset,
            status_message: String::new(),
            start_unix_nano: 1_000_000_000,
            end_unix_nano: 1_010_000_000,
            attributes: attributes
                .iter()
                .map(|(name, value)| (Arc::from(*name), text(value)))
                .collect(),
            resource: Arc::default(),
            events: Vec::new(),
            links: Vec::new(),
            paths_measured: false,
        }
    }

    #[track_caller]
    fn check_destination(kind: SpanKind, attributes: &[(&str, &str)], expect: Option<&str>) {
        assert_eq!(
            hop(span("s", kind, attributes)).destination.as_deref(),
            expect
        );
    }

    #[test]
    fn the_destination_is_the_queue_or_the_exchange() {
        let name = "messaging.destination.name";
        let key = "messaging.rabbitmq.destination.routing_key";
        check_destination(
            SpanKind::Producer,
            &[(name, "events:a.b"), (key, "a.b")],
            Some("events"),
        );
        check_destination(
            SpanKind::Producer,
            &[(name, "orders"), (key, "orders")],
            Some("orders"),
        );
        check_destination(
            SpanKind::Consumer,
            &[(name, "events:a.b:audit")],
            Some("audit"),
        );
        check_destination(SpanKind::Server, &[], None);
    }

    #[test]
    fn a_delivery_knows_its_step_and_its_wait() {
        let mut span = span(
            "planner",
            SpanKind::Consumer,
            &[
                ("rabtrace.direction", "in"),
                ("rabtrace.path.hash", "00000000000000ff"),
                ("rabtrace.path.parent", "0a"),
                ("rabtrace.destination", "planner_queue"),
            ],
        );
        let wait = AttributeValue::Double(0.25);
        span.attributes
            .push((Arc::from("rabtrace.path.edge.duration"), wait));
        let hop = hop(span);
        let step = hop.step.unwrap();
        assert_eq!(
            (step.hash, step.parent, step.direction),
            (255, Some(10), Direction::In)
        );
        assert_eq!(hop.queue_wait, Some(Duration::from_millis(250)));
        assert_eq!(step.total, None);
    }
}
