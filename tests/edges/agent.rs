//! A running agent and what one asks it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Process, eventually, rabtrace};

pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// An agent whose folder outlives it.
pub(crate) struct Agent {
    pub(crate) process: Process,
    pub(crate) grpc: String,
    pub(crate) http: String,
    pub(crate) api: String,
}

impl Agent {
    /// Starts one with its store, its log and its configuration file in `folder`; ports are free ones.
    pub(crate) async fn start(folder: &Path, config: &str, sets: &[String]) -> Self {
        let (log, file) = (folder.join("log"), folder.join("rabtrace.toml"));
        std::fs::write(&file, config).unwrap();
        let mut command = rabtrace();
        command.args(["agent", "--config", &file.display().to_string()]);
        let store = format!("store.folder={}", folder.join("store").display());
        let ports = ["receiver.grpc_listen", "receiver.http_listen", "api.listen"];
        let ports = ports.map(|key| format!("{key}=127.0.0.1:0"));
        let json = ["log.format=json".to_owned(), store];
        for set in json.iter().chain(&ports).chain(sets) {
            command.args(["--set", set]);
        }
        let process = Process::start(&mut command, &log);
        let address = |key: &'static str| {
            let log = &log;
            eventually("the agent listens", WITHIN, move || {
                let found = log_lines(log).into_iter().find(|line| line["key"] == key);
                let address = found.and_then(|line| Some(line["address"].as_str()?.to_owned()));
                std::future::ready(address)
            })
        };
        Self {
            grpc: address("receiver.grpc_listen").await,
            http: address("receiver.http_listen").await,
            api: address("api.listen").await,
            process,
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.process.pid(), signal).unwrap();
    }

    /// Its open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let pid = self.process.pid().as_raw_nonzero();
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .count()
    }
}

/// Fields of every line of a log.
pub(crate) fn log_lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines();
    lines
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["fields"].take()))
        .collect()
}

/// An OTLP request of one span, whose ids are made of `number`.
pub(crate) fn span(number: u64) -> Value {
    let span = json!({
        "traceId": format!("{:032x}", u128::from(number) + 1),
        "spanId": format!("{:016x}", number + 1),
        "name": "work", "kind": 2,
        "startTimeUnixNano": "1000000000", "endTimeUnixNano": "2000000000",
    });
    let name = json!({ "key": "service.name", "value": { "stringValue": "sender" } });
    json!({ "resourceSpans": [{ "resource": { "attributes": [name] },
        "scopeSpans": [{ "spans": [span] }] }] })
}

/// A client that trusts the authority of a file, and no proxy.
pub(crate) fn client(authority: Option<&str>) -> reqwest::Client {
    let mut builder = rabtrace::tls::builder().no_proxy();
    if let Some(file) = authority {
        let pem = std::fs::read(file).unwrap();
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().unwrap()
}
