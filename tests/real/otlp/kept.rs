//! What the agent acknowledged while its upstream was away arrives, though the agent is killed; a
//! disk without room is told to whoever sends.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use prost::Message;
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::Value;

use super::{Receiver, client, request};
use crate::durable::{Agent, launch};
use crate::support::{eventually, free_port, rabtrace};

const PATIENCE: Duration = Duration::from_secs(60);

async fn agent(folder: &Path, upstream: &str) -> Agent {
    let endpoint = format!("forward.endpoint={upstream}");
    launch(rabtrace(), folder, &[&endpoint]).await
}

/// The status of the answer to a request, none if there is none.
async fn post(client: &reqwest::Client, agent: &Agent, body: Bytes) -> Option<u16> {
    let request = client
        .post(format!("{}/v1/traces", agent.otlp))
        .header("content-type", "application/x-protobuf");
    let answer = request.body(body).send().await.ok()?;
    Some(answer.status().as_u16())
}

/// Counts the ids of spans that come in, until `enough` says so.
async fn arrive(
    receiver: &mut Receiver,
    arrived: &mut BTreeMap<u64, u32>,
    enough: impl Fn(&BTreeMap<u64, u32>) -> bool,
) {
    while !enough(arrived) {
        let batch = tokio::time::timeout(PATIENCE, receiver.batches.recv()).await;
        let batch = batch.unwrap_or_else(|_| panic!("{} arrived", arrived.len()));
        for span in batch.unwrap().spans {
            let id = u64::from_be_bytes(*span.span_id.as_bytes());
            *arrived.entry(id).or_default() += 1;
        }
    }
}

#[tokio::test]
async fn a_killed_agent_delivers_every_request_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let upstream = format!("http://{address}");
    let first = agent(folder.path(), &upstream).await;
    let client = client();
    // A sender that is told to come again does so.
    let send = async |id: u64| {
        eventually("the request is taken", PATIENCE, || async {
            let status = post(&client, &first, request(&[id], 100)).await;
            assert!(
                matches!(status, Some(200 | 503)),
                "request {id}: {status:?}"
            );
            status.filter(|status| *status == 200)
        })
        .await
    };
    let sending = futures_util::stream::iter(1..=2000).map(send);
    let taken: Vec<u16> = sending.buffer_unordered(16).collect().await;
    assert_eq!(taken.len(), 2000);
    let page = client.get(format!("{}/metrics", first.api)).send();
    let page = page.await.unwrap().text().await.unwrap();
    let mut refused = page
        .lines()
        .filter(|line| line.contains("refused_total{") && !line.ends_with(" 0"));
    assert!(
        refused.all(|line| line.contains("queue_full")),
        "what the spool has is not refused: {page}"
    );
    drop(first);

    let second = agent(folder.path(), &upstream).await;
    let mut receiver = Receiver::start_on(address, 64).await;
    let mut arrived = BTreeMap::new();
    arrive(&mut receiver, &mut arrived, |ids| ids.len() >= 300).await;
    drop(second);
    // What had arrived when it was killed has no number: all of it is looked at in the end.
    let third = agent(folder.path(), &upstream).await;
    arrive(&mut receiver, &mut arrived, |ids| ids.len() >= 2000).await;
    let api = format!("{}/status", third.api);
    eventually("nothing is left in the spool", PATIENCE, || async {
        let status: Value = client.get(&api).send().await.ok()?.json().await.ok()?;
        (status["spools"]["forward"]["records"] == 0).then_some(())
    })
    .await;
    while let Ok(batch) = receiver.batches.try_recv() {
        for span in batch.spans {
            let id = u64::from_be_bytes(*span.span_id.as_bytes());
            *arrived.entry(id).or_default() += 1;
        }
    }
    let sent: Vec<u64> = (1..=2000).collect();
    let ids: Vec<u64> = arrived.keys().copied().collect();
    assert_eq!(ids, sent);
    let twice: u32 = arrived.values().map(|times| times - 1).sum();
    assert!(twice <= 1, "{twice} requests came twice by one kill");
}

/// A request of a span and half a mebibyte that cannot be made smaller.
fn large(id: u64) -> Bytes {
    let mut decoded = ExportTraceServiceRequest::decode(request(&[id], 4)).unwrap();
    let mut state = id;
    let name = (0..512 << 10).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(32 + u8::try_from((state >> 33) % 95).unwrap())
    });
    decoded.resource_spans[0].scope_spans[0].spans[0].events = vec![Event {
        name: name.collect(),
        ..Event::default()
    }];
    decoded.encode_to_vec().into()
}

/// The agent, which lives on where a file may not become larger.
fn limited() -> Command {
    let agent = rabtrace();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.arg(agent.get_program());
    for (name, _) in agent.get_envs().filter(|(_, value)| value.is_none()) {
        command.env_remove(name);
    }
    command
}

async fn spool_health(client: &reqwest::Client, agent: &Agent) -> Option<Value> {
    let url = format!("{}/health", agent.api);
    let report: Value = client.get(url).send().await.ok()?.json().await.ok()?;
    Some(report["components"]["spool"].clone())
}

#[tokio::test]
async fn a_disk_without_room_refuses_the_sender_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let endpoint = format!("forward.endpoint=http://{address}");
    // The store would be the first to have no room.
    let sets = [endpoint.as_str(), "store.spans=false"];
    let agent = launch(limited(), folder.path(), &sets).await;
    let limit = |bytes: Option<u64>| {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(Some(agent.process.pid()), Resource::Fsize, limit).unwrap();
    };
    limit(Some(4 << 20));
    let client = client();
    let mut taken = 0;
    let refused = loop {
        match post(&client, &agent, large(taken + 1)).await {
            Some(200) if taken < 20 => taken += 1,
            status => break status,
        }
    };
    assert_eq!(refused, Some(503));
    assert!((4..=10).contains(&taken), "{taken} requests in 4 MiB");
    eventually("health tells it", PATIENCE, || async {
        let spool = spool_health(&client, &agent).await?;
        let message = spool["message"].as_str()?;
        (spool["status"] == "degraded" && message.contains("full")).then_some(())
    })
    .await;

    limit(None);
    taken += 1;
    assert_eq!(post(&client, &agent, large(taken)).await, Some(200));
    eventually("health tells that too", PATIENCE, || async {
        let spool = spool_health(&client, &agent).await?;
        (spool["status"] == "healthy").then_some(())
    })
    .await;
    let mut receiver = Receiver::start_on(address, 64).await;
    let mut arrived = BTreeMap::new();
    let all = usize::try_from(taken).unwrap();
    arrive(&mut receiver, &mut arrived, |ids| ids.len() >= all).await;
    let ids: Vec<u64> = arrived.keys().copied().collect();
    assert_eq!(ids, (1..=taken).collect::<Vec<u64>>());
}
