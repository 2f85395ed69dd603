//! InfluxDB 2: filled by the agent, and read back by an independent client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use influxdb2::models::Query;
use rabtrace::config::{Config, Secret};
use rabtrace::health::Health;
use rabtrace::influx::{Influx, InfluxSetup, Keeper, KeeperSetup};
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::model::{Point, PointBatch};
use rabtrace::spool::{Limits, Spool, SpoolSetup};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::setting;

/// Rows that an independent client reads.
async fn read(flux: String) -> Vec<influxdb2::api::query::FluxRecord> {
    let client = influxdb2::Client::new(
        setting("INFLUX_HOST"),
        setting("INFLUX_ORG"),
        setting("INFLUX_TOKEN"),
    );
    client.query_raw(Some(Query::new(flux))).await.unwrap()
}

fn measurement(name: &str) -> String {
    format!(
        "from(bucket: {:?}) |> range(start: -10m) |> filter(fn: (r) => r._measurement == \"{name}\") |> limit(n: 5)",
        setting("INFLUX_BUCKET")
    )
}

pub(crate) async fn the_stack_fills_influxdb_2() {
    for name in ["spans", "message_flow", "rabbitmq_queue", "rabbitmq_poll"] {
        assert!(!read(measurement(name)).await.is_empty(), "{name} is empty");
    }
}

/// Writes a point by way of a spool; what the sink counted.
async fn write(config: rabtrace::config::Influx, point: Point) -> Metrics {
    let client = rabtrace::app::http_client().unwrap();
    let (metrics, component) = (
        Metrics::new().unwrap(),
        Health::default().component("influxdb"),
    );
    let folder = tempfile::tempdir().unwrap();
    let (spool, lines) = Spool::open(SpoolSetup {
        folder: folder.path().join("spool"),
        sink: Stage::Influx,
        limits: Limits::default(),
        metrics: metrics.clone(),
    })
    .unwrap();
    let (points, points_in) = mpsc::channel(1);
    let keeper = Keeper::new(KeeperSetup {
        config: config.clone(),
        spool,
        metrics: metrics.clone(),
    });
    let sink = Influx::new(InfluxSetup {
        dead_letter: None,
        config,
        client,
        metrics: metrics.clone(),
        component,
    });
    let batch = PointBatch {
        points: vec![point],
        receipt: None,
        share: None,
        held: None,
    };
    points.send(batch).await.unwrap();
    drop(points);
    let both = async {
        keeper.run(points_in).await;
        sink.run(lines, CancellationToken::new()).await;
    };
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .unwrap();
    metrics
}

pub(crate) async fn influxdb_2_gives_back_what_was_written() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let name = format!("odd {}, a=b \"quoted\" ünïcode", now.as_nanos());
    let point = Point::new("rabbitmq_queue", i64::try_from(now.as_nanos()).unwrap());
    let point = point
        .tag("queue", name.as_str())
        .int("messages", Some(42))
        .text("state", Some("a \\ \"b\""));
    let mut config = Config::default().influx;
    config.url = Some(Secret::new(setting("INFLUX_HOST")));
    config.org = setting("INFLUX_ORG");
    config.bucket = setting("INFLUX_BUCKET");
    config.token = Secret::new(setting("INFLUX_TOKEN"));
    let metrics = write(config, point).await;
    assert_eq!(metrics.points_written.get(), 1);
    let rows = read(format!(
        "{} |> filter(fn: (r) => r.queue == {name:?})",
        measurement("rabbitmq_queue")
    ))
    .await;
    let text = format!("{rows:?}");
    assert!(
        text.contains("Long(42)") && text.contains("a \\\\ \\\"b\\\""),
        "{text}"
    );
}
