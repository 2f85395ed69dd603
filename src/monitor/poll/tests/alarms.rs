//! A node with too little, whose listing does not tell alarms: as it is where the metrics collector is
//! turned off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;

use super::{DETAILED, serve, watch};
use crate::monitor::sources::NODE_EVERY;

/// Of the node that [`DETAILED`] is of.
const SHORT: &str = "rabbitmq_detailed_process_resident_memory_bytes 2000\n\
                     rabbitmq_detailed_resident_memory_limit_bytes 1000\n";

#[tokio::test]
async fn a_node_with_too_little_tells_its_alarms_with_every_poll() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let aggregated = move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        "rabbitmq_alarms_memory_used_watermark 1\n\
         rabbitmq_identity_info{rabbitmq_node=\"rabbit@localhost\"} 1\n"
    };
    let detailed = || async { format!("{SHORT}{DETAILED}") };
    let node = Router::new()
        .route("/metrics/detailed", get(detailed))
        .route("/metrics", get(aggregated));
    let management = Router::new()
        .route(
            "/api/overview",
            get(|| async { r#"{"rabbitmq_version":"4.0.5"}"# }),
        )
        .route(
            "/api/nodes",
            get(|| async { r#"[{"name":"rabbit@localhost","running":true}]"# }),
        );
    let mut watched = watch(serve(node).await, serve(management).await);
    let (begun, mut told) = (Instant::now(), 0);
    while told < 3 {
        // On a busy machine an answer may be had by a later poll; nodes that have enough are asked
        // once a minute.
        assert!(begun.elapsed() < NODE_EVERY * 5 / 6, "told {told} times");
        let snapshot = watched.monitor.poll_once().await.unwrap();
        let node = &snapshot.nodes[0];
        assert_eq!(node.mem_used, Some(2000));
        told += usize::from(node.mem_alarm == Some(true));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(asked.load(Ordering::Relaxed) >= told);
}
