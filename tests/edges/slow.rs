//! Thousands of connections that say nothing, or hardly anything, beside a client that works.
//!
//! `RABTRACE_SLOW_CONNECTIONS` says how many (5,000, or as many as this process may have), and with
//! `RABTRACE_SLOW_STRICT=1`, on a machine with nothing else to do, the working client's 99th
//! percentile must not double.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::agent::{Agent, client, span};
use crate::authority::Authority;

/// How long the last of them may stay: 10 s for a head, and what a busy machine adds.
const CLOSED_WITHIN: Duration = Duration::from_secs(40);

/// Durations of one request after the other, until `end`.
async fn times(url: &str, authority: &str, end: impl Future<Output = ()>) -> Vec<Duration> {
    let client = client(Some(authority));
    let mut times = Vec::new();
    let mut end = std::pin::pin!(end);
    loop {
        let begun = Instant::now();
        let request = client.post(url).json(&span(times.len() as u64)).send();
        tokio::select! {
            () = &mut end => return times,
            answer = request => assert_eq!(answer.unwrap().status(), 200),
        }
        times.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn quantile(times: &mut [Duration], of: f64) -> Duration {
    times.sort();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let place = ((times.len() - 1) as f64 * of) as usize;
    times[place]
}

/// One of them: what it says, if anything, and when it was closed.
async fn hang(address: String, says: &'static [u8]) -> Duration {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let begun = Instant::now();
    stream.write_all(says).await.unwrap();
    let mut rest = Vec::new();
    // A reset is a close too.
    let _ = stream.read_to_end(&mut rest).await;
    begun.elapsed()
}

fn descriptors() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_served_while_thousands_hang() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let pair = authority.issue("server", "localhost");
    let sets = [
        format!("tls.certificate_file={}", pair.certificate),
        format!("tls.key_file={}", pair.key),
    ];
    let agent = Agent::start(folder.path(), "", &sets).await;
    let plain_folder = folder.path().join("plain");
    std::fs::create_dir(&plain_folder).unwrap();
    let plain = Agent::start(&plain_folder, "", &[]).await;
    let wanted = std::env::var("RABTRACE_SLOW_CONNECTIONS");
    let wanted: u64 = wanted.map_or(5_000, |number| number.parse().unwrap());
    let number = wanted.min(descriptors().saturating_sub(500));
    let url = format!(
        "https://localhost:{}/v1/traces",
        agent.http.rsplit_once(':').unwrap().1
    );
    let quiet = tokio::time::sleep(Duration::from_secs(5));
    let mut before = times(&url, &authority.file, quiet).await;

    // Silent, half a head, a drop of HTTP/2, half a handshake; half of them where TLS is spoken.
    let says: [&'static [u8]; 4] = [
        b"",
        b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nx-a: ",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\x16\x03\x01",
    ];
    let places = [
        &agent.http,
        &plain.http,
        &agent.grpc,
        &plain.grpc,
        &agent.api,
        &plain.api,
    ];
    let (mut hanging, mut late_heads) = (JoinSet::new(), 0);
    for (number, (place, address)) in (0..number).zip(places.iter().enumerate().cycle()) {
        let says = says[usize::try_from(number / 7).unwrap() % says.len()];
        // Where TLS is not spoken, what begins a handshake is refused as it comes.
        late_heads += u64::from(place % 2 == 1 && !says.starts_with(b"\x16"));
        hanging.spawn(hang((*address).clone(), says));
    }
    let attack = async {
        let mut longest = Duration::ZERO;
        while let Some(closed) = hanging.join_next().await {
            longest = longest.max(closed.unwrap());
        }
        assert!(longest < CLOSED_WITHIN, "one was open for {longest:?}");
        println!("{number} connections, the last closed after {longest:.1?}");
    };
    let mut during = times(&url, &authority.file, attack).await;
    assert!(
        during.len() > 50,
        "only {} requests were answered",
        during.len()
    );
    let (before_p99, during_p99) = (quantile(&mut before, 0.99), quantile(&mut during, 0.99));
    println!(
        "p50 {:?} to {:?}, p99 {before_p99:?} to {during_p99:?}, {} requests",
        quantile(&mut before, 0.5),
        quantile(&mut during, 0.5),
        during.len()
    );
    if std::env::var_os("RABTRACE_SLOW_STRICT").is_some() {
        assert!(
            during_p99 <= before_p99 * 2,
            "p99 {before_p99:?} to {during_p99:?}"
        );
    }
    // All of them were counted, and none is left.
    let metrics = client(None)
        .get(format!("http://{}/metrics", plain.api))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let closed = |reason: &str| {
        let name = format!("rabtrace_connections_closed_total{{reason=\"{reason}\"}} ");
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok());
        value.unwrap_or_default()
    };
    assert_eq!(closed("header_timeout"), late_heads, "{metrics}");
    assert!(
        metrics.lines().any(|line| line == "rabtrace_connections 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "", &["limits.connections=3".to_owned()]).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(&agent.http).await.unwrap());
    }
    let closed = hang(agent.http.clone(), b"").await;
    assert!(closed < Duration::from_secs(5), "{closed:?}");
    drop(held);
    let url = format!("http://{}/metrics", agent.api);
    let served =
        crate::support::eventually("there is room again", crate::agent::WITHIN, async || {
            let answer = client(None)
                .get(&url)
                .send()
                .await
                .ok()?
                .text()
                .await
                .ok()?;
            answer.contains("reason=\"too_many\"} ").then_some(())
        });
    served.await;
}
