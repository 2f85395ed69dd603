//! Requests to the API with any path, query and statement: always an answer, never a fault of its own.

use std::time::{Duration, SystemTime};

use rabtrace::api::{Addresses, Api, ApiSetup, ReloadBoard};
use rabtrace::config::Config;
use rabtrace::health::Health;
use rabtrace::metrics::Metrics;
use rabtrace::serve::Access;
use rabtrace::store::{Reader, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::cases::{Cases, fuzz};

const ROUTES: [&str; 10] = [
    "/api/v1/paths",
    "/api/v1/paths/one",
    "/api/v1/paths/diff",
    "/api/v1/queues",
    "/api/v1/traces",
    "/api/v1/traces/",
    "/api/v1/slow",
    "/api/v1/errors",
    "/metrics",
    "/status",
];
const NAMES: [&str; 7] = [
    "since_seconds",
    "since_seconds",
    "limit",
    "sort",
    "filter",
    "path",
    "ago_seconds",
];
const STATEMENTS: [&str; 8] = [
    "SELECT 1",
    "SELECT * FROM spans",
    "SELECT path, sum(count) FROM message_flow GROUP BY path",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n LIMIT 10",
    "SELECT printf('%.*c', 100000000, 'x')",
    "ATTACH '/tmp/x' AS x",
    "DROP TABLE spans",
    "SELECT hex(zeroblob(1000))",
];

fn query(cases: &mut Cases) -> String {
    let mut text = String::new();
    for _ in 0..cases.below(3) {
        let value = match cases.below(3) {
            0 => cases.number().to_string(),
            1 => cases
                .choice(&["p95", "count", "-1", "1e9", "%", "%ff", "a=b", ""])
                .to_owned(),
            _ => {
                let all = percent_encoding::NON_ALPHANUMERIC;
                percent_encoding::utf8_percent_encode(&cases.text(12), all).to_string()
            }
        };
        text += &format!("{}={value}&", cases.choice(&NAMES));
    }
    text
}

fn request(cases: &mut Cases) -> Vec<u8> {
    if cases.one_in(4) {
        let mut statement = cases.choice(&STATEMENTS).as_bytes().to_vec();
        if cases.one_in(2) {
            cases.breaks(&mut statement);
        }
        let statement = String::from_utf8_lossy(&statement);
        let body = serde_json::json!({ "statement": statement, "limit": cases.below(100) });
        let mut body = body.to_string().into_bytes();
        if cases.one_in(4) {
            cases.breaks(&mut body);
        }
        let head = format!(
            "POST /api/v1/sql HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        return [head.into_bytes(), body].concat();
    }
    let mut target = format!("{}?{}", cases.choice(&ROUTES), query(cases)).into_bytes();
    if cases.one_in(4) {
        cases.breaks(&mut target);
    }
    let end = b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    [b"GET ", target.as_slice(), end].concat()
}

/// The status of the answer; none if the bytes were no request and the connection was closed.
async fn ask(address: std::net::SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close while this is written.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let line = String::from_utf8_lossy(&answer);
    line.split(' ').nth(1)?.parse().ok()
}

#[test]
fn every_request_to_the_api_has_an_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default().store;
    config.folder = folder.path().to_owned();
    let _store = Store::open(&config, SystemTime::now).unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let api = Api::new(ApiSetup {
        access: Access::default(),
        reloads: ReloadBoard::default(),
        reader: Reader::open(&config.file()).unwrap(),
        health: Health::default(),
        metrics: Metrics::new().unwrap(),
        addresses: Addresses {
            grpc: address,
            http: address,
            api: address,
        },
        dead_letters: Vec::new(),
        clock: SystemTime::now,
    });
    runtime.spawn(api.serve(listener, CancellationToken::new()));
    fuzz("api", 20, |cases| {
        let request = request(cases);
        let answer = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(20), ask(address, &request)).await
        });
        let status = answer.expect("no answer");
        let text = String::from_utf8_lossy(&request);
        assert!(
            status.is_none_or(|status| status < 500),
            "{status:?} to {text:?}"
        );
        status == Some(200)
    });
}
