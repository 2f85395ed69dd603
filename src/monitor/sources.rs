//! One round of requests: what is asked, in which order, and until when it is waited for.
//!
//! Input: the endpoints. Output: a [`Round`], what each answered. Every node's prometheus plugin
//! is asked each time, which is also how it is found again after a failure. What it does not have
//! comes from the management API: counters before 4.0 (a costly listing, asked seldom), depths
//! where the plugin is away (a cheaper one, never paged). Where neither answers the queues that
//! are known are asked for over AMQP. A source that hangs is waited for until the deadline.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Client;

use super::asking::Asking;
use super::calm::Calm;
use super::endpoint::Endpoint;
use super::failure::RequestError;
use super::known::Known;
use super::lane::{Lane, Outcome};
use super::management::{
    self, BINDINGS_PATH, Cluster, EXCHANGES_PATH, ExchangeList, NAMES_PATH, NODES_PATH,
    OVERVIEW_PATH, QUEUES_PATH, QueueList, TOTALS_PATH,
};
use super::narrow;
use super::node::Node;
use super::passive::{Passive, PassiveList};
use super::peers::Peers;
use super::prometheus::{DetailedScrape, detailed_path};
use super::round::Round;
use super::topology::Due;
use crate::config::{Broker, Statistics};
use crate::model::{BindingSample, NodeSample, PeerSample, Source};

/// A poll waits no longer for what only adds to it.
const EXTRA_WAIT: Duration = Duration::from_millis(500);
/// How often a node's aggregated numbers and the listing of nodes are asked for while all is well:
/// most of a node is in each of its answers.
pub(super) const NODE_EVERY: Duration = Duration::from_secs(60);
/// Least time between two listings of names, or of exchanges for their types.
const NAMES_EVERY: Duration = Duration::from_secs(15);
/// How much too early a request still is in time: polls are not to the millisecond.
const EARLY: Duration = Duration::from_millis(500);

/// All that is asked in a round.
pub(super) struct Sources {
    client: Client,
    timeout: Duration,
    wait: Duration,
    statistics: Statistics,
    vhosts: Vec<String>,
    /// Which queues are asked for, as a regular expression; none for all.
    only: Option<String>,
    nodes: Vec<Node>,
    management: Endpoint,
    queues: Lane<QueueList>,
    totals: Lane<QueueList>,
    names: Lane<QueueList>,
    exchanges: Lane<ExchangeList>,
    bindings: Lane<Vec<BindingSample>>,
    bindings_due: Due,
    node_list: Lane<Vec<NodeSample>>,
    overview: Lane<Cluster>,
    passive: Passive,
    declared: Lane<PassiveList>,
    calm: Calm,
    /// Whether the management API told of nodes and totals last time.
    has_totals: bool,
    /// Whether a prometheus plugin answered last time; none before the first.
    has_scrape: Option<bool>,
    has_exchanges: bool,
    /// Whether nothing told of any queue last time.
    is_lost: bool,
    aggregated_at: Option<Instant>,
    names_at: Option<Instant>,
    exchanges_at: Option<Instant>,
}

impl Sources {
    pub(super) fn new(broker: &Broker, client: Client) -> Self {
        let nodes = broker.prometheus_urls.iter();
        let nodes = nodes.map(|url| Node::new(url, (&client, broker.poll_timeout)));
        Self {
            nodes: nodes.collect(),
            client,
            timeout: broker.poll_timeout,
            wait: broker.poll_timeout.min(broker.poll_interval * 4 / 5),
            statistics: broker.statistics,
            vhosts: narrow::vhosts(&broker.selection),
            only: narrow::queues(&broker.selection),
            management: Endpoint::management(broker),
            queues: Lane::default(),
            totals: Lane::default(),
            names: Lane::default(),
            exchanges: Lane::default(),
            bindings: Lane::default(),
            bindings_due: Due::default(),
            node_list: Lane::default(),
            overview: Lane::default(),
            passive: Passive::new(&broker.amqp_url, &broker.tls),
            declared: Lane::default(),
            calm: Calm::default(),
            has_totals: false,
            has_scrape: None,
            has_exchanges: false,
            is_lost: false,
            aggregated_at: None,
            names_at: None,
            exchanges_at: None,
        }
    }

    /// Asks every source that is due.
    pub(super) async fn ask(&mut self, known: Known<'_>) -> Round {
        let begun = Instant::now();
        let deadline = begun + self.wait;
        self.ask_queues(&known, begun);
        if self.calm.is_due(begun) {
            self.ask_totals(begun);
        }
        self.ask_management(&known, begun);
        if self.has_scrape == Some(false) {
            self.ask_listings();
        }
        if self.is_lost {
            self.ask_passive(&known);
        }
        let mut round = Round {
            scrapes: self.scrapes(deadline).await,
            ..Round::default()
        };
        let answered: Vec<&DetailedScrape> = round
            .scrapes
            .iter()
            .flatten()
            .map(|reply| &reply.value)
            .collect();
        let has_scrape = !answered.is_empty();
        let has_counters = answered.iter().all(|scrape| scrape.has_counters);
        self.has_exchanges = has_scrape && answered.iter().all(|scrape| scrape.has_exchanges);
        if answered.iter().any(|scrape| scrape.is_short()) {
            self.ask_alarms();
        }
        if !has_scrape && self.has_scrape != Some(false) {
            self.ask_listings();
        } else if has_scrape {
            self.totals.rest();
            self.ask_what_is_missing(has_counters, &known, begun);
        }
        self.has_scrape = Some(has_scrape);
        let extra = deadline.min(Instant::now() + EXTRA_WAIT);
        self.collect(&mut round, if has_scrape { extra } else { deadline })
            .await;
        round.has_totals = self.has_totals;
        self.calm.observe(&round, begun);
        self.is_lost = !has_scrape && !is_ok(&round.queues) && !is_ok(&round.totals);
        if self.is_lost {
            if !self.declared.is_running() && round.passive.is_none() {
                self.ask_passive(&known);
            }
            if round.passive.is_none() {
                round.passive = self.declared.answer(deadline).await;
            }
        }
        round.is_pending = self.is_lost
            && (self.nodes.iter().any(|node| node.detailed.is_running())
                || self.totals.is_running()
                || self.declared.is_running());
        round.troubles = self.troubles();
        round.peers = self.peers(&round);
        round
    }

    /// Takes the answers of a round back: the next ones have the same names.
    pub(super) fn take_back(&mut self, round: Round) {
        for (node, outcome) in self.nodes.iter_mut().zip(round.scrapes) {
            node.take_back(outcome);
        }
    }

    fn ask_queues(&mut self, known: &Known<'_>, now: Instant) {
        let (vhosts, only) = (&self.vhosts, self.only.as_deref());
        for node in &mut self.nodes {
            node.ask(known, now, |consumers| {
                detailed_path(consumers, vhosts, only)
            });
        }
    }

    fn asking(&self) -> Asking {
        Asking::new(&self.client, &self.management, self.timeout)
    }

    /// Nodes and totals; what the nodes tell of themselves goes with it, so that one sample has both.
    fn ask_totals(&mut self, now: Instant) {
        let is_due = is_old(self.aggregated_at, NODE_EVERY, now);
        if is_due {
            self.aggregated_at = Some(now);
        }
        if is_due || !self.has_totals {
            self.nodes.iter_mut().for_each(Node::ask_aggregated);
        }
        let asking = self.asking();
        self.overview
            .ask_if_due(asking.get(OVERVIEW_PATH.to_owned(), management::overview));
        if is_due || !self.calm.is_calm(now) {
            self.ask_node_list();
        }
    }

    /// A node has too little: its alarms are of this round too, of the source that has them.
    fn ask_alarms(&mut self) {
        self.nodes.iter_mut().for_each(Node::ask_aggregated);
        self.ask_node_list();
    }

    fn ask_node_list(&mut self) {
        if !self.node_list.is_running() {
            let listing = self.asking().get(NODES_PATH.to_owned(), management::nodes);
            self.node_list.ask_if_due(listing);
        }
    }

    fn ask_management(&mut self, known: &Known<'_>, now: Instant) {
        let asking = self.asking();
        if self.bindings_due.is_due(known.changes, now) {
            let get = asking.clone();
            let paths = management::paths(BINDINGS_PATH, &self.vhosts);
            self.bindings
                .ask_if_due(get.get_all(paths, management::bindings, Vec::extend));
        }
        // Nodes that count exchanges do not say of which type they are.
        let is_due = is_old(self.exchanges_at, NAMES_EVERY, now) && known.has_untyped_exchanges;
        if !self.has_exchanges || is_due {
            self.exchanges_at = Some(now);
            let paths = management::paths(EXCHANGES_PATH, &self.vhosts);
            self.exchanges.ask_if_due(asking.get_all(
                paths,
                management::exchanges,
                ExchangeList::extend,
            ));
        }
    }

    /// A listing of queues.
    fn queues_at(
        &self,
        path: &str,
    ) -> impl Future<Output = Outcome<QueueList>> + Send + 'static + use<> {
        let paths = management::paths(path, &self.vhosts);
        let asking = self.asking();
        asking.get_all(paths, management::queues, QueueList::extend)
    }

    fn ask_listings(&mut self) {
        let listing = self.queues_at(TOTALS_PATH);
        self.totals.ask(listing);
        self.ask_statistics();
    }

    fn ask_statistics(&mut self) {
        if self.statistics == Statistics::Auto {
            let listing = self.queues_at(QUEUES_PATH);
            self.queues.ask_if_due(listing);
        }
    }

    /// What prometheus does not have: counters before 4.0, and the types of queues.
    fn ask_what_is_missing(&mut self, has_counters: bool, known: &Known<'_>, now: Instant) {
        if has_counters {
            self.queues.rest();
        } else {
            self.ask_statistics();
        }
        let is_due = is_old(self.names_at, NAMES_EVERY, now);
        let is_told = !has_counters && self.queues.is_running();
        let is_first = has_counters && self.names_at.is_none();
        if is_due && !is_told && (known.has_untyped || is_first) {
            self.names_at = Some(now);
            let listing = self.queues_at(NAMES_PATH);
            self.names.ask_if_due(listing);
        }
    }

    fn ask_passive(&mut self, known: &Known<'_>) {
        let names = (known.names)();
        if !names.is_empty() {
            self.declared
                .ask(self.passive.clone().ask(names, self.timeout));
        }
    }

    async fn scrapes(&mut self, deadline: Instant) -> Vec<Outcome<DetailedScrape>> {
        let wait = self.wait;
        let nodes = self.nodes.iter_mut();
        join_all(nodes.map(|node| node.answer(deadline, wait))).await
    }

    async fn collect(&mut self, round: &mut Round, deadline: Instant) {
        let aggregated = join_all(
            self.nodes
                .iter_mut()
                .map(|node| node.aggregated.answer(deadline)),
        );
        let (aggregated, queues, totals, names, exchanges, bindings, nodes, overview) = tokio::join!(
            aggregated,
            self.queues.answer(deadline),
            self.totals.answer(deadline),
            self.names.answer(deadline),
            self.exchanges.answer(deadline),
            self.bindings.answer(deadline),
            self.node_list.answer(deadline),
            self.overview.answer(deadline),
        );
        self.has_totals = self.node_list.trouble().is_none()
            && self.overview.trouble().is_none()
            && (self.has_totals || matches!((&nodes, &overview), (Some(Ok(_)), Some(Ok(_)))));
        round.node_scrapes = aggregated.into_iter().flatten().collect();
        (round.queues, round.totals, round.names) = (queues, totals, names);
        (round.exchanges, round.bindings) = (exchanges, bindings);
        (round.nodes, round.overview) = (nodes, overview);
        // What asks in the background is taken when it is there.
        if self.declared.is_running() {
            round.passive = self.declared.answer(Instant::now()).await;
        }
    }

    /// One of the management API is enough: the others fail for the same reason.
    fn troubles(&self) -> Vec<RequestError> {
        let management = [
            self.totals.trouble(),
            self.queues.trouble(),
            self.overview.trouble(),
            self.node_list.trouble(),
            self.exchanges.trouble(),
        ];
        let prometheus = self.nodes.iter().filter_map(|node| node.detailed.trouble());
        let passive = self.declared.trouble().filter(|_| self.is_lost);
        prometheus
            .chain(management.into_iter().flatten().take(1))
            .chain(passive)
            .cloned()
            .collect()
    }

    fn peers(&self, round: &Round) -> Vec<PeerSample> {
        let mut peers = Peers::default();
        for (node, outcome) in self.nodes.iter().zip(&round.scrapes) {
            peers.scrape(node.endpoint.host(), &node.detailed, outcome);
        }
        let host = self.management.host();
        peers.listing((host, Source::Totals), &self.totals, round.totals.as_ref());
        peers.listing(
            (host, Source::Management),
            &self.queues,
            round.queues.as_ref(),
        );
        peers.passive(&self.passive.host(), &self.declared, round.passive.as_ref());
        peers.done()
    }
}

fn is_ok<T>(outcome: &Option<Outcome<T>>) -> bool {
    matches!(outcome, Some(Ok(_)))
}

/// Whether so much time went by since, or it never was.
pub(super) fn is_old(at: Option<Instant>, age: Duration, now: Instant) -> bool {
    at.is_none_or(|at| now.saturating_duration_since(at) + EARLY >= age)
}
