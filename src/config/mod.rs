//! The configuration: one tree, every key with a default, read from file, environment and flags.
//!
//! A flag wins over the environment, the environment over the file, the file over the default.
//! [`load`] reports every mistake at once, each with its key and where the value came from.
//! The keys, their documentation and their defaults stand in one table, `table.rs`; the example
//! file is generated from it.

mod choices;
mod defaults;
mod derive;
mod entries;
mod example;
mod file;
mod keys;
mod load;
mod mistake;
mod reference;
mod reload;
mod table;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use example::example_toml;
pub use load::{Loaded, Sources, load};
pub use mistake::{ConfigErrors, Mistake, Origin};
pub use reference::{Described, reference};
pub use reload::Changes;
pub use values::{Secret, duration as parse_duration, mask_url};

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent itself.
    pub agent: Agent,
    /// The broker that the monitor watches.
    pub broker: Broker,
    /// Where OTLP comes in.
    pub receiver: Receiver,
    /// Where points go.
    pub influx: Influx,
    /// Where OTLP goes on to.
    pub forward: Forward,
    /// The embedded store.
    pub store: Store,
    /// What waits on disk for the sinks.
    pub spool: Spool,
    /// The JSON API, `/metrics` and `/health`.
    pub api: Api,
    /// TLS of the listeners, and whose certificates are trusted.
    pub tls: Tls,
    /// What all listeners together take.
    pub limits: Limits,
    /// The agent's own log.
    pub log: Log,
    /// Grafana, for `rabtrace check` alone.
    pub grafana_url: Option<Secret>,
}

/// The agent itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name among others: agents side by side must differ in it.
    pub instance: String,
}

/// The broker that the monitor watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// AMQP URL with user and password.
    pub amqp_url: Secret,
    /// Base URL of the management API; its login is that of the AMQP URL unless it has its own.
    pub management_url: Secret,
    /// Base URLs of `rabbitmq_prometheus`, one for each node.
    pub prometheus_urls: Vec<Secret>,
    /// Time between two polls.
    pub poll_interval: Duration,
    /// Longest wait for one answer.
    pub poll_timeout: Duration,
    /// Whether the listing with statistics is asked for.
    pub statistics: Statistics,
    /// Queues of the AMQP URL's virtual host that are asked for over AMQP all the time.
    pub watch_queues: Vec<String>,
    /// Time between two looks at them.
    pub watch_interval: Duration,
    /// Which queues have a series.
    pub selection: Selection,
    /// Certificates for and of the broker.
    pub tls: PeerTls,
}

/// Whether the management API is asked for counters where `rabbitmq_prometheus` has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// As often as costs the broker little.
    Auto,
    /// Never.
    Never,
}

/// Which queues and exchanges have a series: names with `*` and `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Virtual hosts that are watched.
    pub include_vhosts: Vec<String>,
    /// Virtual hosts that are not, whatever the line above says.
    pub exclude_vhosts: Vec<String>,
    /// Queues that are watched.
    pub include_queues: Vec<String>,
    /// Queues that are not, whatever the line above says.
    pub exclude_queues: Vec<String>,
    /// Queues that share one series for each of these names and virtual hosts.
    pub fold_queues: Vec<String>,
    /// Queues with a series of their own, the deepest first, and exchanges.
    pub max_queues: usize,
}

/// Where OTLP comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Address of OTLP over gRPC.
    pub grpc_listen: SocketAddr,
    /// Address of OTLP over HTTP.
    pub http_listen: SocketAddr,
    /// Largest request, in bytes, after decompression.
    pub max_body_bytes: usize,
    /// Bytes of memory that requests may take from their first byte until they are stored.
    pub max_in_flight_bytes: usize,
    /// Requests that may wait for the flow; beyond it senders are told to come again.
    pub queue_batches: usize,
    /// Bearer token; without one only loopback addresses are allowed.
    pub token: Secret,
}

/// Where points go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Influx {
    /// Base URL of the server; none turns the sink off.
    pub url: Option<Secret>,
    /// Organisation (2.x).
    pub org: String,
    /// Bucket (2.x) or database (1.x and 3.x).
    pub bucket: String,
    /// Token; `user:password` for 1.x with authentication.
    pub token: Secret,
    /// Lines of one request at most.
    pub batch_lines: usize,
    /// Bytes of one request at most, before compression.
    pub batch_bytes: usize,
    /// Longest time that a point waits for its request to fill.
    pub flush_interval: Duration,
    /// Bytes of lines kept in memory for writing; the rest is read from the spool.
    pub buffer_bytes: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Certificates for and of the server.
    pub tls: PeerTls,
}

/// The protocol of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, protobuf.
    HttpProtobuf,
}

/// Where OTLP goes on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Endpoint of the upstream; none turns the sink off.
    pub endpoint: Option<Secret>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Headers of each request, name and value.
    pub headers: Vec<(String, Secret)>,
    /// Bytes of requests kept in memory for sending; the rest is read from the spool.
    pub buffer_bytes: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Certificates for and of the upstream.
    pub tls: PeerTls,
}

/// The embedded store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Folder of the database file.
    pub folder: PathBuf,
    /// Age at which an hour's data is dropped; 20 days at most.
    pub retention: Duration,
    /// Size in bytes at which the oldest hour is dropped; half of its disk if that is less.
    pub max_bytes: u64,
    /// Whether spans are kept.
    pub spans: bool,
}

impl Store {
    /// The database file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("rabtrace.db")
    }
}

/// What waits on disk for the sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Folder with a folder for each sink; empty: `spool` in the store's folder.
    pub folder: PathBuf,
    /// Bytes of one sink's spool; beyond it the oldest is dropped and counted.
    pub max_bytes: u64,
    /// Bytes of what one sink's server refused for good; zero keeps nothing.
    pub dead_letter_bytes: u64,
}

impl Config {
    /// The folder of the spools.
    #[must_use]
    pub fn spool_folder(&self) -> PathBuf {
        if self.spool.folder.as_os_str().is_empty() {
            self.store.folder.join("spool")
        } else {
            self.spool.folder.clone()
        }
    }
}

/// The JSON API, `/metrics` and `/health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its address.
    pub listen: SocketAddr,
    /// Bearer token; without one only a loopback address is allowed.
    pub token: Secret,
}

/// TLS of the agent's own listeners, and what is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the listeners' certificate and its chain; none turns TLS off.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// PEM file of the authorities whose client certificates are asked for; none asks for none.
    pub client_ca_file: Option<PathBuf>,
    /// PEM file of authorities that are trusted beside the system's, for every peer.
    pub ca_file: Option<PathBuf>,
    /// Whether listeners may be off loopback without TLS.
    pub allow_plaintext: bool,
}

/// Certificates for one peer that the agent connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// The section that its keys stand in.
    pub section: &'static str,
    /// PEM file of authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the agent's own certificate and its chain, where the peer asks for one.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
}

impl PeerTls {
    /// No certificates.
    #[must_use]
    pub const fn none(section: &'static str) -> Self {
        Self {
            section,
            ca_file: None,
            certificate_file: None,
            key_file: None,
        }
    }
}

/// What all listeners together take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at most.
    pub connections: usize,
    /// Series of each measurement at most.
    pub series: usize,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// The agent's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A filter, such as `info` or `rabtrace=debug,lapin=warn`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        defaults::defaults()
    }
}
