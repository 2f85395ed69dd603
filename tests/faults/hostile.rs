//! OTLP that wants to do harm, from 64 clients at once: malformed, cut off, bombs.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::harness::{Agent, Length, Load, Setup, Sink, judge, report};

const CLIENTS: u64 = 64;
const MEMORY: u64 = 256 << 20;

/// A request: what it is called, its encoding, its type and its body.
struct Attack {
    name: &'static str,
    gzip: bool,
    json: bool,
    body: Bytes,
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

/// Field 1 of field 2 of field 1: so many times `element` in a request of traces.
fn nested(element: &[u8], number: usize) -> Vec<u8> {
    let inner = element.repeat(number);
    let wrap = |tag: u8, inner: &[u8]| {
        let mut bytes = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend(inner);
        bytes
    };
    wrap(0x0a, &wrap(0x12, &inner))
}

fn attacks() -> Vec<Attack> {
    let attack = |name, body: Vec<u8>| Attack {
        name,
        gzip: false,
        json: false,
        body: body.into(),
    };
    let noise: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
    // A span of two bytes; a group that opens again and again; an array in an array.
    let spans = nested(&[0x12, 0], 2 << 20);
    let mut deep = Vec::new();
    for _ in 0..5_000 {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.extend(&deep);
        deep = outer;
    }
    let mut cut = nested(&[0x12, 0], 1 << 10);
    cut.pop();
    let events = nested(&[0x12, 4, 0x5a, 0, 0x5a, 0], 512 << 10);
    vec![
        attack("noise", noise),
        attack("cut off", cut),
        attack("empty spans", spans.clone()),
        attack("empty events", events),
        attack("groups", vec![0x0b; 1 << 20]),
        attack("deep", deep),
        attack("endless varint", vec![0xff; 1 << 20]),
        Attack {
            gzip: true,
            ..attack("bomb of zeros", gzip(&vec![0; 256 << 20]).to_vec())
        },
        Attack {
            gzip: true,
            ..attack("bomb of spans", gzip(&nested(&[0x12, 0], 7 << 20)).to_vec())
        },
        Attack {
            gzip: true,
            ..attack("no gzip", vec![0x1f, 0x8b, 8, 0, 0, 0])
        },
        Attack {
            json: true,
            ..attack("json in json", b"[".repeat(1 << 20))
        },
        Attack {
            json: true,
            ..attack(
                "json of empty spans",
                format!(
                    r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#,
                    "{},".repeat(1 << 20)
                )
                .into_bytes(),
            )
        },
    ]
}

/// What came of the attacks.
struct Siege {
    bytes: u64,
    requests: u64,
    /// By attack: status, and the slowest answer.
    answers: Vec<(&'static str, u16, Duration)>,
    times: Vec<Duration>,
    peak: u64,
    panics: usize,
}

async fn siege(agent: &Agent, bytes: u64) -> Siege {
    let attacks = attacks();
    let client = rabtrace::app::direct_http_client().unwrap();
    let (sent, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let answers = Mutex::new(vec![(0, Duration::ZERO); attacks.len()]);
    let times = Mutex::new(Vec::new());
    let attacker = async || {
        while sent.load(Ordering::SeqCst) < bytes {
            let index =
                usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap() % attacks.len();
            let attack = &attacks[index];
            sent.fetch_add(attack.body.len() as u64, Ordering::SeqCst);
            let kind = if attack.json {
                "application/json"
            } else {
                "application/x-protobuf"
            };
            let mut request = client.post(format!("{}/v1/traces", agent.otlp));
            request = request.header("content-type", kind);
            if attack.gzip {
                request = request.header("content-encoding", "gzip");
            }
            let begun = Instant::now();
            // An answer before the body is sent closes the connection: that is a refusal too.
            let answer = request.body(attack.body.clone()).send().await;
            let status = answer.map_or(0, |answer| answer.status().as_u16());
            let took = begun.elapsed();
            let mut answers = answers.lock().unwrap();
            answers[index].0 = answers[index].0.max(status);
            answers[index].1 = answers[index].1.max(took);
            times.lock().unwrap().push(took);
        }
    };
    futures_util::future::join_all((0..CLIENTS).map(|_| attacker())).await;
    let answers = answers.into_inner().unwrap().into_iter();
    let named = attacks.iter().zip(answers);
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    Siege {
        bytes: sent.into_inner(),
        requests: next.into_inner(),
        answers: named
            .map(|(attack, (status, took))| (attack.name, status, took))
            .collect(),
        times,
        peak: agent.memory().1,
        panics: agent.panics(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// How long one client alone waits for each refusal.
async fn alone(agent: &Agent) -> Vec<(&'static str, u16, u64)> {
    let client = rabtrace::app::direct_http_client().unwrap();
    let mut told = Vec::new();
    for attack in attacks() {
        let kind = if attack.json {
            "application/json"
        } else {
            "application/x-protobuf"
        };
        let mut request = client.post(format!("{}/v1/traces", agent.otlp));
        request = request.header("content-type", kind);
        if attack.gzip {
            request = request.header("content-encoding", "gzip");
        }
        let begun = Instant::now();
        let answer = request.body(attack.body).send().await;
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        told.push((
            attack.name,
            status,
            u64::try_from(begun.elapsed().as_millis()).unwrap(),
        ));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_are_refused_and_do_no_harm() {
    let length = Length::chosen();
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let setup = Setup::new(folder.path()).set("influx.url", sink.url());
    let mut agent = setup.start().await;
    let alone = alone(&agent).await;
    println!("one client: {alone:?}");
    let siege = siege(&agent, length.of(64 << 20, 1 << 30, 10 << 30)).await;
    for answer in &siege.answers {
        println!("{answer:?}");
    }
    let load = Load::new(100);
    load.run_for(&agent.otlp, 1, Some(1_000), Duration::from_secs(1))
        .await;
    agent.until_drained("influx", Duration::from_secs(60)).await;
    let figures = json!({
        "bytes": siege.bytes,
        "requests": siege.requests,
        "panics": siege.panics,
        "memory_peak_mib": siege.peak >> 20,
        "slowest_refusal_alone_ms": alone.iter().map(|(_, _, took)| *took).max(),
        "median_refusal_of_64_ms": millis(siege.times[siege.times.len() / 2]),
        "p99_refusal_of_64_ms": millis(siege.times[siege.times.len() * 99 / 100]),
    });
    report("hostile", length, &figures);
    assert!(agent.runs() && siege.panics == 0);
    assert!(
        siege.answers.iter().all(|(_, status, _)| *status != 200),
        "{:?}",
        siege.answers
    );
    assert_eq!(
        judge(&load.oracle, &sink).lost,
        0,
        "who means well is served after it"
    );
    if length != Length::Short {
        assert!(siege.peak <= MEMORY, "{figures}");
    }
}

/// The control: without a limit on what requests become, the same requests take the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_the_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(folder.path()).set("receiver.max_body_bytes", "1GiB");
    let agent = setup.start().await;
    alone(&agent).await;
    let peak = agent.memory().1;
    println!("{} MiB", peak >> 20);
    assert!(peak > MEMORY, "{} MiB", peak >> 20);
}
