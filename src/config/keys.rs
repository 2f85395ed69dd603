//! What a key of the configuration is, the tree of all defaults, and the example file.

use std::path::PathBuf;
use std::time::Duration;

use super::table::KEYS;
use super::{
    Api, Broker, Config, Forward, Influx, Log, LogFormat, Protocol, Receiver, Secret, Store,
};

/// What a key takes; the file must have this type, a variable or flag is read as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
}

/// How much of a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// All of it.
    Open,
    /// A URL, or several with commas between: without password and query.
    Url,
    /// Nothing of it.
    Hidden,
}

/// A value on its way into the tree.
pub(super) enum Input<'a> {
    Text(&'a str),
    Integer(i64),
}

impl Input<'_> {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Integer(_) => "",
        }
    }

    pub(super) fn integer(&self) -> i64 {
        match self {
            Self::Text(_) => 0,
            Self::Integer(number) => *number,
        }
    }
}

pub(super) type Apply = fn(&mut Config, &Input<'_>) -> Result<(), String>;

/// One key of the configuration.
pub(super) struct Key {
    /// Section and name, as the file and `--set` have it.
    pub(super) path: &'static str,
    /// What it means, for the example file.
    pub(super) doc: &'static str,
    /// Its default, as the file would have it.
    pub(super) default: &'static str,
    /// Text or integer.
    pub(super) kind: Kind,
    /// Variables that set it, the first one that is set wins.
    pub(super) env: &'static [&'static str],
    /// What is shown of it; unless all of it is, `NAME_FILE` may name a file that holds it.
    pub(super) secrecy: Secrecy,
    /// Checks a value and puts it into the tree.
    pub(super) apply: Apply,
}

/// The tree before any key is applied.
fn blank() -> Config {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        broker: Broker {
            amqp_url: Secret::default(),
            management_url: Secret::default(),
            prometheus_urls: Vec::new(),
            poll_interval: Duration::ZERO,
            poll_timeout: Duration::ZERO,
        },
        receiver: Receiver {
            grpc_listen: nowhere,
            http_listen: nowhere,
            max_body_bytes: 0,
            queue_batches: 0,
        },
        influx: Influx {
            url: None,
            org: String::new(),
            bucket: String::new(),
            token: Secret::default(),
            batch_lines: 0,
            batch_bytes: 0,
            flush_interval: Duration::ZERO,
            buffer_bytes: 0,
            timeout: Duration::ZERO,
        },
        forward: Forward {
            endpoint: None,
            protocol: Protocol::Grpc,
            headers: Vec::new(),
            buffer_bytes: 0,
            timeout: Duration::ZERO,
        },
        store: Store {
            folder: PathBuf::new(),
            retention: Duration::ZERO,
            max_bytes: 0,
        },
        api: Api {
            listen: nowhere,
            token: Secret::default(),
        },
        log: Log {
            level: String::new(),
            format: LogFormat::Text,
        },
        grafana_url: None,
    }
}

/// The tree with every default applied.
pub(super) fn defaults() -> Config {
    let mut config = blank();
    for key in KEYS {
        let input = match key.kind {
            Kind::Text => Input::Text(key.default),
            Kind::Integer => Input::Integer(key.default.parse().unwrap_or_default()),
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

/// The example file: every key with its documentation and default, commented out.
#[must_use]
pub fn example_toml() -> String {
    let mut text = String::from(
        "# rabtrace: every key, with its default. Flags win over the environment, the environment\n\
         # over this file. A variable NAME that holds a secret may be given as NAME_FILE instead.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (of, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if of != section {
            text.push_str(&format!("\n[{of}]\n"));
            section = of;
        } else {
            text.push('\n');
        }
        for line in key.doc.lines() {
            text.push_str(&format!("# {line}\n"));
        }
        if !key.env.is_empty() {
            text.push_str(&format!("# environment: {}\n", key.env.join(", ")));
        }
        match key.kind {
            Kind::Text => text.push_str(&format!("# {name} = \"{}\"\n", key.default)),
            Kind::Integer => text.push_str(&format!("# {name} = {}\n", key.default)),
        }
    }
    text
}
