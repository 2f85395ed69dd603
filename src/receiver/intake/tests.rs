use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::sync::mpsc;

use super::{Budget, Encoding, Intake, Refusal};
use crate::metrics::Metrics;
use crate::model::{Batch, Signal};
use crate::receiver::scan;

fn intake(places: usize) -> (Intake, mpsc::Receiver<Batch>, Metrics) {
    let metrics = Metrics::new().unwrap();
    let (sender, receiver) = mpsc::channel(places);
    (
        Intake::new(sender, 1 << 20, metrics.clone()),
        receiver,
        metrics,
    )
}

fn span(id: u8) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![id; 8],
        ..Span::default()
    }
}

fn body(spans: Vec<Span>) -> bytes::Bytes {
    let scope = ScopeSpans {
        spans,
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let resource_spans = vec![resource];
    ExportTraceServiceRequest { resource_spans }
        .encode_to_vec()
        .into()
}

async fn traces(intake: &Intake, body: bytes::Bytes) -> Result<u64, Refusal> {
    let accepted = intake
        .accept(Signal::Traces, Encoding::Protobuf, body)
        .await?;
    Ok(accepted.rejected)
}

#[tokio::test]
async fn a_request_is_handed_over_unchanged_and_counted() {
    let (intake, mut batches, metrics) = intake(1);
    let body = body(vec![span(1), span(2)]);
    assert_eq!(traces(&intake, body.clone()).await, Ok(0));
    let batch = batches.try_recv().unwrap();
    assert_eq!((batch.payload, batch.spans.len()), (body, 2));
    assert_eq!(metrics.spans_received.get(), 2);
}

#[tokio::test]
async fn a_full_or_closed_queue_refuses_retryably_and_nothing_is_counted_as_received() {
    let (intake, mut batches, metrics) = intake(1);
    assert_eq!(traces(&intake, body(vec![span(1)])).await, Ok(0));
    let refusal = traces(&intake, body(vec![span(2)])).await;
    assert_eq!(refusal, Err(Refusal::QueueFull));
    assert!(batches.try_recv().is_ok());
    assert_eq!(traces(&intake, body(vec![span(2)])).await, Ok(0));
    drop(batches);
    let refusal = traces(&intake, body(vec![span(3)])).await;
    assert_eq!(refusal, Err(Refusal::Stopping));
    assert_eq!(metrics.spans_received.get(), 2);
    let text = metrics.encode().unwrap();
    for line in [
        "rabtrace_refused_total{reason=\"queue_full\"} 1",
        "rabtrace_refused_total{reason=\"stopping\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn the_payload_goes_on_without_the_rejected_spans() {
    let (intake, mut batches, metrics) = intake(1);
    assert_eq!(
        traces(&intake, body(vec![span(1), span(0), span(2)])).await,
        Ok(1)
    );
    let batch = batches.try_recv().unwrap();
    assert_eq!(batch.payload, body(vec![span(1), span(2)]));
    assert_eq!(metrics.spans_received.get(), 2);
    assert_eq!(traces(&intake, body(vec![span(0); 3])).await, Ok(3));
    assert!(batches.try_recv().is_err(), "nothing is left of it");
    let text = metrics.encode().unwrap();
    let line = "rabtrace_dropped_total{reason=\"invalid_id\",stage=\"receiver\"} 4";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn what_a_request_becomes_finds_room_before_it_is_decoded() {
    let (intake, mut batches, metrics) = intake(9);
    let body = body((1..=100).map(span).collect());
    let decoded = scan(Signal::Traces, &body, u64::MAX).unwrap();
    let needed = decoded.decoded_bytes + body.len() as u64;
    let spans = vec!["{}"; 60].join(",");
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    for (max, expected) in [(needed, false), (needed * 4 / 3 + 4, true)] {
        let budget = Budget::new(max);
        let intake = intake.clone().with_budget(budget.clone());
        let taken = traces(&intake, body.clone()).await;
        assert_eq!(taken.is_ok(), expected, "{max}");
        let too_many = matches!(taken, Err(Refusal::TooManyElements(_)));
        assert_eq!(too_many, !expected, "no room will ever be enough");
        if !expected {
            assert_eq!(budget.held_bytes(), 0);
            continue;
        }
        assert_eq!(budget.held_bytes(), needed);
        assert_eq!(traces(&intake, body.clone()).await, Err(Refusal::NoRoom));
        let refused = intake.accept(Signal::Traces, Encoding::Json, json.clone().into());
        assert_eq!(refused.await.unwrap_err(), Refusal::NoRoom);
        assert_eq!(
            budget.held_bytes(),
            needed,
            "what was refused holds nothing"
        );
        drop(batches.recv().await);
        assert_eq!(budget.held_bytes(), 0);
        assert_eq!(traces(&intake, body.clone()).await, Ok(0));
    }
    assert_eq!(metrics.spans_received.get(), 200);
}

/// Read at once in a room that is guessed, or scanned first because there is none for the guess or
/// it was too small, or left to `prost`: what is held in the end is the same, and what comes out.
#[tokio::test]
async fn however_a_request_is_read_it_holds_what_the_scan_counts() {
    let (intake, mut batches, _) = intake(9);
    let named = |id| Span {
        name: "n".repeat(300),
        ..span(id)
    };
    let named = body((1..=200).map(named).collect());
    let bare = body((1..=200).map(span).collect());
    let resource_behind_spans = [0x0a, 4, 0x12, 0, 0x0a, 0];
    let left = [named.as_ref(), &resource_behind_spans].concat();
    for (name, body, room) in [
        ("guessed", named.clone(), 1 << 30),
        (
            "no room for the guess",
            named.clone(),
            named.len() as u64 * 8,
        ),
        ("more than the guess", bare, 1 << 30),
        ("left to prost", left.into(), 1 << 30),
    ] {
        let counts = scan(Signal::Traces, &body, u64::MAX).unwrap();
        let budget = Budget::new(room);
        let intake = intake.clone().with_budget(budget.clone());
        assert_eq!(traces(&intake, body.clone()).await, Ok(0), "{name}");
        let needed = counts.decoded_bytes + body.len() as u64;
        assert_eq!(budget.held_bytes(), needed, "{name}");
        let batch = batches.recv().await.unwrap();
        assert_eq!(batch.spans.len() as u64, counts.items, "{name}");
    }
}

#[tokio::test]
async fn an_empty_request_is_taken_and_goes_nowhere() {
    let (intake, mut batches, _) = intake(1);
    for signal in [Signal::Traces, Signal::Metrics] {
        let empty = bytes::Bytes::new();
        assert!(
            intake
                .accept(signal, Encoding::Protobuf, empty)
                .await
                .is_ok()
        );
        let empty = bytes::Bytes::from_static(b"{}");
        assert!(intake.accept(signal, Encoding::Json, empty).await.is_ok());
    }
    assert!(batches.try_recv().is_err());
}

#[tokio::test]
async fn what_is_not_otlp_is_malformed() {
    let (intake, mut batches, _) = intake(1);
    for bytes in [&b"\xff"[..], b"not protobuf", b"\x0a\x05abc", b"\x08\x01"] {
        let body = bytes::Bytes::copy_from_slice(bytes);
        let refusal = traces(&intake, body.clone()).await;
        assert!(matches!(refusal, Err(Refusal::Malformed(_))), "{bytes:?}");
        for signal in [Signal::Traces, Signal::Metrics] {
            let refusal = intake.accept(signal, Encoding::Json, body.clone()).await;
            assert!(matches!(refusal, Err(Refusal::Malformed(_))), "{bytes:?}");
        }
    }
    assert!(batches.try_recv().is_err());
}

/// A request of one path record, one that cannot be read, and one number.
fn path_metrics() -> bytes::Bytes {
    let body = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"rabtrace.path.messages","sum":{"aggregationTemporality":1,"dataPoints":[
            {"asInt":"3","timeUnixNano":"9","attributes":[
                {"key":"rabtrace.path.hash","value":{"stringValue":"0a"}},
                {"key":"rabtrace.direction","value":{"stringValue":"out"}},
                {"key":"messaging.destination.name","value":{"stringValue":"q"}}]},
            {"asInt":"3"}]}},
        {"name":"requests","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#;
    bytes::Bytes::from_static(body.as_bytes())
}

#[tokio::test]
async fn path_records_are_acknowledged_when_they_are_stored() {
    let (intake, mut batches, metrics) = intake(2);
    let store = async {
        let batch = batches.recv().await.unwrap();
        assert_eq!((batch.paths.len(), batch.metrics.len()), (1, 1));
        batch.receipt.unwrap().confirm();
    };
    let accept = intake.accept(Signal::Metrics, Encoding::Json, path_metrics());
    let (accepted, ()) = tokio::join!(accept, store);
    assert!(accepted.is_ok());
    let text = metrics.encode().unwrap();
    let line = "rabtrace_dropped_total{reason=\"path_record\",stage=\"receiver\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn path_records_that_are_lost_or_late_are_to_be_sent_again() {
    let (mut intake, mut batches, _) = intake(2);
    let lose = async { drop(batches.recv().await.unwrap()) };
    let accept = intake.accept(Signal::Metrics, Encoding::Json, path_metrics());
    let (lost, ()) = tokio::join!(accept, lose);
    assert_eq!(lost, Err(Refusal::NotStored));
    intake.store_timeout = std::time::Duration::from_millis(20);
    let accept = intake.accept(Signal::Metrics, Encoding::Json, path_metrics());
    assert_eq!(accept.await, Err(Refusal::NotStored), "nobody stores it");
    assert!(
        batches.try_recv().is_ok(),
        "it was handed over all the same"
    );
}

#[tokio::test]
async fn a_request_that_comes_again_waits_for_the_first_and_counts_once() {
    let (intake, mut batches, metrics) = intake(4);
    let mut intake = intake.with_stored_spans();
    intake.store_timeout = std::time::Duration::from_millis(20);
    let whole = body(vec![span(1), span(2)]);
    let late = traces(&intake, whole.clone()).await;
    assert_eq!(late, Err(Refusal::NotStored));
    // The sender hangs up the second time.
    let hung_up = traces(&intake, whole.clone());
    assert!(
        tokio::time::timeout(std::time::Duration::ZERO, hung_up)
            .await
            .is_err()
    );
    let first = batches.try_recv().unwrap();
    let store = async { first.receipt.unwrap().confirm() };
    let (again, ()) = tokio::join!(traces(&intake, whole.clone()), store);
    assert_eq!(again, Ok(0));
    assert!(batches.try_recv().is_err(), "the flow has it already");
    assert_eq!(metrics.spans_received.get(), 2);
    // What is known of is sent on purpose.
    assert_eq!(traces(&intake, whole).await, Err(Refusal::NotStored));
    assert!(batches.try_recv().is_ok());
}

#[tokio::test]
async fn what_was_lost_after_its_sender_gave_up_is_taken_anew() {
    let (intake, mut batches, _) = intake(4);
    let mut intake = intake.with_stored_spans();
    intake.store_timeout = std::time::Duration::from_millis(20);
    let whole = body(vec![span(1)]);
    assert_eq!(
        traces(&intake, whole.clone()).await,
        Err(Refusal::NotStored)
    );
    drop(batches.try_recv().unwrap());
    assert_eq!(
        traces(&intake, whole.clone()).await,
        Err(Refusal::NotStored)
    );
    assert!(batches.try_recv().is_err());
    let accept = traces(&intake, whole);
    let store = async { batches.recv().await.unwrap().receipt.unwrap().confirm() };
    assert_eq!(tokio::join!(accept, store).0, Ok(0));
}
