//! What cannot be taken is refused early, with the right code, and in bounded memory.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rabtrace::model::Signal;
use reqwest::header::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{MAX_BODY, Receiver, client, output, request, run_python};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const HUNDRED_MEGABYTES: usize = 100_000_000;

/// Memory of this process now and at most so far, in bytes.
fn memory(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|text| text.starts_with(line)).unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

/// The status that grpcio gets for these bytes.
async fn call(receiver: &Receiver, method: &str, body: &[u8], encoding: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, body).unwrap();
    let mut command = run_python("call.py");
    let arguments = [Path::new(method), file.as_path(), Path::new(encoding)];
    command.arg(receiver.grpc.to_string()).args(arguments);
    output(command).await
}

/// Status, headers and body of the answer to a POST.
async fn post(receiver: &Receiver, content: &str, body: Vec<u8>) -> (u16, HeaderMap, Vec<u8>) {
    let (content_type, encoding) = content.split_once('+').unwrap_or((content, "identity"));
    let answer = client()
        .post(receiver.url("/v1/traces"))
        .header("content-type", content_type)
        .header("content-encoding", encoding)
        .body(body)
        .send()
        .await
        .unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

/// In pieces, so that the test itself never holds all of it.
fn gzip(pieces: impl Iterator<Item = [u8; 50_000]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    pieces.for_each(|piece| encoder.write_all(&piece).unwrap());
    encoder.finish().unwrap()
}

/// The beginning of a field that no request has, and that is a hundred megabytes long: whatever it
/// holds is skipped, so that only its length is wrong.
fn skipped_field() -> [u8; 6] {
    let mut field = vec![0xfa, 0x3f];
    prost::encoding::encode_varint(HUNDRED_MEGABYTES as u64, &mut field);
    field.try_into().unwrap()
}

/// Two bytes for each span: what decoding makes of it is a hundred times as large.
fn span_bomb() -> Vec<u8> {
    let wrap = |inner: &[u8], tag: u8| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.extend(inner);
        outer
    };
    wrap(&wrap(&[0x12, 0].repeat(MAX_BODY / 2 - 32), 0x12), 0x0a)
}

#[tokio::test]
async fn malformed_requests_are_invalid() {
    let receiver = Receiver::start(1).await;
    let whole = request(&[1, 2], 10);
    let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(128..))
        .take(500)
        .collect();
    let wrong_types = vec![0x08, 0x01];
    for body in [whole[..whole.len() - 1].to_vec(), random, wrong_types] {
        let (status, headers, answer) =
            post(&receiver, "application/x-protobuf", body.clone()).await;
        assert_eq!(status, 400);
        assert_eq!(headers["content-type"], "application/x-protobuf");
        assert_eq!(
            answer[..2],
            [0x08, 3],
            "google.rpc.Status, INVALID_ARGUMENT"
        );
        let status = call(&receiver, TRACES, &body, "identity").await;
        assert!(status.starts_with("INVALID_ARGUMENT "), "{status}");
    }
    let (status, _, answer) = post(
        &receiver,
        "application/json",
        b"{\"resourceSpans\":7}".to_vec(),
    )
    .await;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, answer["code"].as_i64()), (400, Some(3)));
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    assert_eq!(
        post(&receiver, "application/x-protobuf+gzip", whole.to_vec())
            .await
            .0,
        400
    );
    assert_eq!(post(&receiver, "text/plain", whole.to_vec()).await.0, 415);
    assert_eq!(
        post(&receiver, "application/x-protobuf+br", whole.to_vec())
            .await
            .0,
        415
    );
    let status = call(&receiver, LOGS, b"", "identity").await;
    assert!(status.starts_with("UNIMPLEMENTED "), "{status}");
    assert_eq!(receiver.metrics.spans_received.get(), 0);
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_in_bounded_memory() {
    let receiver = Receiver::start(1).await;
    let before = memory("VmRSS");
    let mut stream = tokio::net::TcpStream::connect(receiver.http).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {HUNDRED_MEGABYTES}\r\n\r\n"
    );
    let (mut from, mut to) = stream.split();
    let send = async {
        to.write_all(head.as_bytes()).await?;
        let chunk = [0_u8; 50_000];
        for _ in 0..HUNDRED_MEGABYTES / chunk.len() {
            to.write_all(&chunk).await?;
        }
        std::io::Result::Ok(())
    };
    let receive = async {
        let mut answer = vec![0; 12];
        from.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let (_, answer) = tokio::join!(send, receive);
    assert_eq!(answer, "HTTP/1.1 413");
    let peak = memory("VmHWM").saturating_sub(before);
    assert!(peak < 8 * MAX_BODY, "{peak} bytes more");
    assert!(receiver.metrics.encode().unwrap().contains("too_large"));
}

#[tokio::test]
async fn large_bodies_over_grpc_are_refused_for_good() {
    let receiver = Receiver::start(1).await;
    let mut body = vec![0; HUNDRED_MEGABYTES];
    body[..6].copy_from_slice(&skipped_field());
    for encoding in ["identity", "gzip"] {
        let status = call(&receiver, TRACES, &body, encoding).await;
        assert!(
            status.starts_with("RESOURCE_EXHAUSTED "),
            "{encoding}: {status}"
        );
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_refused() {
    let receiver = Receiver::start(1).await;
    let pieces = HUNDRED_MEGABYTES / 50_000;
    let zeros = gzip(std::iter::repeat_n([0; 50_000], pieces));
    let mut first = [0; 50_000];
    first[..6].copy_from_slice(&skipped_field());
    let bomb = gzip(std::iter::once(first).chain(std::iter::repeat_n([0; 50_000], pieces)));
    assert!(bomb.len() < 200_000);
    let before = memory("VmRSS");
    for content_type in ["application/x-protobuf+gzip", "application/json+gzip"] {
        let (status, _, _) = post(&receiver, content_type, bomb.clone()).await;
        assert_eq!(status, 413);
    }
    let (status, _, _) = post(&receiver, "application/x-protobuf+gzip", zeros).await;
    assert_eq!(status, 400, "no request begins like that");
    let peak = memory("VmHWM").saturating_sub(before);
    assert!(peak < 8 * MAX_BODY, "{peak} bytes more");
}

#[tokio::test]
async fn a_span_bomb_is_refused_without_decoding_it() {
    let receiver = Receiver::start(1).await;
    let bomb = span_bomb();
    let before = memory("VmRSS");
    let (status, _, _) = post(&receiver, "application/x-protobuf", bomb.clone()).await;
    assert_eq!(status, 400);
    let status = call(&receiver, TRACES, &bomb, "identity").await;
    assert!(
        status.starts_with("INVALID_ARGUMENT too many elements"),
        "{status}"
    );
    let peak = memory("VmHWM").saturating_sub(before);
    assert!(peak < 16 * MAX_BODY, "{peak} bytes more");
    // The measure: decoded, it would take half a gigabyte.
    let counts = rabtrace::receiver::scan(Signal::Traces, &bomb, u64::MAX).unwrap();
    assert!(counts.decoded_bytes > 500 << 20);
}

#[tokio::test]
async fn a_full_queue_is_refused_retryably_and_the_exporter_delivers_later() {
    for protocol in ["grpc", "http"] {
        let mut receiver = Receiver::start(1).await;
        let body = request(&[1], 10);
        let first = post(&receiver, "application/x-protobuf", body.to_vec()).await;
        let (status, headers, _) = post(&receiver, "application/x-protobuf", body.to_vec()).await;
        assert_eq!((first.0, status), (200, 503));
        assert_eq!(headers["retry-after"], "1");
        let status = call(&receiver, TRACES, &body, "identity").await;
        assert!(status.starts_with("UNAVAILABLE "), "{status}");

        let address = if protocol == "grpc" {
            receiver.grpc
        } else {
            receiver.http
        };
        let mut command = run_python("export.py");
        command
            .args([protocol, "10"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
        let refused = || {
            let text = receiver.metrics.encode().unwrap();
            text.contains("rabtrace_refused_total{reason=\"queue_full\"} 3")
        };
        let exporter = tokio::spawn(output(command));
        crate::support::eventually("a refusal", Duration::from_secs(30), || {
            let refused = refused().then_some(());
            async move { refused }
        })
        .await;
        let mut spans = 0;
        while let Ok(Some(batch)) =
            tokio::time::timeout(Duration::from_secs(30), receiver.batches.recv()).await
        {
            spans += batch.spans.len();
            if exporter.is_finished() || spans >= 12 {
                break;
            }
        }
        assert_eq!(
            spans,
            1 + 11,
            "{protocol}: the one that was there, and the exporter's"
        );
        // What comes after the spans is the exporter's metrics.
        let metrics = receiver.batches.recv().await.unwrap();
        assert_eq!(metrics.signal, Signal::Metrics);
        assert!(exporter.await.unwrap().contains("\"flushed\": true"));
    }
}
