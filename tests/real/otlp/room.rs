//! What requests hold from their first byte on is bounded in all, and free again whatever becomes
//! of them.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rabtrace::model::Held;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::{Connection, code, frame};
use super::{MAX_BODY, Receiver, client, request};
use crate::support::eventually;

const PROTOBUF: &str = "application/x-protobuf";
const WITHIN: Duration = Duration::from_secs(20);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A request that is skipped, whatever its `number` bytes are.
fn padding(number: usize) -> Vec<u8> {
    let mut field = vec![0xfa, 0x3f];
    prost::encoding::encode_varint(number as u64, &mut field);
    field.resize(field.len() + number, 7);
    field
}

/// Waits until so much is held.
async fn until_held(receiver: &Receiver, what: &str, is_right: impl Fn(u64) -> bool) {
    eventually(what, WITHIN, || async {
        is_right(receiver.budget.held_bytes()).then_some(())
    })
    .await;
}

async fn until_free(receiver: &Receiver) {
    until_held(receiver, "nothing is held any more", |held| held == 0).await;
}

/// Takes room until only a sixteenth is free, as two large requests would.
fn take_room(receiver: &Receiver) -> [Held; 2] {
    [0; 2].map(|_| {
        let free = receiver.budget.max_bytes() - receiver.budget.held_bytes();
        let mut others = receiver.budget.hold();
        others.grow_to(free / 4 * 3).unwrap();
        others
    })
}

/// A connection on which `head` and `body` were sent.
async fn begin(address: SocketAddr, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: {PROTOBUF}\r\n{head}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

/// The first line of the answer.
async fn status(stream: &mut TcpStream) -> String {
    let mut line = vec![0; 12];
    let read = tokio::time::timeout(WITHIN, stream.read_exact(&mut line)).await;
    read.unwrap().unwrap();
    String::from_utf8(line).unwrap()
}

fn has_line(receiver: &Receiver, line: &str) -> bool {
    receiver
        .metrics
        .encode()
        .unwrap()
        .lines()
        .any(|found| found == line)
}

#[tokio::test]
async fn a_batch_holds_room_until_nobody_has_it() {
    let mut receiver = Receiver::start(4).await;
    let body = request(&[1, 2], 1_000);
    let answer = client()
        .post(receiver.url("/v1/traces"))
        .header("content-type", PROTOBUF)
        .body(body.clone())
        .send();
    assert_eq!(answer.await.unwrap().status(), 200);
    let connection = Connection::open(receiver.grpc).await;
    let packed = gzip(&body);
    let call = connection.begin("gzip", frame(true, packed.len(), &packed), true);
    assert_eq!(code(&call.await.end().await.unwrap()), 0);
    let held = receiver.budget.held_bytes();
    assert!(
        held > 2 * body.len() as u64,
        "{held}: the spans take room as well"
    );
    assert!(has_line(
        &receiver,
        &format!("rabtrace_in_flight_bytes {held}")
    ));
    let max = 8 * MAX_BODY;
    assert!(has_line(
        &receiver,
        &format!("rabtrace_in_flight_max_bytes {max}")
    ));
    let first = receiver.batches.recv().await.unwrap();
    assert_eq!(receiver.budget.held_bytes(), held);
    drop(first);
    assert_eq!(receiver.budget.held_bytes(), held / 2, "they are alike");
    drop(receiver.batches.recv().await);
    assert_eq!(receiver.budget.held_bytes(), 0);
}

#[tokio::test]
async fn what_was_begun_and_broken_off_holds_nothing() {
    let receiver = Receiver::start(4).await;
    let half = padding(MAX_BODY)[..MAX_BODY / 2].to_vec();
    let stream = begin(receiver.http, "content-length: 4000000\r\n", &half).await;
    let connection = Connection::open(receiver.grpc).await;
    let mut call = connection
        .begin("identity", frame(false, 4_000_000, &half), false)
        .await;
    let both = half.len() as u64 * 2;
    until_held(&receiver, "both halves are there", |held| held >= both).await;
    call.sending.send_reset(h2::Reason::CANCEL);
    drop(stream);
    until_free(&receiver).await;
}

#[tokio::test]
async fn a_stream_that_never_ends_is_answered_and_holds_nothing() {
    let mut receiver = Receiver::start(4).await;
    let connection = Connection::open(receiver.grpc).await;
    let packed = gzip(&padding(MAX_BODY - 64));
    let begun = Instant::now();
    let call = connection
        .begin("gzip", frame(true, packed.len(), &packed), false)
        .await;
    // What comes after the message is not looked at.
    let answer = tokio::time::timeout(WITHIN, call.end()).await;
    assert_eq!(code(&answer.unwrap().unwrap()), 0);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    until_free(&receiver).await;
    let body = request(&[1], 10);
    let call = connection.begin("identity", frame(false, body.len(), &body), true);
    assert_eq!(code(&call.await.end().await.unwrap()), 0);
    assert!(receiver.batches.recv().await.is_some());
}

#[tokio::test]
async fn frames_that_are_wrong_are_refused_for_good() {
    let receiver = Receiver::start(1).await;
    let connection = Connection::open(receiver.grpc).await;
    let (body, packed) = (request(&[1], 10), gzip(&request(&[1], 10)));
    let strange = [&[7_u8][..], &frame(false, body.len(), &body)[1..]].concat();
    for (encoding, frame, expected) in [
        ("identity", frame(true, packed.len(), &packed), 3),
        ("identity", strange.into(), 3),
        ("identity", frame(false, body.len() + 1, &body), 3),
        ("identity", Bytes::from_static(b"\0\0"), 3),
        ("identity", Bytes::new(), 3),
        ("gzip", frame(true, 3, &[1, 2, 3]), 3),
        ("gzip", frame(true, packed.len(), &packed).slice(..20), 3),
        ("identity", frame(false, MAX_BODY + 1, &body), 8),
        ("br", frame(true, packed.len(), &packed), 12),
    ] {
        let call = connection.begin(encoding, frame.clone(), true).await;
        let headers = call.end().await.unwrap();
        assert_eq!(code(&headers), expected, "{encoding} {frame:?} {headers:?}");
        if expected == 12 {
            assert_eq!(headers["grpc-accept-encoding"], "gzip,identity");
        }
    }
    until_free(&receiver).await;
    let call = connection.begin("gzip", frame(false, body.len(), &body), true);
    let headers = call.await.end().await.unwrap();
    assert_eq!(code(&headers), 0, "gzip may leave a message as it is");
}

#[tokio::test]
async fn who_finds_no_room_is_told_to_come_again_and_small_requests_are_taken() {
    let mut receiver = Receiver::start(4).await;
    let others = take_room(&receiver);
    let large = padding(2_000_000);
    let connection = Connection::open(receiver.grpc).await;
    let packed = gzip(&large);
    for (encoding, frame) in [
        ("identity", frame(false, large.len(), &large)),
        ("gzip", frame(true, packed.len(), &packed)),
    ] {
        let call = connection.begin(encoding, frame, true).await;
        let headers = call.end().await.unwrap();
        assert_eq!(code(&headers), 14, "{headers:?}");
        assert!(
            headers.contains_key("grpc-status-details-bin"),
            "{headers:?}"
        );
    }
    let post = |body: Vec<u8>, encoding: &'static str| {
        let post = client().post(receiver.url("/v1/traces"));
        let post = post.header("content-type", PROTOBUF);
        post.header("content-encoding", encoding).body(body).send()
    };
    for (body, encoding) in [(large.clone(), "identity"), (packed, "gzip")] {
        let answer = post(body, encoding).await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    assert!(has_line(
        &receiver,
        "rabtrace_refused_total{reason=\"no_room\"} 4"
    ));
    let small = request(&[1, 2, 3], 100);
    let taken = post(small.to_vec(), "identity").await.unwrap();
    assert_eq!(taken.status(), 200);
    let packed = gzip(&small);
    let call = connection.begin("gzip", frame(true, packed.len(), &packed), true);
    assert_eq!(code(&call.await.end().await.unwrap()), 0);
    drop(others);
    assert_eq!(post(large, "identity").await.unwrap().status(), 200);
    while receiver.batches.try_recv().is_ok() {}
    until_free(&receiver).await;
}

#[tokio::test]
async fn a_request_that_never_finds_room_is_refused_for_good_and_names_the_key() {
    let receiver = Receiver::start(1).await;
    // 60,000 spans of two bytes: 34 MB when decoded, of 25 that one request may have.
    let scope = [0x12, 0].repeat(60_000);
    let wrap = |tag: u8, inner: &[u8]| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.extend(inner);
        outer
    };
    let body = wrap(0x0a, &wrap(0x12, &scope));
    let answer = client()
        .post(receiver.url("/v1/traces"))
        .header("content-type", PROTOBUF)
        .body(body.clone())
        .send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 400);
    let text = answer.bytes().await.unwrap();
    assert!(
        String::from_utf8_lossy(&text).contains("receiver.max_in_flight_bytes"),
        "{text:?}"
    );
    let connection = Connection::open(receiver.grpc).await;
    let call = connection.begin("identity", frame(false, body.len(), &body), true);
    let headers = call.await.end().await.unwrap();
    assert_eq!(code(&headers), 3, "{headers:?}");
    assert!(!headers.contains_key("grpc-status-details-bin"));
    until_free(&receiver).await;
}

#[tokio::test]
async fn who_takes_long_gives_the_room_back_when_others_need_it() {
    let receiver = Receiver::start(1).await;
    let part = &padding(MAX_BODY)[..MAX_BODY / 4];
    let mut slow = begin(receiver.http, "content-length: 4000000\r\n", part).await;
    let connection = Connection::open(receiver.grpc).await;
    let call = connection
        .begin("identity", frame(false, 4_000_000, part), false)
        .await;
    let both = part.len() as u64 * 2;
    until_held(&receiver, "both are there", |held| held >= both).await;
    let held = receiver.budget.held_bytes();
    // They stay as long as there is enough for all.
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    assert_eq!(receiver.budget.held_bytes(), held);
    let others = take_room(&receiver);
    let headers = tokio::time::timeout(WITHIN, call.end()).await.unwrap();
    assert_eq!(code(&headers.unwrap()), 14);
    assert_eq!(status(&mut slow).await, "HTTP/1.1 503");
    drop(others);
    until_free(&receiver).await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_comes() {
    let receiver = Receiver::start(1).await;
    let mut told = begin(receiver.http, "content-length: 100000000\r\n", b"").await;
    assert_eq!(status(&mut told).await, "HTTP/1.1 413");
    let waits = "expect: 100-continue\r\ncontent-length: 100000000\r\n";
    let mut waits = begin(receiver.http, waits, b"").await;
    assert_eq!(
        status(&mut waits).await,
        "HTTP/1.1 413",
        "and no 100 before it"
    );
    let connection = Connection::open(receiver.grpc).await;
    let call = connection.begin("identity", frame(false, 100_000_000, b""), false);
    assert_eq!(code(&call.await.end().await.unwrap()), 8);
    // What is told to be short and is not, and what tells nothing.
    let zeros = "content-length: 4000000\r\n";
    let mut zeros = begin(receiver.http, zeros, &vec![0; 1 << 18]).await;
    assert_eq!(
        status(&mut zeros).await,
        "HTTP/1.1 400",
        "half of it is to come"
    );
    until_free(&receiver).await;
}

#[tokio::test]
async fn a_full_queue_refuses_before_a_body_is_read() {
    let receiver = Receiver::start(1).await;
    let body = request(&[1], 10);
    let post = client().post(receiver.url("/v1/traces"));
    let post = post.header("content-type", PROTOBUF).body(body).send();
    assert_eq!(post.await.unwrap().status(), 200);
    let mut stream = begin(receiver.http, "content-length: 4000000\r\n", b"").await;
    assert_eq!(status(&mut stream).await, "HTTP/1.1 503");
    let connection = Connection::open(receiver.grpc).await;
    let call = connection.begin("identity", Bytes::new(), false).await;
    assert_eq!(code(&call.end().await.unwrap()), 14);
}

/// Sends six of `attacks`, one after the other.
async fn attack(attacks: [Bytes; 3], number: usize, (http, grpc): (String, SocketAddr)) {
    let client = client();
    let connection = Connection::open(grpc).await;
    for body in attacks.iter().cycle().skip(number).take(6) {
        if number.is_multiple_of(2) {
            let post = client.post(&http).header("content-type", PROTOBUF);
            let post = post.header("content-encoding", "gzip").body(body.clone());
            post.send().await.unwrap();
        } else {
            let call = connection.begin("gzip", frame(true, body.len(), body), true);
            call.await.end().await.unwrap();
        }
    }
}

/// 64 clients with what would become gigabytes, over both protocols, and one that means well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_from_many_clients_stay_within_the_budget_and_others_are_served() {
    let mut receiver = Receiver::start(64).await;
    let zeros = gzip(&vec![0; 64 << 20]);
    let skipped = gzip(&padding(64 << 20));
    let names = gzip(&request(&[7; 3_000], 1_000));
    let attacks = [zeros, skipped, names].map(Bytes::from);
    let (http, grpc) = (receiver.url("/v1/traces"), receiver.grpc);
    let attackers =
        (0..64).map(|number| tokio::spawn(attack(attacks.clone(), number, (http.clone(), grpc))));
    let attackers: Vec<_> = attackers.collect();
    let budget = receiver.budget.clone();
    let (mut most, mut served) = (0, 0);
    let client = client();
    let honest = async {
        while attackers.iter().any(|attacker| !attacker.is_finished()) {
            let body = request(&[1, 2, 3], 100);
            let post = client
                .post(&http)
                .header("content-type", PROTOBUF)
                .body(body);
            assert_eq!(post.send().await.unwrap().status(), 200, "after {served}");
            served += 1;
        }
    };
    let drain = async {
        loop {
            most = most.max(budget.held_bytes());
            receiver.batches.recv().await;
        }
    };
    tokio::select! {
        () = honest => {}
        () = drain => {}
    }
    for attacker in attackers {
        attacker.await.unwrap();
    }
    assert!(
        served > 0 && most > 0 && most <= budget.max_bytes(),
        "{served} {most}"
    );
    while receiver.batches.try_recv().is_ok() {}
    until_free(&receiver).await;
}
