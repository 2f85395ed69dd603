//! SIGTERM while every sink hangs: the agent is gone within five seconds, and nothing is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use crate::agent::{Agent, WITHIN, client, span};
use crate::support::{eventually, undisturbed};
use crate::upstream::Upstream;

/// A server that takes everything and answers nothing.
async fn hole() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

/// How soon an agent that is told to end is gone.
const GONE: Duration = Duration::from_secs(5);

/// Sinks that hang, and what an agent needs to have them.
async fn sinks() -> (Upstream, Vec<String>) {
    let upstream = Upstream::default();
    upstream.hang(true);
    let sets = vec![
        format!("forward.endpoint={}", upstream.start().await),
        "forward.protocol=http/protobuf".to_owned(),
        format!("influx.url={}", hole().await),
        "broker.amqp_url=amqp://127.0.0.1:1".to_owned(),
    ];
    (upstream, sets)
}

/// Ends an agent with SIGTERM after two seconds of load, held up by so much: how long that took, and
/// why it did not end well. `acknowledged` is the number of requests until then.
async fn end(
    folder: &Path,
    sets: &[String],
    held_up: Duration,
    acknowledged: &mut u64,
) -> (Duration, Option<String>) {
    let mut agent = Agent::start(folder, "", sets).await;
    let url = format!("http://{}/v1/traces", agent.http);
    let stop = Arc::new(AtomicBool::new(false));
    // A client that stays connected, one that never ends its request, and load.
    let mut open = tokio::net::TcpStream::connect(&agent.http).await.unwrap();
    let half = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut open, half)
        .await
        .unwrap();
    let loading = {
        let (stop, first) = (stop.clone(), *acknowledged);
        tokio::spawn(async move {
            let client = client(None);
            let mut number = first;
            while !stop.load(Ordering::SeqCst) {
                let sent = client.post(&url).json(&span(number)).send().await;
                match sent.map(|answer| answer.status().as_u16()) {
                    Ok(200) => number += 1,
                    Ok(503) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Ok(other) => panic!("answered {other}"),
                }
            }
            number
        })
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = agent.process.pid();
    if !held_up.is_zero() {
        agent.signal(Signal::STOP);
    }
    let begun = Instant::now();
    let ending = tokio::task::spawn_blocking(move || agent.process.stop());
    if !held_up.is_zero() {
        tokio::time::sleep(held_up).await;
        rustix::process::kill_process(pid, Signal::CONT).unwrap();
    }
    let code = ending.await.unwrap();
    let took = begun.elapsed();
    stop.store(true, Ordering::SeqCst);
    *acknowledged = loading.await.unwrap();
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    (took, (code != Some(0)).then_some(log))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_hangs_does_not_hold_up_the_end_and_loses_nothing() {
    let (upstream, sets) = sinks().await;
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for _ in 0..2 {
        let (took, complaint) = undisturbed(async || {
            let ended = end(folder.path(), &sets, Duration::ZERO, &mut acknowledged).await;
            let is_well = ended.0 <= GONE && ended.1.is_none();
            (ended, is_well)
        })
        .await;
        assert_eq!(complaint, None);
        assert!(took <= GONE, "{took:?}");
        println!("stopped within {took:.1?}, {acknowledged} requests acknowledged so far");
    }
    assert!(acknowledged > 10, "only {acknowledged} requests");
    upstream.hang(false);
    let agent = Agent::start(folder.path(), "", &sets).await;
    eventually("all that was acknowledged", WITHIN, async || {
        (upstream.taken().0 as u64 >= acknowledged).then_some(())
    })
    .await;
    drop(agent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_takes_long_and_loses_all_is_found_out() {
    let (upstream, sets) = sinks().await;
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    let (took, complaint) = undisturbed(async || {
        let ended = end(folder.path(), &sets, GONE, &mut acknowledged).await;
        let is_well = ended.1.is_none();
        (ended, is_well)
    })
    .await;
    assert_eq!(complaint, None);
    assert!(took > GONE, "{took:?}");
    assert!(acknowledged > 10, "only {acknowledged} requests");
    std::fs::remove_dir_all(folder.path().join("store/spool")).unwrap();
    upstream.hang(false);
    let agent = Agent::start(folder.path(), "", &sets).await;
    // What it still has goes out before what comes now.
    let url = format!("http://{}/v1/traces", agent.http);
    let sent = client(None).post(&url).json(&span(1 << 40)).send().await;
    assert_eq!(sent.unwrap().status(), 200);
    eventually("the newest", WITHIN, async || {
        (upstream.taken().0 > 0).then_some(())
    })
    .await;
    assert_eq!(upstream.taken().0, 1);
}
