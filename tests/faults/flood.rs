//! Requests that mean no harm and are large, from 64 clients at once: more than fits into memory.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::json;

use crate::frames::{Connection, code, frame};
use crate::harness::{Agent, Length, Setup, report};
use crate::hostile::{CLIENTS, MEMORY, gzip};

/// A request of 4 MB that takes more than twice that when decoded.
fn large() -> Vec<u8> {
    let attribute = KeyValue {
        key: "note".to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue("n".repeat(2_000))),
        }),
        ..KeyValue::default()
    };
    let span = |id: u64| Span {
        trace_id: vec![1; 16],
        span_id: id.to_be_bytes().to_vec(),
        name: "large".to_owned(),
        attributes: vec![attribute.clone()],
        ..Span::default()
    };
    let scope = ScopeSpans {
        spans: (1..=2_000).map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = vec![ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Requests that were taken, and that are to come again.
struct Flood {
    taken: u64,
    refused: u64,
}

/// Half of the clients over HTTP, half over gRPC with gzip; each sends `rounds` of them.
async fn flood(agent: &Agent, rounds: u64) -> Flood {
    let (plain, packed) = (bytes::Bytes::from(large()), gzip(&large()));
    let url = format!("{}/v1/traces", agent.otlp);
    let http = rabtrace::app::direct_http_client().unwrap();
    let client = async |number: u64| {
        let mut taken = 0;
        let address = agent.grpc["http://".len()..].parse().unwrap();
        let grpc = Connection::open(address).await;
        for _ in 0..rounds {
            let is_taken = if number.is_multiple_of(2) {
                let post = http
                    .post(&url)
                    .header("content-type", "application/x-protobuf");
                let answer = post.body(plain.clone()).send().await.unwrap();
                let status = answer.status().as_u16();
                assert!(status == 200 || status == 503, "{status}");
                status == 200
            } else {
                let frame = frame(true, packed.len(), &packed);
                let answer = grpc.begin("gzip", frame, true).await.end().await.unwrap();
                let code = code(&answer);
                assert!(code == 0 || code == 14, "{answer:?}");
                code == 0
            };
            taken += u64::from(is_taken);
        }
        taken
    };
    let taken = futures_util::future::join_all((0..CLIENTS).map(client)).await;
    let taken = taken.into_iter().sum();
    Flood {
        taken,
        refused: CLIENTS * rounds - taken,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_memory_is_to_come_again() {
    let length = Length::chosen();
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Setup::new(folder.path()).start().await;
    let flood = flood(&agent, length.of(2, 20, 100)).await;
    let peak = agent.memory().1;
    let figures = json!({
        "taken": flood.taken,
        "refused": flood.refused,
        "memory_peak_mib": peak >> 20,
    });
    report("flood", length, &figures);
    assert!(
        agent.runs() && flood.taken > 0 && flood.refused > 0,
        "{figures}"
    );
    assert!(peak <= MEMORY, "{figures}");
    agent.until_nothing_is_in_flight().await;
    let received = flood.taken * 2_000;
    crate::harness::eventually(
        "what was taken is stored",
        Duration::from_secs(120),
        || async {
            let metrics = agent.metrics().await;
            let stored = metrics.get("rabtrace_spans_stored_total").copied();
            (stored.map(crate::harness::whole) == Some(received)).then_some(())
        },
    )
    .await;
}

/// The control: with a budget that is never reached the same requests take the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_budget_the_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(folder.path()).set("receiver.max_in_flight_bytes", "64GiB");
    let agent = setup.start().await;
    flood(&agent, 1).await;
    let peak = agent.memory().1;
    println!("{} MiB", peak >> 20);
    assert!(peak > MEMORY, "{} MiB", peak >> 20);
}
