//! How each peer was asked in a round, as samples of its own.

use std::sync::Arc;

use super::lane::{Lane, Outcome};
use super::management::QueueList;
use super::passive::PassiveList;
use super::prometheus::DetailedScrape;
use crate::model::{PeerSample, Source};

/// The samples of one round.
#[derive(Debug, Default)]
pub(super) struct Peers(Vec<PeerSample>);

impl Peers {
    /// A node's prometheus plugin; `host` names it until it has said its name.
    pub(super) fn scrape(
        &mut self,
        host: &str,
        lane: &Lane<DetailedScrape>,
        outcome: &Outcome<DetailedScrape>,
    ) {
        let mut peer = peer(Source::Prometheus, host, lane, Some(outcome));
        if let Ok(reply) = outcome {
            if let Some(node) = &reply.value.node {
                peer.node = node.clone();
            }
            (peer.rows, peer.bad_rows) = (reply.value.rows, reply.value.bad_rows);
        }
        self.0.push(peer);
    }

    /// A listing of the management API, if it was asked for.
    pub(super) fn listing(
        &mut self,
        (host, source): (&str, Source),
        lane: &Lane<QueueList>,
        outcome: Option<&Outcome<QueueList>>,
    ) {
        if outcome.is_none() && !lane.is_running() {
            return;
        }
        let mut peer = peer(source, host, lane, outcome);
        if let Some(Ok(reply)) = outcome {
            peer.rows = reply.value.queues.len() as u64;
            peer.bad_rows = reply.value.bad_rows;
        }
        self.0.push(peer);
    }

    /// The broker itself, if it was asked for queues.
    pub(super) fn passive(
        &mut self,
        host: &str,
        lane: &Lane<PassiveList>,
        outcome: Option<&Outcome<PassiveList>>,
    ) {
        if outcome.is_none() && !lane.is_running() {
            return;
        }
        let mut peer = peer(Source::Passive, host, lane, outcome);
        if let Some(Ok(reply)) = outcome {
            peer.rows = reply.value.queues.len() as u64;
            peer.bad_rows = reply.value.missing;
        }
        self.0.push(peer);
    }

    pub(super) fn done(self) -> Vec<PeerSample> {
        self.0
    }
}

fn peer<T>(source: Source, host: &str, lane: &Lane<T>, outcome: Option<&Outcome<T>>) -> PeerSample {
    let reply = outcome.and_then(|outcome| outcome.as_ref().ok());
    let trouble = match outcome {
        Some(Ok(_)) => None,
        Some(Err(error)) => Some(error),
        None => lane.trouble(),
    };
    PeerSample {
        source,
        node: Arc::from(host),
        // One that is still to answer is neither: it is up until it fails.
        up: trouble.is_none(),
        duration: reply.and_then(|_| lane.took()),
        bytes: reply.map_or(0, |reply| reply.bytes),
        rows: 0,
        bad_rows: 0,
        skipped: lane.skipped(),
        http_status: match (reply, trouble) {
            (Some(_), _) if source != Source::Passive => Some(200),
            (_, trouble) => trouble.and_then(super::failure::RequestError::http_status),
        },
        error: trouble.map(super::failure::RequestError::word),
    }
}
