//! The tree of all defaults.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::{Input, Kind};
use super::table::KEYS;
use super::{
    Agent, Api, Broker, Config, Forward, Influx, Limits, Log, LogFormat, PeerTls, Protocol,
    Receiver, Secret, Selection, Spool, Statistics, Store, Tls,
};

/// The tree before any key is applied.
fn blank() -> Config {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        agent: Agent {
            instance: String::new(),
        },
        broker: Broker {
            amqp_url: Secret::default(),
            management_url: Secret::default(),
            prometheus_urls: Vec::new(),
            poll_interval: Duration::ZERO,
            poll_timeout: Duration::ZERO,
            statistics: Statistics::Auto,
            watch_queues: Vec::new(),
            watch_interval: Duration::ZERO,
            selection: Selection::default(),
            tls: PeerTls::none("broker"),
        },
        receiver: Receiver {
            grpc_listen: nowhere,
            http_listen: nowhere,
            max_body_bytes: 0,
            max_in_flight_bytes: 0,
            queue_batches: 0,
            token: Secret::default(),
        },
        influx: influx(),
        forward: Forward {
            endpoint: None,
            protocol: Protocol::Grpc,
            headers: Vec::new(),
            buffer_bytes: 0,
            timeout: Duration::ZERO,
            tls: PeerTls::none("forward"),
        },
        store: Store {
            folder: PathBuf::new(),
            retention: Duration::ZERO,
            max_bytes: 0,
            spans: true,
        },
        spool: Spool {
            folder: PathBuf::new(),
            max_bytes: 0,
            dead_letter_bytes: 0,
        },
        api: Api {
            listen: nowhere,
            token: Secret::default(),
        },
        tls: Tls::default(),
        limits: Limits {
            connections: 0,
            series: 0,
        },
        log: Log {
            level: String::new(),
            format: LogFormat::Text,
        },
        grafana_url: None,
    }
}

fn influx() -> Influx {
    Influx {
        url: None,
        org: String::new(),
        bucket: String::new(),
        token: Secret::default(),
        batch_lines: 0,
        batch_bytes: 0,
        flush_interval: Duration::ZERO,
        buffer_bytes: 0,
        timeout: Duration::ZERO,
        tls: PeerTls::none("influx"),
    }
}

/// The tree with every default applied.
pub(super) fn defaults() -> Config {
    let mut config = blank();
    for key in KEYS {
        let input = match key.kind {
            Kind::Text => Input::Text(key.default),
            Kind::Integer => Input::Integer(key.default.parse().unwrap_or_default()),
            Kind::Boolean => Input::Boolean(key.default == "true"),
        };
        let applied = (key.apply)(&mut config, &input);
        debug_assert!(
            applied.is_ok(),
            "the default of {} is wrong: {applied:?}",
            key.path
        );
    }
    config
}
