//! The programs at the other end: one process per call, which ends by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rabtrace::demo::broker::Broker;
use serde::Deserialize;
use tokio::process::Command;

use crate::support::python;

/// Within this time a peer has started, done its work and ended.
const DEADLINE: Duration = Duration::from_secs(60);

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/interop");

/// A program of this folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Pika,
    AioPika,
    Amqplib,
    /// pika without instrumentation.
    Plain,
}

/// A message as a peer handled it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    /// Those that are text.
    pub(crate) headers: BTreeMap<String, String>,
    /// What the peer read from the header, or was active around its handler.
    pub(crate) baggage: BTreeMap<String, String>,
    /// The peer's names for the types of the headers.
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// A span that a peer ended.
#[derive(Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) span: String,
    pub(crate) parent: Option<String>,
    pub(crate) kind: String,
    pub(crate) attributes: BTreeMap<String, serde_json::Value>,
    pub(crate) links: Vec<String>,
}

/// What a peer printed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) messages: Vec<Message>,
    pub(crate) spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Message(Message),
    Span(Span),
}

impl Peer {
    fn command(self) -> Command {
        let script = Path::new(FOLDER).join(match self {
            Self::Pika => "pika_peer.py",
            Self::AioPika => "aio_pika_peer.py",
            Self::Amqplib => "amqplib_peer.cjs",
            Self::Plain => "plain_peer.py",
        });
        let mut command = match self {
            Self::Amqplib => Command::new(node()),
            Self::Pika | Self::AioPika | Self::Plain => Command::new(python()),
        };
        command.arg(script).kill_on_drop(true);
        // No compiled files beside the scripts, and nothing that configures the SDKs.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs it with these arguments to its end.
    pub(crate) async fn run(self, broker: &Broker, words: &[&str]) -> Report {
        let mut command = self.command();
        command.arg(broker.amqp_url()).args(words);
        let output = tokio::time::timeout(DEADLINE, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("not done within {DEADLINE:?}: {command:?}"));
        let output = output.unwrap_or_else(|error| {
            panic!("{command:?} cannot be started: {error}; `make test` installs it")
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        // An instrumentation that fails inside says so in a log and goes on.
        assert!(
            output.status.success() && errors.is_empty(),
            "{command:?} ({}; `make test` installs what it needs): {errors}",
            output.status
        );
        let mut report = Report::default();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            match serde_json::from_str(line).unwrap() {
                Line::Message(message) => report.messages.push(message),
                Line::Span(span) => report.spans.push(span),
            }
        }
        report
    }
}

impl Report {
    /// The only span that has none below it: the one whose context was sent last. (pika's
    /// instrumentation has two for a publish, one within the other.)
    pub(crate) fn innermost(&self) -> &Span {
        let is_parent = |span: &&Span| {
            let id = Some(&span.span);
            self.spans.iter().any(|child| child.parent.as_ref() == id)
        };
        let mut leaves = self.spans.iter().filter(|span| !is_parent(span));
        let leaf = leaves.next().expect("no span");
        assert!(leaves.next().is_none(), "{self:#?}");
        leaf
    }

    /// The span above this one, and above that one, up to the one whose parent is elsewhere.
    pub(crate) fn outermost<'a>(&'a self, span: &'a Span) -> &'a Span {
        let mut above = self.spans.iter();
        match above.find(|above| span.parent.as_ref() == Some(&above.span)) {
            Some(above) => self.outermost(above),
            None => span,
        }
    }

    /// The only message.
    pub(crate) fn message(&self) -> &Message {
        assert_eq!(self.messages.len(), 1, "{self:#?}");
        &self.messages[0]
    }
}

/// The Node.js of the tests' virtual environment, which `make test` lays out.
pub(crate) fn node() -> PathBuf {
    let chosen = std::env::var_os("RABTRACE_TEST_NODE").map(PathBuf::from);
    chosen.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/node"))
}
