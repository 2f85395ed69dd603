//! Connections that say nothing, or say it slowly: others do not wait for them.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::frames::{Connection, code, frame};
use crate::harness::{Agent, Length, Load, Setup, report};

/// What a slow sender says of a request, a byte at a time.
const SLOW: &[u8] = b"POST /v1/traces HTTP/1.1\r\nhost: agent\r\ncontent-length: 100\r\n\r\n";
/// And over HTTP/2.
const SLOW_GRPC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Time between two bytes of one of them.
const PERIOD: Duration = Duration::from_millis(200);
/// They talk by turns, at so many moments of it.
const MOMENTS: u32 = 40;

/// A connection, and what it says slowly.
type Slow = (TcpStream, &'static [u8]);

/// So many connections to the listeners by turns, every second of which talks slowly.
async fn open(agent: &Agent, number: usize) -> Vec<Slow> {
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let places = [
        (address(&agent.otlp), SLOW),
        (address(&agent.api), SLOW),
        (address(&agent.grpc), SLOW_GRPC),
    ];
    let mut open = Vec::new();
    for connection in 0..number {
        let (place, text) = &places[connection % places.len()];
        open.push((TcpStream::connect(place).await.unwrap(), *text));
    }
    open
}

/// How a request is sent.
#[derive(Clone, Copy)]
enum Way {
    Http,
    Grpc,
}

/// The median and the 99th percentile of how long a request takes.
async fn latency(agent: &Agent, way: Way, number: usize) -> (Duration, Duration) {
    let load = Load::new(10);
    let grpc = Connection::open(agent.grpc["http://".len()..].parse().unwrap()).await;
    let mut times = Vec::new();
    for _ in 0..number {
        let begun = Instant::now();
        // A store that is behind tells the sender to come again: that is an answer too.
        match way {
            Way::Http => {
                let answer = load.send_one(&agent.otlp).await;
                assert!(matches!(answer, Some(200 | 503)), "{answer:?}");
            }
            Way::Grpc => {
                let body = load.next_body();
                let frame = frame(false, body.len(), &body);
                let answer = grpc.begin("identity", frame, true).await.end().await;
                let code = code(&answer.unwrap());
                assert!(matches!(code, 0 | 14), "{code}");
            }
        }
        times.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort_unstable();
    (times[number / 2], times[number * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_slow_connections_hold_nobody_up() {
    let length = Length::chosen();
    let number = length.of(500, 5_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Setup::new(folder.path()).start().await;
    let requests = length.of(200, 1_000, 1_000);
    let before = both(&agent, requests).await;
    let mut connections = open(&agent, number).await;
    // All at once would measure this process, which writes thousands of times then, more than the
    // agent: a byte costs its sender several times what it costs who receives it.
    let at_once = number.div_ceil(usize::try_from(MOMENTS).unwrap());
    let talk = async {
        for at in 0.. {
            for part in connections.chunks_mut(at_once) {
                for (stream, text) in part.iter_mut().step_by(2) {
                    let at = at % text.len();
                    // One that the agent closed is what is wanted.
                    let _ = stream.write_all(&text[at..=at]).await;
                }
                tokio::time::sleep(PERIOD / MOMENTS).await;
            }
        }
    };
    let beside = tokio::select! {
        beside = both(&agent, requests) => beside,
        () = talk => unreachable!(),
    };
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    let figures = json!({
        "connections": number,
        "p50_alone_us": before.map(|way| micros(way.0)),
        "p50_beside_us": beside.map(|way| micros(way.0)),
        "p99_alone_us": before.map(|way| micros(way.1)),
        "p99_beside_us": beside.map(|way| micros(way.1)),
        "memory_peak_mib": agent.memory().1 >> 20,
    });
    report("connections", length, &figures);
    assert!(agent.runs() && agent.panics() == 0);
    if length != Length::Short {
        for (before, beside) in before.iter().zip(beside) {
            assert!(beside.1 <= before.1 * 2, "{figures}");
        }
    }
}

/// Over HTTP and over gRPC.
async fn both(agent: &Agent, requests: usize) -> [(Duration, Duration); 2] {
    [
        latency(agent, Way::Http, requests).await,
        latency(agent, Way::Grpc, requests).await,
    ]
}

/// The control: the measure sees an agent that does not get to run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stands_still_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Setup::new(folder.path()).start().await;
    let before = both(&agent, 200).await;
    // Longer than the machine itself was away.
    let slowest = before[0].1.max(before[1].1);
    let away = Duration::from_millis(100).max(slowest * 3);
    let stop = async {
        loop {
            agent.signal(rustix::process::Signal::STOP);
            tokio::time::sleep(away).await;
            agent.signal(rustix::process::Signal::CONT);
            tokio::time::sleep(Duration::from_millis(100).max(away / 3)).await;
        }
    };
    let beside = tokio::select! {
        beside = both(&agent, 200) => beside,
        () = stop => unreachable!(),
    };
    agent.signal(rustix::process::Signal::CONT);
    for (before, beside) in before.iter().zip(beside) {
        assert!(beside.1 > before.1 * 2, "{before:?} {beside:?}");
    }
}
