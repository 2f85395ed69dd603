//! OTLP that wants to do harm, from 64 clients at once: malformed, cut off, bombs.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::frames::{Connection, code, frame};
use crate::harness::{Agent, Length, Load, Setup, Sink, judge, report};

/// Clients at once.
pub(crate) const CLIENTS: u64 = 64;
/// The most memory that the agent may take.
pub(crate) const MEMORY: u64 = 256 << 20;
/// How long a client that is alone waits for a refusal at most.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);
/// Of so many attempts the one in the middle counts.
const ATTEMPTS: usize = 5;
/// The short form runs on any build, and a debug build takes so many times as long.
const SHORT_FORM: u32 = 10;

/// A request: what it is called, its encoding, its type and its body.
struct Attack {
    name: &'static str,
    gzip: bool,
    json: bool,
    body: Bytes,
}

pub(crate) fn gzip(bytes: &[u8]) -> Bytes {
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

/// A field that no request has: what it holds is skipped, and only its length is wrong.
fn skipped(length: usize) -> Vec<u8> {
    let mut field = vec![0xfa, 0x3f];
    prost::encoding::encode_varint(length as u64, &mut field);
    field.resize(field.len() + length, 0);
    field
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
            ..attack("bomb that is skipped", gzip(&skipped(256 << 20)).to_vec())
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

/// One client, over one of the protocols.
enum Client {
    Http(reqwest::Client, String),
    Grpc(Connection),
}

impl Client {
    fn http(agent: &Agent, client: &reqwest::Client) -> Self {
        Self::Http(client.clone(), format!("{}/v1/traces", agent.otlp))
    }

    async fn grpc(agent: &Agent) -> Self {
        let address: SocketAddr = agent.grpc["http://".len()..].parse().unwrap();
        Self::Grpc(Connection::open(address).await)
    }

    /// Sends an attack; the status of HTTP, or gRPC's code, and how long the answer took.
    async fn send(&self, attack: &Attack) -> (u16, Duration) {
        let body = attack.body.clone();
        let begun = Instant::now();
        let status = match self {
            Self::Http(client, url) => {
                let kind = match attack.json {
                    true => "application/json",
                    false => "application/x-protobuf",
                };
                let mut request = client.post(url).header("content-type", kind);
                if attack.gzip {
                    request = request.header("content-encoding", "gzip");
                }
                // A connection that breaks off is a refusal too.
                let answer = request.body(body).send().await;
                answer.map_or(0, |answer| answer.status().as_u16())
            }
            Self::Grpc(connection) => {
                let encoding = if attack.gzip { "gzip" } else { "identity" };
                let frame = frame(attack.gzip, body.len(), &body);
                let headers = connection.begin(encoding, frame, true).await.end().await;
                headers.map_or(0, |headers| u16::try_from(code(&headers)).unwrap())
            }
        };
        (status, begun.elapsed())
    }

    /// What a request gets that is taken.
    fn taken(&self) -> u16 {
        match self {
            Self::Http(..) => 200,
            Self::Grpc(_) => 0,
        }
    }
}

/// What came of the attacks.
struct Siege {
    bytes: u64,
    requests: u64,
    /// By attack: how many were taken, and the slowest answer.
    answers: Vec<(&'static str, u64, Duration)>,
    times: Vec<Duration>,
    peak: u64,
    panics: usize,
    processor_time: Duration,
}

async fn siege(agent: &Agent, bytes: u64) -> Siege {
    let attacks = attacks();
    let http = rabtrace::app::direct_http_client().unwrap();
    let (sent, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let answers = Mutex::new(vec![(0, Duration::ZERO); attacks.len()]);
    let times = Mutex::new(Vec::new());
    let before = agent.processor_time();
    let attacker = async |number: u64| {
        let client = match number % 2 {
            0 => Client::http(agent, &http),
            _ => Client::grpc(agent).await,
        };
        while sent.load(Ordering::SeqCst) < bytes {
            let index =
                usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap() % attacks.len();
            let attack = &attacks[index];
            sent.fetch_add(attack.body.len() as u64, Ordering::SeqCst);
            let (status, took) = client.send(attack).await;
            let mut answers = answers.lock().unwrap();
            answers[index].0 += u64::from(status == client.taken());
            answers[index].1 = answers[index].1.max(took);
            times.lock().unwrap().push(took);
        }
    };
    futures_util::future::join_all((0..CLIENTS).map(attacker)).await;
    let answers = answers.into_inner().unwrap().into_iter();
    let named = attacks.iter().zip(answers);
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    Siege {
        bytes: sent.into_inner(),
        requests: next.into_inner(),
        answers: named
            .map(|(attack, (taken, took))| (attack.name, taken, took))
            .collect(),
        times,
        peak: agent.memory().1,
        panics: agent.panics(),
        processor_time: agent.processor_time() - before,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// A refusal as one client alone sees it.
struct Alone {
    name: &'static str,
    statuses: [u16; 2],
    /// Over HTTP and gRPC.
    waited: [Duration; 2],
}

/// How long one client alone waits for each refusal.
async fn alone(agent: &Agent) -> Vec<Alone> {
    // Made first: a connection that says nothing meanwhile is closed.
    let attacks = attacks();
    let http = rabtrace::app::direct_http_client().unwrap();
    let clients = [Client::http(agent, &http), Client::grpc(agent).await];
    let mut told = Vec::new();
    for attack in attacks {
        let (mut statuses, mut waited) = ([0; 2], [Duration::ZERO; 2]);
        for (at, client) in clients.iter().enumerate() {
            let mut times = [Duration::ZERO; ATTEMPTS];
            for time in &mut times {
                (statuses[at], *time) = client.send(&attack).await;
            }
            times.sort_unstable();
            waited[at] = times[ATTEMPTS / 2];
        }
        told.push(Alone {
            name: attack.name,
            statuses,
            waited,
        });
    }
    told
}

/// The longest of them.
fn slowest(alone: &[Alone]) -> Duration {
    let waited = alone.iter().flat_map(|alone| alone.waited);
    waited.max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_are_refused_and_do_no_harm() {
    let length = Length::chosen();
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start();
    let setup = Setup::new(folder.path()).set("influx.url", sink.url());
    let mut agent = setup.start().await;
    let alone = alone(&agent).await;
    for answer in &alone {
        let Alone {
            name,
            statuses,
            waited,
        } = answer;
        println!("one client: {name}: {statuses:?} after {waited:?}");
    }
    let (load, stop) = (Load::new(100), AtomicBool::new(false));
    let attack = async {
        let bytes = length.of(256 << 20, 1 << 30, 10 << 30);
        let siege = siege(&agent, bytes).await;
        stop.store(true, Ordering::SeqCst);
        siege
    };
    let honest = load.run(&agent.otlp, 1, Some(1_000), &stop);
    let (siege, ()) = tokio::join!(attack, honest);
    for answer in &siege.answers {
        println!("{answer:?}");
    }
    let beside = load.oracle.spans();
    load.run_for(&agent.otlp, 1, Some(1_000), Duration::from_secs(1))
        .await;
    agent.until_drained("influx", Duration::from_secs(60)).await;
    agent.until_nothing_is_in_flight().await;
    let each = siege.processor_time / u32::try_from(siege.requests).unwrap();
    let figures = json!({
        "bytes": siege.bytes,
        "requests": siege.requests,
        "panics": siege.panics,
        "memory_peak_mib": siege.peak >> 20,
        "slowest_refusal_alone_ms": millis(slowest(&alone)),
        "median_refusal_of_64_ms": millis(siege.times[siege.times.len() / 2]),
        "p99_refusal_of_64_ms": millis(siege.times[siege.times.len() * 99 / 100]),
        "processor_time_each_us": u64::try_from(each.as_micros()).unwrap(),
        "spans_taken_beside": beside,
        "refused_beside": load.refused(),
    });
    report("hostile", length, &figures);
    assert!(agent.runs() && siege.panics == 0);
    assert!(
        siege.answers.iter().all(|(_, taken, _)| *taken == 0),
        "{:?}",
        siege.answers
    );
    assert!(beside > 0 && load.refused() == 0, "{figures}");
    assert_eq!(judge(&load.oracle, &sink).lost, 0, "{figures}");
    assert!(siege.peak <= MEMORY, "{figures}");
    let within = REFUSED_WITHIN * length.of(SHORT_FORM, 1, 1);
    assert!(slowest(&alone) <= within, "{figures}");
}

/// The control: without limits on what requests become, the same requests take the memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_the_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(folder.path())
        .set("receiver.max_body_bytes", "1GiB")
        .set("receiver.max_in_flight_bytes", "64GiB");
    let agent = setup.start().await;
    let slowest = slowest(&alone(&agent).await);
    let peak = agent.memory().1;
    println!("{} MiB, {slowest:?}", peak >> 20);
    assert!(peak > MEMORY, "{} MiB", peak >> 20);
    // The measure of the time finds it too.
    assert!(slowest > REFUSED_WITHIN, "{slowest:?}");
}
