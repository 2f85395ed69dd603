//! The consume side where it is hardest to reach: hooks that ask back, settlements under way,
//! messages of strangers, tables that must be empty at the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lapin::options::BasicAckOptions;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::trace::Sampler;

use super::{AckMode, BasicProperties, Delivery, Service, attribute, hand_out, message};
use crate::acker::Acker;
use crate::config::TraceConfig;
use crate::current;
use crate::hooks::{HookSpan, TraceHooks};
use crate::operation::Operation;
use crate::outcome::Settlement;
use crate::rules::{Relation, Rule};
use crate::source::{HandOut, Source, Taken};

const DEATH: &str = "x-death";

fn take(source: &Arc<Source>, tag: u64, properties: BasicProperties) -> Delivery {
    let queue = source.queue.clone();
    let received = message((tag, "", queue.as_str()), properties);
    hand_out(source, received, &Context::new())
}

/// Asks for the context of the delivery that is being settled.
#[derive(Clone, Default)]
struct AsksBack(Arc<Mutex<Option<Acker>>>);

impl TraceHooks for AsksBack {
    fn on_settle(&self, _: Settlement, _: &mut HookSpan<'_>) {
        let acker = self.0.lock().unwrap().clone();
        let shown = acker.map(|acker| format!("{acker:?}{:?}", acker.context()));
        assert!(shown.is_some());
    }
}

#[test]
fn a_hook_may_ask_for_the_delivery_that_is_settled() {
    let hooks = AsksBack::default();
    let service = Service::new("planner").configured(|config| config.with_hooks(hooks.clone()));
    let delivery = service.consume("tasks", BasicProperties::default());
    *hooks.0.lock().unwrap() = Some(delivery.acker.clone());
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        delivery.process().unwrap().end(Settlement::Ack);
        sender.send(()).unwrap();
    });
    let ended = done.recv_timeout(Duration::from_secs(10));
    assert!(
        ended.is_ok(),
        "the hook waits for a lock that its caller holds"
    );
    let spans = service.spans();
    assert_eq!(spans.len(), 1);
    let settlement = attribute(&spans[0], "rabtrace.settlement");
    assert_eq!(settlement.as_deref(), Some("ack"));
}

#[tokio::test]
async fn a_claimed_delivery_is_not_settled_again_when_the_channel_is_gone() {
    let service = Service::new("planner").configured(TraceConfig::with_fast_settle);
    let delivery = service.consume("tasks", BasicProperties::default());
    // As the settlement through the channel leaves it; the channel's handle is dropped since.
    delivery
        .process()
        .unwrap()
        .claimed
        .store(true, Ordering::Release);
    assert!(!delivery.ack(BasicAckOptions::default()).await.unwrap());
    assert!(service.spans().is_empty());
}

#[test]
fn a_later_delivery_with_the_tag_leaves_the_answer_to_a_settlement_under_way() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let old = take(&source, 1, BasicProperties::default());
    old.process()
        .unwrap()
        .settling
        .fetch_add(1, Ordering::AcqRel);
    let new = take(&source, 1, BasicProperties::default());
    assert!(
        service.spans().is_empty(),
        "the broker's answer was not waited for"
    );
    old.process().unwrap().end(Settlement::Ack);
    let settlement = attribute(&service.spans()[0], "rabtrace.settlement");
    assert_eq!(settlement.as_deref(), Some("ack"));
    drop((old, new));
    assert_eq!(source.open.len(), 0);
}

#[test]
fn a_settled_delivery_counts_for_nobody_else() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let deliveries: Vec<_> = (1..=3)
        .map(|tag| take(&source, tag, BasicProperties::default()))
        .collect();
    // Settled by another thread, which is about to remove it.
    let process = deliveries[0].process().unwrap();
    process.ended.store(true, Ordering::Release);
    assert_eq!(source.open.up_to(3).len(), 2);
    assert!(source.open.one(1).is_none());
    process.ended.store(false, Ordering::Release);
    drop(deliveries);
    assert_eq!((source.open.len(), service.spans().len()), (0, 3));
}

#[test]
fn each_queue_of_a_fanout_counts_its_own_attempts() {
    let (gateway, planner) = (Service::new("gateway"), Service::new("planner"));
    let properties = gateway.publish(("events", "new"), &Context::new());
    let [billing, archive, dead] =
        ["billing", "archive", "dead"].map(|queue| planner.source(queue, AckMode::Manual));
    let again = |source: &Arc<Source>, tag| {
        let mut received = message((tag, "events", "new"), properties.clone());
        received.redelivered = tag > 1;
        hand_out(source, received, &Context::new())
            .process()
            .unwrap()
            .end(Settlement::NackRequeue);
        planner.spans().pop().unwrap()
    };
    let billed: Vec<_> = (1..=3).map(|tag| again(&billing, tag)).collect();
    let archived: Vec<_> = (1..=2).map(|tag| again(&archive, tag)).collect();
    let attempt = |span| attribute(span, "rabtrace.attempt");
    assert_eq!(attempt(&billed[2]).as_deref(), Some("3"));
    assert_eq!(attempt(&archived[0]), None);
    assert_eq!(attempt(&archived[1]).as_deref(), Some("2"));
    let links = |span: &opentelemetry_sdk::trace::SpanData| {
        let links = span.links.iter();
        links
            .map(|link| link.span_context.span_id())
            .collect::<Vec<_>>()
    };
    assert_eq!(links(&archived[1])[1], archived[0].span_context.span_id());

    // Dead-lettered from billing: that is where the attempt before was.
    let mut entry = FieldTable::default();
    entry.insert("queue".into(), AMQPValue::LongString("billing".into()));
    entry.insert("reason".into(), AMQPValue::LongString("rejected".into()));
    let deaths = FieldArray::from(vec![AMQPValue::FieldTable(entry)]);
    let mut headers = properties.headers().clone().unwrap();
    headers.insert(DEATH.into(), AMQPValue::FieldArray(deaths));
    drop(take(&dead, 1, properties.clone().with_headers(headers)));
    let span = planner.spans().pop().unwrap();
    assert_eq!(attempt(&span).as_deref(), Some("4"));
    assert_eq!(links(&span)[1], billed[2].span_context.span_id());
}

#[test]
fn the_context_of_a_stranger_is_not_passed_on() {
    let rule = || Rule::queue("hooks").with_relation(Relation::Ignore);
    let (stranger, planner) = (Service::new("stranger"), Service::new("planner"));
    let planner = planner.configured(|config| config.with_rule(rule()));
    let hostile = stranger.publish(("", "hooks"), &Context::new());
    let hostile_id = stranger.spans().pop();
    drop(take(
        &planner.source("hooks", AckMode::Manual),
        1,
        hostile.clone(),
    ));
    let process = planner.spans().pop().unwrap();
    assert!(process.links.links.is_empty() && super::is_root(&process));
    // A relay publishes the properties as they came.
    let (publish, sent) = planner.start(("", "next"), hostile, &Context::new());
    drop(publish);
    let publish = planner.spans().pop().unwrap();
    assert!(publish.links.links.is_empty(), "{publish:#?}");
    let headers = sent.headers().as_ref().unwrap();
    let Some(AMQPValue::LongString(text)) = headers.inner().get("traceparent") else {
        panic!("{headers:?}");
    };
    let own = publish.span_context.span_id().to_string();
    assert!(text.to_string().contains(&own), "{text} {hostile_id:?}");
}

/// Hands out a delivery to the running task.
fn to_the_task(source: &Arc<Source>, tag: u64) -> Delivery {
    let how = HandOut {
        ambient: &Context::current(),
        taken: Taken::ByTask,
        operation: Operation::Process,
    };
    let received = message((tag, "", "tasks"), BasicProperties::default());
    source.hand_out(received, how)
}

#[tokio::test]
async fn suppressed_telemetry_stays_suppressed_in_a_loop() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let delivery = to_the_task(&source, 1);
    let suppressed = Context::current().with_telemetry_suppressed();
    service.publish(("", "spans"), &suppressed);
    assert!(service.spans().is_empty());
    service.publish(("", "weather"), &Context::new());
    let id = delivery.context().span().span_context().span_id();
    assert_eq!(service.spans()[0].parent_span_id, id);
}

/// The usual loop that hands some of its deliveries to tasks.
#[tokio::test]
async fn work_that_is_stated_leaves_the_loop_free_for_the_next_delivery() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let spawned = to_the_task(&source, 1);
    let acker = spawned.acker.clone();
    let work = tokio::spawn(acker.instrument(async move { spawned }));
    let next = to_the_task(&source, 2);
    let current = current::delivery().unwrap();
    assert!(Arc::ptr_eq(&current, next.acker.process().unwrap()));
    drop((current, next));
    assert!(current::delivery().is_none());
    let worker = current::worker().unwrap();
    let last = to_the_task(&source, 3);
    drop((work.await.unwrap(), acker));
    assert!(current::delivery().is_some(), "the last one is still there");
    last.instrument(async {}).await;
    last.instrument(async {}).await;
    assert!(current::delivery().is_some(), "until the next one");
    drop(last);
    assert!(!current::holds(worker));
}

/// What `buffer_unordered` does: what comes after the stated work of one delivery must not be
/// taken for another's.
#[tokio::test]
async fn stated_work_in_the_same_task_holds_its_delivery() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let first = to_the_task(&source, 1);
    let work = first.instrument(tokio::task::yield_now());
    let second = to_the_task(&source, 2);
    work.await;
    assert!(current::delivery().is_none(), "either could be meant");
    drop(second);
    assert!(current::delivery().is_none());
    drop(first);
    let worker = current::worker().unwrap();
    assert!(!current::holds(worker));
    let alone = to_the_task(&source, 3);
    alone.instrument(tokio::task::yield_now()).await;
    assert!(current::delivery().is_some_and(|it| Arc::ptr_eq(&it, alone.acker.process().unwrap())));
}

#[tokio::test]
async fn nothing_is_left_in_the_table_of_tasks() {
    let service = Service::new("planner");
    let source = service.source("tasks", AckMode::Manual);
    let mut workers = Vec::new();
    for round in 0..8_u64 {
        let source = Arc::clone(&source);
        let task = tokio::spawn(async move {
            let kept: Vec<_> = (0..5)
                .map(|tag| to_the_task(&source, round * 5 + tag))
                .collect();
            tokio::task::yield_now().await;
            let worker = current::worker().unwrap();
            assert!(current::holds(worker));
            assert!(
                current::delivery().is_none(),
                "it cannot be told which of them"
            );
            (worker, kept)
        });
        let (worker, kept) = task.await.unwrap();
        assert!(current::holds(worker));
        drop(kept);
        workers.push(worker);
    }
    for worker in workers {
        assert!(!current::holds(worker));
    }
    assert_eq!(source.open.len(), 0);
}

/// Unsampled, so that it takes seconds in a build without optimisation.
#[tokio::test]
async fn a_million_deliveries_without_settlement_leave_nothing() {
    let service = Service::sampled("planner", Sampler::AlwaysOff);
    let source = service.source("tasks", AckMode::NoAck);
    let begun = Instant::now();
    let how = HandOut {
        ambient: &Context::new(),
        taken: Taken::ByTask,
        operation: Operation::Process,
    };
    for tag in 0..1_000_000 {
        let received = message((tag, "", "tasks"), BasicProperties::default());
        drop(source.hand_out(received, how));
    }
    println!("1,000,000 deliveries: {:?}", begun.elapsed());
    assert_eq!(source.open.len(), 0);
    assert!(!current::holds(current::worker().unwrap()));
    assert_eq!(Arc::strong_count(&source), 1);
}
