//! The measurements of services, requests, queues, agents and tasks, made from spans.
//!
//! `service_metrics`, `queue_metrics` and `agent_metrics` are sums over the window that is open;
//! `request_metrics` and `task_metrics` have a point for each span.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::caps::{Capped, Caps};
use crate::model::{
    AttributeValue, BrokerSnapshot, Direction, Histogram, Hop, MetricPoint, OTHER, Point, Span,
    SpanKind, SpanStatus,
};

#[derive(Default)]
struct Service {
    requests: u64,
    errors: u64,
    /// Newest value of each process metric, by field.
    process: HashMap<&'static str, f64>,
}

#[derive(Default)]
struct Queue {
    published: u64,
    consumed: u64,
    failed: u64,
    processing_ms: f64,
    depth: Option<u64>,
}

#[derive(Default)]
struct Agent {
    received: u64,
    processed: u64,
    tools: u64,
    llm_calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    duration_ms: f64,
    longest_ms: f64,
    durations_ms: Histogram,
    capacity_percent: Option<f64>,
}

/// Sums over the window that is open.
#[derive(Default)]
pub(super) struct Platform {
    services: HashMap<Arc<str>, Service, RandomState>,
    queues: HashMap<Arc<str>, Queue, RandomState>,
    agents: HashMap<(Arc<str>, Arc<str>), Agent, RandomState>,
}

impl Platform {
    /// Counts a hop; gives the points that it makes by itself.
    pub(super) fn take_hop(&mut self, hop: &Hop, caps: &mut Caps) -> Vec<Point> {
        let span = &hop.span;
        let failed = u64::from(span.status == SpanStatus::Error);
        if matches!(span.kind, SpanKind::Server | SpanKind::Consumer) {
            let of = (&mut *caps, Capped::ServiceMetrics);
            let service = entry(&mut self.services, &span.service, of);
            service.requests += 1;
            service.errors += failed;
        }
        self.take_queue(hop, failed, caps);
        self.take_agent(span, failed, caps);
        let request = request(hop)
            .map(|point| caps.fold_point::<3>(Capped::RequestMetrics, point, span.span_id));
        let task = task(hop);
        let task = task.map(|point| caps.fold_point::<1>(Capped::TaskMetrics, point, span.span_id));
        request.into_iter().chain(task).collect()
    }

    /// Keeps the newest value of the process metrics of each service.
    pub(super) fn take_metrics(&mut self, metrics: &[MetricPoint], caps: &mut Caps) {
        for metric in metrics {
            let (field, factor) = match &*metric.name {
                "process.uptime" => ("uptime_seconds", 1.0),
                "process.memory.usage" => ("memory_usage_mb", 1e-6),
                "process.cpu.utilization" => ("cpu_usage_percent", 100.0),
                "http.server.active_requests" => ("active_connections", 1.0),
                _ => continue,
            };
            let of = (&mut *caps, Capped::ServiceMetrics);
            let service = entry(&mut self.services, &metric.service, of);
            service.process.insert(field, metric.value * factor);
        }
    }

    /// Keeps the depth of the queues that spans of this window concern.
    pub(super) fn take_snapshot(&mut self, snapshot: &BrokerSnapshot) {
        for sample in &snapshot.queues {
            if let Some(queue) = self.queues.get_mut(&sample.queue) {
                queue.depth = sample.messages;
            }
        }
    }

    /// Closes the window that ends at `end_unix_nano`.
    pub(super) fn close(&mut self, end_unix_nano: i64) -> Vec<Point> {
        let services = self
            .services
            .drain()
            .map(|(name, service)| service_point(name, service, end_unix_nano));
        let queues = self
            .queues
            .drain()
            .map(|(name, queue)| queue_point(name, &queue, end_unix_nano));
        let agents = self
            .agents
            .drain()
            .map(|(key, agent)| agent_point(key, &agent, end_unix_nano));
        services.chain(queues).chain(agents).collect()
    }

    fn take_queue(&mut self, hop: &Hop, failed: u64, caps: &mut Caps) {
        let (Some(step), Some(name)) = (&hop.step, &hop.destination) else {
            return;
        };
        let queue = entry(&mut self.queues, name, (caps, Capped::QueueMetrics));
        match step.direction {
            Direction::Out => queue.published += 1,
            Direction::In => {
                queue.consumed += 1;
                queue.processing_ms += hop.span.duration().as_secs_f64() * 1e3;
            }
        }
        queue.failed += failed;
    }

    fn take_agent(&mut self, span: &Span, failed: u64, caps: &mut Caps) {
        let Some(id) = span
            .text("gen_ai.agent.id")
            .or_else(|| span.text("agent.id"))
        else {
            return;
        };
        let kind = span.text("notification.type").cloned().unwrap_or_default();
        let tags = [id.as_bytes(), kind.as_bytes()];
        let [other_id, other_kind] = caps.fold(Capped::AgentMetrics, (tags, ())).others;
        let of = |name: &Arc<str>, is_other| match is_other {
            true => Arc::from(OTHER),
            false => Arc::clone(name),
        };
        let key = (of(id, other_id), of(&kind, other_kind));
        let agent = self.agents.entry(key).or_default();
        if span.kind == SpanKind::Consumer {
            agent.received += 1;
            agent.processed += 1 - failed;
            let ms = span.duration().as_secs_f64() * 1e3;
            agent.duration_ms += ms;
            agent.longest_ms = agent.longest_ms.max(ms);
            agent.durations_ms.record(ms);
        }
        match span.text("gen_ai.operation.name").map(|name| &**name) {
            Some("execute_tool") => agent.tools += 1,
            Some("chat" | "generate_content" | "text_completion") => agent.llm_calls += 1,
            _ => {}
        }
        agent.input_tokens += whole(span, "gen_ai.usage.input_tokens").unwrap_or(0);
        agent.output_tokens += whole(span, "gen_ai.usage.output_tokens").unwrap_or(0);
        if let Some(capacity) = number(span, "agent.capacity_percent") {
            agent.capacity_percent = Some(capacity);
        }
    }
}

/// The entry of a service or queue, or that of `_other` when there are too many.
fn entry<'a, V: Default>(
    map: &'a mut HashMap<Arc<str>, V, RandomState>,
    name: &Arc<str>,
    (caps, of): (&mut Caps, Capped),
) -> &'a mut V {
    let is_folded = !map.contains_key(name) && caps.fold(of, ([name.as_bytes()], ())).is_folded();
    let key = match is_folded {
        true => Arc::from(OTHER),
        false => Arc::clone(name),
    };
    map.entry(key).or_default()
}

fn number(span: &Span, name: &str) -> Option<f64> {
    match span.attribute(name)? {
        AttributeValue::Double(number) => Some(*number),
        AttributeValue::Int(number) => {
            #[expect(
                clippy::cast_precision_loss,
                reason = "measured values are far below 2^53"
            )]
            let number = *number as f64;
            Some(number)
        }
        _ => None,
    }
}

fn whole(span: &Span, name: &str) -> Option<u64> {
    match span.attribute(name)? {
        AttributeValue::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn service_point(name: Arc<str>, service: Service, end: i64) -> Point {
    let point = Point::new("service_metrics", end)
        .tag("service_name", name)
        .int("requests", Some(service.requests))
        .int("errors", Some(service.errors));
    service
        .process
        .into_iter()
        .fold(point, |point, (field, value)| {
            point.float(field, Some(value))
        })
}

fn queue_point(name: Arc<str>, queue: &Queue, end: i64) -> Point {
    #[expect(clippy::cast_precision_loss, reason = "a count of one window")]
    let each = (queue.consumed > 0).then(|| queue.processing_ms / queue.consumed as f64);
    Point::new("queue_metrics", end)
        .tag("queue_name", name)
        .int("messages_published", Some(queue.published))
        .int("messages_consumed", Some(queue.consumed))
        .int("messages_failed", Some(queue.failed))
        .int("queue_depth", queue.depth)
        .float("processing_time_ms", each)
}

fn agent_point((id, kind): (Arc<str>, Arc<str>), agent: &Agent, end: i64) -> Point {
    #[expect(clippy::cast_precision_loss, reason = "a count of one window")]
    let each = (agent.received > 0).then(|| agent.duration_ms / agent.received as f64);
    Point::new("agent_metrics", end)
        .tag("agent_id", id)
        .tag("notification_type", kind)
        .float("duration_ms", each)
        .float("duration_p50_ms", agent.durations_ms.quantile(0.5))
        .float("duration_p95_ms", agent.durations_ms.quantile(0.95))
        .float("duration_p99_ms", agent.durations_ms.quantile(0.99))
        .float("duration_max_ms", each.map(|_| agent.longest_ms))
        .int("notifications_received", Some(agent.received))
        .int("notifications_processed", Some(agent.processed))
        .int("tool_executions", Some(agent.tools))
        .int("llm_calls", Some(agent.llm_calls))
        .int("input_tokens", Some(agent.input_tokens))
        .int("output_tokens", Some(agent.output_tokens))
        .float("capacity_percent", agent.capacity_percent)
}

/// A point of `request_metrics`, for the server span of an HTTP request.
fn request(hop: &Hop) -> Option<Point> {
    let span = &hop.span;
    if span.kind != SpanKind::Server {
        return None;
    }
    let method = span.text("http.request.method")?;
    let endpoint = span
        .text("http.route")
        .map_or_else(|| Arc::from("unknown"), Arc::clone);
    let status =
        whole(span, "http.response.status_code").map_or_else(String::new, |code| code.to_string());
    let point = Point::new("request_metrics", hop.point_unix_nano)
        .tag("endpoint", endpoint)
        .tag("method", Arc::clone(method))
        .tag("status_code", status)
        .float("duration_ms", Some(span.duration().as_secs_f64() * 1e3))
        .int("request_size_bytes", whole(span, "http.request.body.size"))
        .int(
            "response_size_bytes",
            whole(span, "http.response.body.size"),
        );
    Some(point)
}

/// A point of `task_metrics`, for a span that ends a task's step.
fn task(hop: &Hop) -> Option<Point> {
    let span = &hop.span;
    let (id, status) = (span.text("task.id")?, span.text("task.status")?);
    let creator = span.text("task.creator.id").cloned().unwrap_or_default();
    let point = Point::new("task_metrics", hop.point_unix_nano)
        .tag("creator_id", creator)
        .text("task_id", Some(Arc::clone(id)))
        .text("status", Some(Arc::clone(status)))
        .text("assignee", span.text("task.assignee.id").cloned())
        .float("duration_seconds", Some(span.duration().as_secs_f64()));
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::Platform;
    use crate::flow::caps::Caps;
    use crate::flow::hop::{hop, tests::span};
    use crate::model::{FieldValue, Point, SpanKind};

    fn field<'a>(point: &'a Point, name: &str) -> Option<&'a FieldValue> {
        point
            .fields
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn spans_fill_the_measurements_of_the_platform() {
        let (mut platform, mut caps) = (Platform::default(), Caps::new(100));
        let request = span(
            "gateway",
            SpanKind::Server,
            &[("http.request.method", "POST"), ("http.route", "/notify")],
        );
        let tool = [
            ("agent.id", "a1"),
            ("notification.type", "weather"),
            ("gen_ai.operation.name", "execute_tool"),
        ];
        let own = platform.take_hop(&hop(request), &mut caps);
        assert_eq!((own.len(), own[0].measurement), (1, "request_metrics"));
        for (kind, attributes) in [
            (SpanKind::Internal, &tool[..]),
            (SpanKind::Consumer, &tool[..2]),
        ] {
            platform.take_hop(&hop(span("planner", kind, attributes)), &mut caps);
        }
        let points = platform.close(10);
        let agent = points
            .iter()
            .find(|point| point.measurement == "agent_metrics")
            .unwrap();
        assert_eq!(field(agent, "tool_executions"), Some(&FieldValue::Int(1)));
        assert_eq!(
            field(agent, "notifications_processed"),
            Some(&FieldValue::Int(1))
        );
        assert!(
            platform.close(20).is_empty(),
            "a closed window must be empty"
        );
    }

    #[test]
    fn services_without_number_do_not_grow_the_memory() {
        let (mut platform, mut caps) = (Platform::default(), Caps::new(100));
        for number in 0..150 {
            let service = format!("s{number}");
            platform.take_hop(&hop(span(&service, SpanKind::Server, &[])), &mut caps);
        }
        let points = platform.close(10);
        assert_eq!(points.len(), 101);
        let other = points
            .iter()
            .find(|point| &*point.tags[0].1 == "_other")
            .unwrap();
        assert_eq!(field(other, "requests"), Some(&FieldValue::Int(50)));
    }
}
