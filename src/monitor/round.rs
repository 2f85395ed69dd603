//! What the sources answered in one round.

use super::failure::RequestError;
pub(super) use super::lane::{Outcome, Reply};
use super::management::{Cluster, ExchangeList, QueueList};
use super::passive::PassiveList;
use super::prometheus::{DetailedScrape, NodeScrape};
use crate::model::{BindingSample, NodeSample, PeerSample};

/// What every source answered; `None` was not asked this time, or has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) scrapes: Vec<Outcome<DetailedScrape>>,
    pub(super) node_scrapes: Vec<Outcome<NodeScrape>>,
    /// The listing with statistics.
    pub(super) queues: Option<Outcome<QueueList>>,
    /// The listing with depths.
    pub(super) totals: Option<Outcome<QueueList>>,
    /// The listing of names and types.
    pub(super) names: Option<Outcome<QueueList>>,
    pub(super) passive: Option<Outcome<PassiveList>>,
    pub(super) exchanges: Option<Outcome<ExchangeList>>,
    pub(super) bindings: Option<Outcome<Vec<BindingSample>>>,
    pub(super) nodes: Option<Outcome<Vec<NodeSample>>>,
    pub(super) overview: Option<Outcome<Cluster>>,
    /// Whether the management API tells of nodes and totals, though not in every round.
    pub(super) has_totals: bool,
    /// How each was asked.
    pub(super) peers: Vec<PeerSample>,
    /// What does not work, of prometheus and of management.
    pub(super) troubles: Vec<RequestError>,
    /// Whether an answer is still to come that this round would have needed.
    pub(super) is_pending: bool,
}
