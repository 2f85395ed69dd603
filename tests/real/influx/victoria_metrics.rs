//! VictoriaMetrics as a peer that takes InfluxDB 2's writes without being one, read back by its
//! `/api/v1/export`.

use std::process::Command;
use std::time::{Duration, SystemTime};

use rabtrace::influx::check;
use rabtrace::model::Point;
use serde_json::Value;

use super::{Running, client, config};
use crate::support::{Process, eventually, free_port};

#[tokio::test]
async fn points_arrive_and_none_is_injected() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!(
            "-storageDataPath={}",
            folder.path().join("data").display()
        ))
        .arg(format!("-httpListenAddr={address}"));
    let _process = Process::start(&mut command, &folder.path().join("log"));
    let url = format!("http://{address}");
    let get = |path: &str| {
        let address = format!("{url}{path}");
        async move {
            let response = client().get(address).send().await.ok()?;
            response.text().await.ok()
        }
    };
    eventually("it answers", Duration::from_secs(20), || get("/health")).await;

    let found = check(&config(&url), &client()).await.unwrap();
    let found = found.outcome.unwrap();
    assert!(found.contains("names no version"), "{found}");

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_nanos()).unwrap();
    let injection = format!("x\ninjected,t=1 v=1 {now}\ny");
    let point = Point::new("odd", now)
        .tag("queue", "a b,c=d\nö")
        .text("text", Some(injection.clone()))
        .float("depth", Some(2.5))
        .int("n", Some(7));
    let tagged = Point::new("tagged", now)
        .tag("t", injection)
        .int("n", Some(1));
    let sink = Running::start(config(&url));
    sink.send(vec![point, tagged]).await;
    sink.until_settled(2).await;
    assert_eq!(sink.stop().await, (2, 0));

    let readable = || async {
        get("/internal/force_flush").await?;
        let text = get("/api/v1/export?match[]=%7B__name__!=%22%22%7D").await?;
        let all = ["odd_depth", "odd_n", "tagged_n"];
        all.iter().all(|name| text.contains(name)).then_some(text)
    };
    let text = eventually("the point", Duration::from_secs(10), readable).await;
    let mut series: Vec<(String, Value, Value)> = text
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let name = row["metric"]["__name__"].as_str().unwrap().to_owned();
            (name, row["metric"]["queue"].clone(), row["values"].clone())
        })
        .collect();
    series.sort_by(|one, other| one.0.cmp(&other.0));
    let names: Vec<_> = series.iter().map(|(name, _, _)| name.as_str()).collect();
    assert!(
        !names.iter().any(|name| name.starts_with("injected")),
        "{text}"
    );
    let depth = series
        .iter()
        .find(|(name, _, _)| name == "odd_depth")
        .unwrap();
    assert_eq!(
        (&depth.1, &depth.2),
        (&"a b,c=d ö".into(), &serde_json::json!([2.5]))
    );
    assert!(
        names.contains(&"odd_n") && names.contains(&"tagged_n"),
        "{text}"
    );
}
