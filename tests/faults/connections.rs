//! Connections that say nothing, or say it slowly: others do not wait for them.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Agent, Length, Load, Setup, report};

/// What a slow sender says of a request, a byte at a time.
const SLOW: &[u8] = b"POST /v1/traces HTTP/1.1\r\nhost: agent\r\ncontent-length: 100\r\n\r\n";

/// Time between two bytes of one of them.
const PERIOD: Duration = Duration::from_millis(200);
/// They talk by turns, at so many moments of it.
const MOMENTS: u32 = 40;

/// So many connections to OTLP and the API by turns, every second of which talks slowly.
async fn open(agent: &Agent, number: usize) -> Vec<TcpStream> {
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let places = [address(&agent.otlp), address(&agent.api)];
    let mut open = Vec::new();
    for connection in 0..number {
        let stream = TcpStream::connect(&places[connection % 2]).await;
        open.push(stream.unwrap());
    }
    open
}

/// The median and the 99th percentile of how long a request takes.
async fn latency(agent: &Agent, number: usize) -> (Duration, Duration) {
    let load = Load::new(10);
    let mut times = Vec::new();
    for _ in 0..number {
        let begun = Instant::now();
        let answer = load.send_one(&agent.otlp).await;
        // A store that is behind tells the sender to come again: that is an answer too.
        assert!(matches!(answer, Some(200 | 503)), "{answer:?}");
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
    let before = latency(&agent, 1_000).await;
    let mut connections = open(&agent, number).await;
    // All at once would measure this process, which writes thousands of times then, more than the
    // agent: a byte costs its sender several times what it costs who receives it.
    let at_once = number.div_ceil(usize::try_from(MOMENTS).unwrap());
    let talk = async {
        for at in 0.. {
            for part in connections.chunks_mut(at_once) {
                for stream in part.iter_mut().step_by(2) {
                    // One that the agent closed is what is wanted.
                    let _ = stream
                        .write_all(&SLOW[at % SLOW.len()..=at % SLOW.len()])
                        .await;
                }
                tokio::time::sleep(PERIOD / MOMENTS).await;
            }
        }
    };
    let beside = tokio::select! {
        beside = latency(&agent, 1_000) => beside,
        () = talk => unreachable!(),
    };
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    let figures = json!({
        "connections": number,
        "p50_alone_us": micros(before.0),
        "p50_beside_us": micros(beside.0),
        "p99_alone_us": micros(before.1),
        "p99_beside_us": micros(beside.1),
        "memory_peak_mib": agent.memory().1 >> 20,
    });
    report("connections", length, &figures);
    assert!(agent.runs() && agent.panics() == 0);
    if length != Length::Short {
        assert!(beside.1 <= before.1 * 2, "{figures}");
    }
}

/// The control: the measure sees an agent that does not get to run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stands_still_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Setup::new(folder.path()).start().await;
    let before = latency(&agent, 200).await;
    let stop = async {
        loop {
            agent.signal(rustix::process::Signal::STOP);
            tokio::time::sleep(Duration::from_millis(100)).await;
            agent.signal(rustix::process::Signal::CONT);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let beside = tokio::select! {
        beside = latency(&agent, 200) => beside,
        () = stop => unreachable!(),
    };
    agent.signal(rustix::process::Signal::CONT);
    assert!(beside.1 > before.1 * 2, "{before:?} {beside:?}");
}
