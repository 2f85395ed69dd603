//! Publishes whose channel or connection is lost, or whose connection takes nothing: every span
//! ends at once, with the reason.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rabtrace::demo::broker::Broker;
use rabtrace_lapin::Confirmation;
use rabtrace_lapin::TracedConfirm;
use rabtrace_lapin::lapin::Result;
use rabtrace_lapin::lapin::options::BasicAckOptions;
use rabtrace_lapin::lapin::types::FieldTable;
use rustix::process::{Pid, Signal, kill_process_group};

use super::service::{Service, attribute, broker, outcome, outcomes};
use crate::support::eventually;

const OUTSTANDING: usize = 100;

/// Stops the node's processes, or lets them go on: meanwhile it takes bytes and answers nothing.
fn signal(broker: &Broker, signal: Signal) {
    let group = i32::try_from(broker.process_id()).unwrap();
    kill_process_group(Pid::from_raw(group).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn every_publish_ends_with_its_channel() {
    let mut broker = broker().await;
    missing_exchange(&broker).await;
    closed_by_the_broker(&broker).await;
    connections_closed(&broker).await;
    blocked(&broker).await;
    killed(&mut broker).await;
}

/// Publishes that many; every third confirm is dropped.
async fn outstanding(service: &Service, to: (&str, &str)) -> Vec<(usize, TracedConfirm)> {
    let mut confirms = Vec::new();
    for id in 0..OUTSTANDING {
        // Mandatory ones among the awaited and the dropped.
        let published = service.publish_as(to, id, id.is_multiple_of(2));
        let confirm = published.await.unwrap();
        if !id.is_multiple_of(3) {
            confirms.push((id, confirm));
        }
    }
    assert_eq!(service.ended(), 0);
    confirms
}

/// Awaits them, and asserts that all end with `error_type` soon after the first failed.
async fn assert_lost(
    service: &Service,
    confirms: Vec<(usize, TracedConfirm)>,
    error_types: &[&str],
) {
    let mut begun = None;
    for (_, confirm) in confirms {
        confirm.await.unwrap_err();
        begun.get_or_insert_with(Instant::now);
    }
    let all = eventually("every span", Duration::from_secs(1), || async {
        (service.ended() >= OUTSTANDING).then_some(())
    });
    all.await;
    let took = begun.unwrap().elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let ended = outcomes(&service.take());
    assert_eq!(ended.len(), OUTSTANDING);
    let expect: Vec<String> = error_types
        .iter()
        .map(|error_type| format!("channel_lost {error_type}"))
        .collect();
    for (id, outcome) in ended {
        assert!(expect.contains(&outcome), "{id}: {outcome}");
    }
    service.assert_nothing_kept();
}

async fn missing_exchange(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    signal(broker, Signal::STOP);
    let confirms = outstanding(&service, ("missing", "key")).await;
    signal(broker, Signal::CONT);
    assert_lost(&service, confirms, &["NOT_FOUND"]).await;
}

/// An unknown delivery is acknowledged, and the publishes come after that.
async fn closed_by_the_broker(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("tasks", FieldTable::default()).await;
    signal(broker, Signal::STOP);
    let acked = service.channel.basic_ack(999, BasicAckOptions::default());
    acked.await.unwrap();
    service.take();
    let confirms = outstanding(&service, ("", "tasks")).await;
    signal(broker, Signal::CONT);
    assert_lost(&service, confirms, &["PRECONDITION_FAILED"]).await;
}

async fn killed(broker: &mut Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("tasks", FieldTable::default()).await;
    signal(broker, Signal::STOP);
    let confirms = outstanding(&service, ("", "tasks")).await;
    broker.kill().unwrap();
    assert_lost(&service, confirms, &["IOError"]).await;
}

/// What the application saw of a publish, as its span should have it.
fn seen(result: &Result<Confirmation>) -> &'static str {
    match result {
        Ok(confirmation) => {
            assert_eq!(*confirmation, Confirmation::Ack(None));
            "acked"
        }
        Err(_) => "channel_lost CONNECTION_FORCED",
    }
}

/// Publishes go on until the connection is closed under them.
async fn connections_closed(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("tasks", FieldTable::default()).await;
    let close = broker.rabbitmqctl(&["close_all_connections", "for a test"]);
    let publish = async {
        let (mut confirms, mut saw) = (Vec::new(), BTreeMap::new());
        for id in 0.. {
            match service.publish_as(("", "tasks"), id, true).await {
                Ok(confirm) => confirms.push((id, confirm)),
                Err(_) => return (id, confirms, saw),
            }
            if confirms.len() >= OUTSTANDING {
                let (id, confirm) = confirms.remove(0);
                saw.insert(id, seen(&confirm.await).to_owned());
            }
        }
        (0, confirms, saw)
    };
    let (closed, (failed, confirms, mut saw)) = tokio::join!(close, publish);
    closed.unwrap();
    for (id, confirm) in confirms {
        saw.insert(id, seen(&confirm.await).to_owned());
    }
    let all = eventually("every span", Duration::from_secs(1), || async {
        (service.ended() > saw.len()).then_some(())
    });
    all.await;
    let mut ended = outcomes(&service.take());
    let last = ended.remove(&failed).unwrap();
    assert!(last.starts_with("failed "), "{last}");
    assert!(ended == saw, "{} {}", ended.len(), saw.len());
    service.assert_nothing_kept();
}

async fn blocked(broker: &Broker) {
    let service = Service::confirming(broker, "gateway").await;
    service.queue("tasks", FieldTable::default()).await;
    let watermark = |part: &'static str| async move {
        let words = ["set_vm_memory_high_watermark", part];
        broker.rabbitmqctl(&words).await.unwrap();
    };
    watermark("0.0001").await;
    // The broker says so when it gets the next message, which it does not confirm.
    let last = service.publish_as(("", "tasks"), 0, true).await.unwrap();
    let is_blocked = eventually("the block", Duration::from_secs(10), || async {
        service.connection.status().blocked().then_some(())
    });
    is_blocked.await;
    for mandatory in [false, true] {
        let published = service.publish_as(("", "tasks"), 1, mandatory);
        let published = tokio::time::timeout(Duration::from_millis(100), published);
        assert!(published.await.is_err(), "it was written");
        let span = service.take_one();
        assert_eq!(outcome(&span), "dropped connection_blocked");
        assert_eq!(attribute(&span, "rabtrace.publish.write.duration"), None);
    }
    watermark("0.4").await;
    let next = service.publish_as(("", "tasks"), 2, true).await.unwrap();
    assert_eq!(next.await.unwrap(), Confirmation::Ack(None));
    assert_eq!(last.await.unwrap(), Confirmation::Ack(None));
    let expect = BTreeMap::from([(0, "acked".to_owned()), (2, "acked".to_owned())]);
    assert_eq!(outcomes(&service.take()), expect);
    service.assert_nothing_kept();
}

/// What nobody waits for ends with the runtime that waited in the background, and with the tasks
/// that the runtime drops.
#[test]
fn every_publish_ends_with_its_runtime() {
    let outer = tokio::runtime::Runtime::new().unwrap();
    let broker = outer.block_on(broker());
    let inner = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let service = inner.block_on(async {
        let service = Service::confirming(&broker, "gateway").await;
        service.queue("tasks", FieldTable::default()).await;
        signal(&broker, Signal::STOP);
        for id in 0..3 {
            drop(service.publish_as(("", "tasks"), id, true).await.unwrap());
        }
        let kept = service.publish_as(("", "tasks"), 3, true).await.unwrap();
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        service
    });
    assert_eq!(service.ended(), 0);
    drop(inner);
    signal(&broker, Signal::CONT);
    let ended = outcomes(&service.take());
    assert_eq!(ended.len(), 4, "{ended:?}");
    for outcome in ended.values() {
        assert!(outcome.starts_with("dropped"), "{ended:?}");
    }
    service.assert_nothing_kept();
}
