//! Spans that are lost at a steady rate into a server on loopback, with the SDK's default settings
//! and with those that this crate recommends.
//!
//! The server runs in a process of its own and answers every request, at once or with a pause of
//! 300 ms once a second, as a busy collector does; each way runs for five seconds. A rate that the
//! machine does not reach shows as a lower one.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at the first surprise"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfig, SdkTracerProvider};
use rabtrace_otlp::{BatchProcessor, Exporter, recommended_batch_config};

const DURATION: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(300);
const BETWEEN_PAUSES: Duration = Duration::from_secs(1);

/// Takes requests until its parent ends; says its port in the first line.
fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(&stream.unwrap()));
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
}

fn answer(mut stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    let mut pauses = false;
    let mut paused = Instant::now();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        pauses |= line.starts_with("POST /pausing");
        if line == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if pauses && paused.elapsed() > BETWEEN_PAUSES {
                std::thread::sleep(PAUSE);
                paused = Instant::now();
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
        }
        line.clear();
    }
}

fn attributes() -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", "publish"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", "planner_queue"),
        KeyValue::new("messaging.message.body.size", 256),
        KeyValue::new("server.address", "rabbit.example.org"),
        KeyValue::new("server.port", 5672),
        KeyValue::new("rabtrace.publish.outcome", "acked"),
    ]
}

/// Ends `rate` spans a second, in portions of a millisecond, and says what became of them.
fn run(what: &str, url: &str, rate: u32, config: BatchConfig) {
    let exporter = Exporter::builder().with_endpoint(url).build().unwrap();
    let statistics = exporter.statistics();
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name("gateway").build())
        .with_span_processor(BatchProcessor::with_config(exporter, config))
        .build();
    let tracer = provider.tracer("loss");
    let start = Instant::now();
    let mut ended = 0.0;
    while start.elapsed() < DURATION {
        while ended < start.elapsed().min(DURATION).as_secs_f64() * f64::from(rate) {
            drop(
                tracer
                    .span_builder("publish planner_queue")
                    .with_attributes(attributes())
                    .start(&tracer),
            );
            ended += 1.0;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let reached = ended / start.elapsed().as_secs_f64();
    provider
        .shutdown_with_timeout(Duration::from_secs(60))
        .unwrap();
    println!(
        "{what:<12} {rate:>8} {reached:>9.0} {:>9} {:>9} {:>7} {:>7}",
        statistics.ended(),
        statistics.exported(),
        statistics.failed() + statistics.rejected(),
        statistics.outstanding()
    );
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("--serve") {
        return serve();
    }
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg("--serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    println!(
        "{:<12} {:>8} {:>9} {:>9} {:>9} {:>7} {:>7}",
        "settings", "rate/s", "reached/s", "ended", "exported", "failed", "dropped"
    );
    for path in ["at-once", "pausing"] {
        println!("server: {path}");
        let url = format!("http://127.0.0.1:{}/{path}", port.trim());
        for rate in [20_000, 50_000] {
            run("default", &url, rate, BatchConfig::default());
            run("recommended", &url, rate, recommended_batch_config());
        }
    }
    drop(server.stdin.take());
    server.wait().unwrap();
}
