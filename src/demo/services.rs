//! The services of the sample pipeline: an assistant platform.
//!
//! ```text
//! gateway ─► planner_queue ─► planner ─► responder_queue ─► responder ─► events ─┬─► audit
//!                              │   ▲                                             └─► billing
//!                        weather / search (RPC; search fails at times: retried, dead-lettered)
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicNackOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use opentelemetry::KeyValue;
use rabtrace_lapin::message::Delivery;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::service::{Message, Service, annotate, work};
use super::topology::{
    AUDIT_QUEUE, BILLING_QUEUE, EVENT_QUEUES, EVENTS, PLANNER_QUEUE, RESPONDER_QUEUE, SEARCH_QUEUE,
    WEATHER_QUEUE,
};

/// How long the planner waits for a tool.
const TOOL_TIMEOUT: Duration = Duration::from_millis(800);
/// One search in this many cannot be answered.
const FAILING_SEARCH: u64 = 9;

/// Takes requests in, one every `pause`, until `stop`.
pub(super) async fn gateway(
    service: Service,
    pause: Duration,
    stop: CancellationToken,
) -> lapin::Result<()> {
    let mut ticks = tokio::time::interval(pause);
    let mut number = 0_u64;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        number += 1;
        let kind = ["weather", "search", "smalltalk"][usize::try_from(number % 3).unwrap_or(0)];
        let failing = kind == "search" && (number / 3).is_multiple_of(FAILING_SEARCH);
        let task = format!("task-{number}");
        let body = json!({ "task": task, "kind": kind, "failing": failing });
        let attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/notifications"),
            KeyValue::new(
                "http.request.body.size",
                i64::try_from(body.to_string().len()).unwrap_or(0),
            ),
        ];
        let properties = BasicProperties::default()
            .with_message_id(task.as_str().into())
            .with_delivery_mode(2);
        let message = Message {
            exchange: "",
            routing_key: PLANNER_QUEUE,
            copies: 1,
            body: &body,
            properties,
        };
        service
            .request(attributes, service.publish(message))
            .await?;
    }
}

/// What the planner remembers of the calls that are not answered yet.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>);

impl Calls {
    fn open(&self, id: &str) -> oneshot::Receiver<()> {
        let (answer, answered) = oneshot::channel();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), answer);
        answered
    }

    fn close(&self, id: &str) -> Option<oneshot::Sender<()>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id)
    }
}

/// Plans each notification, calls a tool over RPC, hands the result to the responder.
pub(super) async fn planner(service: Service, replies: Service) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = replies
        .channel
        .queue_declare("".into(), options, FieldTable::default())
        .await?;
    let reply_to = queue.name().clone();
    let calls = Calls::default();
    let answered = calls.clone();
    let take_reply = move |service: Service, delivery: Delivery| {
        let calls = answered.clone();
        async move {
            let id = delivery
                .properties
                .correlation_id()
                .as_ref()
                .map(ToString::to_string);
            // A late reply finds nobody who waits for it.
            if let Some(answer) = id.and_then(|id| calls.close(&id)) {
                let _ = answer.send(());
            }
            service.done(&delivery).await
        }
    };
    let plan = move |service: Service, delivery: Delivery| {
        let (calls, reply_to) = (calls.clone(), reply_to.clone());
        async move { plan_one(&service, &delivery, &calls, reply_to).await }
    };
    let name = queue.name().to_string();
    tokio::try_join!(
        replies.consume(&name, 32, take_reply),
        service.consume(PLANNER_QUEUE, 16, plan)
    )?;
    Ok(())
}

async fn plan_one(
    service: &Service,
    delivery: &Delivery,
    calls: &Calls,
    reply_to: ShortString,
) -> lapin::Result<()> {
    let body: Value = serde_json::from_slice(&delivery.data).unwrap_or_default();
    let (task, kind) = (text(&body, "task"), text(&body, "kind"));
    annotate(vec![
        KeyValue::new("agent.id", "planner-1"),
        KeyValue::new("notification.type", kind.clone()),
        KeyValue::new("task.id", task.clone()),
    ]);
    let tokens = vec![
        KeyValue::new("agent.id", "planner-1"),
        KeyValue::new("notification.type", kind.clone()),
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.usage.input_tokens", fastrand::i64(200..900)),
        KeyValue::new("gen_ai.usage.output_tokens", fastrand::i64(20..200)),
    ];
    service.step("chat planner", tokens, work(6)).await;
    let queue = match kind.as_str() {
        "weather" => Some(WEATHER_QUEUE),
        "search" => Some(SEARCH_QUEUE),
        _ => None,
    };
    if let Some(queue) = queue {
        let answered = calls.open(&task);
        let properties = BasicProperties::default()
            .with_correlation_id(task.as_str().into())
            .with_reply_to(reply_to)
            .with_delivery_mode(2);
        let message = Message {
            exchange: "",
            routing_key: queue,
            copies: 1,
            body: &body,
            properties,
        };
        let tool = vec![
            KeyValue::new("agent.id", "planner-1"),
            KeyValue::new("notification.type", kind),
            KeyValue::new("gen_ai.operation.name", "execute_tool"),
            KeyValue::new("gen_ai.tool.name", queue),
        ];
        let call = async {
            service.publish(message).await?;
            // Without an answer the responder says so: the task does not hang.
            let _ = tokio::time::timeout(TOOL_TIMEOUT, answered).await;
            lapin::Result::Ok(())
        };
        service.step("execute_tool", tool, call).await?;
        calls.close(&task);
    }
    let properties = BasicProperties::default().with_message_id(task.as_str().into());
    let message = Message {
        exchange: "",
        routing_key: RESPONDER_QUEUE,
        copies: 1,
        body: &body,
        properties,
    };
    service.publish(message).await?;
    service.done(delivery).await
}

/// Answers weather questions.
pub(super) async fn weather(service: Service) -> lapin::Result<()> {
    let answer = |service: Service, delivery: Delivery| async move {
        work(12).await;
        reply(&service, &delivery).await?;
        service.done(&delivery).await
    };
    service.consume(WEATHER_QUEUE, 4, answer).await
}

/// Answers searches; a failing one is put back, so that the broker tries it again.
pub(super) async fn search(service: Service) -> lapin::Result<()> {
    let answer = |service: Service, delivery: Delivery| async move {
        work(20).await;
        let body: Value = serde_json::from_slice(&delivery.data).unwrap_or_default();
        if body["failing"] == Value::Bool(true) {
            delivery.set_error(&std::io::Error::other("the index is being rebuilt"));
            return delivery
                .nack(BasicNackOptions {
                    requeue: true,
                    multiple: false,
                })
                .await
                .map(|_| ());
        }
        reply(&service, &delivery).await?;
        service.done(&delivery).await
    };
    service.consume(SEARCH_QUEUE, 4, answer).await
}

async fn reply(service: &Service, delivery: &Delivery) -> lapin::Result<()> {
    let properties = &delivery.properties;
    let (Some(to), Some(id)) = (properties.reply_to(), properties.correlation_id()) else {
        return Ok(());
    };
    let body = json!({ "answer": "done" });
    let properties = BasicProperties::default().with_correlation_id(id.clone());
    let message = Message {
        exchange: "",
        routing_key: to.as_str(),
        copies: 1,
        body: &body,
        properties,
    };
    service.publish(message).await
}

/// Answers the user and tells the world.
pub(super) async fn responder(service: Service) -> lapin::Result<()> {
    let respond = |service: Service, delivery: Delivery| async move {
        let body: Value = serde_json::from_slice(&delivery.data).unwrap_or_default();
        annotate(vec![
            KeyValue::new("agent.id", "responder-1"),
            KeyValue::new("notification.type", text(&body, "kind")),
            KeyValue::new("task.id", text(&body, "task")),
            KeyValue::new("task.status", "completed"),
            KeyValue::new("task.creator.id", "gateway"),
            KeyValue::new("task.assignee.id", "responder-1"),
        ]);
        work(8).await;
        let properties = BasicProperties::default();
        let key = "notification.completed";
        let message = Message {
            exchange: EVENTS,
            routing_key: key,
            copies: EVENT_QUEUES,
            body: &body,
            properties,
        };
        service.publish(message).await?;
        service.done(&delivery).await
    };
    service.consume(RESPONDER_QUEUE, 8, respond).await
}

/// Writes every event down, one at a time: the slow consumer of the pipeline.
pub(super) async fn audit(service: Service) -> lapin::Result<()> {
    let write = |service: Service, delivery: Delivery| async move {
        work(35).await;
        service.done(&delivery).await
    };
    service.consume(AUDIT_QUEUE, 1, write).await
}

/// Bills every finished notification.
pub(super) async fn billing(service: Service) -> lapin::Result<()> {
    let bill = |service: Service, delivery: Delivery| async move {
        work(3).await;
        service.done(&delivery).await
    };
    service.consume(BILLING_QUEUE, 8, bill).await
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or("unknown").to_owned()
}
