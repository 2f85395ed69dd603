//! A broker that is killed and started again under a running monitor.

use std::time::Duration;

use rabtrace::config;
use rabtrace::demo::broker::Broker;
use rabtrace::health::{Health, Status};
use rabtrace::metrics::Metrics;
use rabtrace::model::{BrokerSnapshot, QueueSample};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::setup::{STATISTICS, Watched, broker_config, channel, declare, find, publish, watch};
use crate::support::eventually;

/// How often the broker's component changed to each status, watched closely.
async fn transitions(health: Health, stop: CancellationToken) -> Vec<Status> {
    let mut seen = vec![health.overall()];
    while !stop.is_cancelled() {
        let now = health.overall();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen
}

/// The queue "kept" in each snapshot of the next `within`.
async fn collect(
    snapshots: &mut mpsc::Receiver<BrokerSnapshot>,
    within: Duration,
) -> Vec<QueueSample> {
    let mut seen = Vec::new();
    let deadline = tokio::time::Instant::now() + within;
    while let Ok(Some(snapshot)) = tokio::time::timeout_at(deadline, snapshots.recv()).await {
        seen.extend(find(&snapshot, "/", "kept").cloned());
    }
    seen
}

async fn until_dropped(metrics: &Metrics) {
    eventually("a dropped snapshot", STATISTICS, || {
        let text = metrics.encode().unwrap();
        let name = r#"rabtrace_dropped_total{reason="flow_full",stage="monitor"} "#;
        let number = text.lines().find_map(|line| line.strip_prefix(name));
        let dropped = number.unwrap() != "0";
        async move { dropped.then_some(()) }
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_is_told_once_each_and_makes_no_spike() {
    let mut broker = Broker::start().await.unwrap();
    let open = channel(&broker, "/").await;
    declare(&open.1, "kept").await;
    publish(&open.1, "kept", 20).await;
    let watched = watch(config::Broker {
        poll_interval: Duration::from_secs(1),
        poll_timeout: Duration::from_secs(5),
        ..broker_config(&broker)
    });
    let Watched {
        monitor,
        health,
        metrics,
    } = watched;
    let (out, mut snapshots) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(monitor.run(out, stop.clone()));
    let watching = tokio::spawn(transitions(health.clone(), stop.clone()));
    let is_whole = |snapshot: &BrokerSnapshot| {
        find(snapshot, "/", "kept").is_some_and(|queue| queue.messages == Some(20))
    };
    eventually("the first depth", STATISTICS, || {
        let whole = snapshots
            .try_recv()
            .is_ok_and(|snapshot| is_whole(&snapshot));
        async move { whole.then_some(()) }
    })
    .await;

    drop(open);
    broker.kill().unwrap();
    eventually("away", STATISTICS, || {
        let status = health.overall();
        async move { (status == Status::Degraded).then_some(()) }
    })
    .await;
    while snapshots.try_recv().is_ok() {}
    broker.restart().await.unwrap();

    let after = collect(&mut snapshots, Duration::from_secs(12)).await;
    assert!(after.len() > 5, "snapshots go on: {}", after.len());
    for queue in &after {
        assert!(queue.messages.is_none_or(|depth| depth == 20), "{queue:?}");
        assert!(
            queue.messages_publish_rate.is_none_or(|rate| rate == 0.0),
            "{queue:?}"
        );
    }
    assert_eq!(after.last().unwrap().messages, Some(20));
    // Nobody takes them any more: the queue to the flow is full.
    until_dropped(&metrics).await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!(
        watching.await.unwrap(),
        [
            Status::Starting,
            Status::Healthy,
            Status::Degraded,
            Status::Healthy
        ]
    );
}
