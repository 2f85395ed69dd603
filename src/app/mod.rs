//! The agent: the only place that wires parts together and starts tasks.
//!
//! [`App::build`] binds every listener and opens the store, so that what cannot work is told
//! before anything runs; [`App::run`] runs until it is told to stop, then stops in order: inputs,
//! flow, sinks, API.

mod listeners;
mod running;
mod spools;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{Addresses, Api, ApiSetup};
use crate::config::Config;
use crate::flow::{FlowTask, InfluxQueue, Sinks};
use crate::forward::{Forward, ForwardSetup, spool_numbers};
use crate::health::Health;
use crate::influx::{Influx, InfluxSetup, Keeper, KeeperSetup};
use crate::metrics::Metrics;
use crate::model::{Batch, BrokerSnapshot, Signal};
use crate::monitor::{Monitor, MonitorSetup};
use crate::receiver::{self, Intake};
use crate::spool::{Spool, Writer};
use crate::store::{Reader, Store};

use listeners::Listeners;
use running::{Running, Stage};
use spools::{Ends, Spools, Watched};

/// Width of the windows of path statistics.
const WINDOW: Duration = Duration::from_secs(10);

/// The agent, ready to run.
pub struct App {
    config: Config,
    listeners: Listeners,
    store: Store,
    spools: Spools,
    client: reqwest::Client,
    health: Health,
    metrics: Metrics,
    window: Duration,
}

impl App {
    /// Binds the listeners and opens the store, and the spool of each sink that is configured.
    ///
    /// # Errors
    /// A port in use, a store or spool that cannot be opened: each with its key and what to do.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&config).await?;
        let begun = Instant::now();
        let store = Store::open(&config.store, SystemTime::now)?;
        let health = Health::default();
        // It was opened and written just now: the agent is ready without waiting for data.
        health.component("store").healthy(begun.elapsed());
        let metrics = Metrics::new()?;
        let spools = Spools::open(&config, &metrics)?;
        let client = http_client()?;
        Ok(Self {
            config,
            listeners,
            store,
            spools,
            client,
            health,
            metrics,
            window: WINDOW,
        })
    }

    /// The same with windows of another width, for those who cannot wait ten seconds.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.listeners.addresses
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Reads what it stores.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn reader(&self) -> anyhow::Result<Reader> {
        Ok(Reader::open(&self.config.store.file())?)
    }

    /// Runs until `stop`, then stops in order.
    ///
    /// # Errors
    /// If a part ends that should not.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut running = Running::default();
        let reader = self.reader()?;
        let addresses = self.addresses();
        let Self {
            config,
            listeners,
            mut store,
            spools,
            client,
            health,
            metrics,
            window,
        } = self;
        let Listeners {
            grpc, http, api, ..
        } = listeners;
        let parts = Parts {
            config: &config,
            client: &client,
            health: &health,
            metrics: &metrics,
        };
        let resume = store.resume(window, config.influx.url.is_some())?;
        let watched = spools.watched();
        let inputs = Inputs::new(grpc, http, &spools);
        let (batches, polls) = parts.inputs(&mut running, inputs);
        let sinks = parts.sinks(&mut running, store, spools)?;
        parts.watch(&mut running, watched.clone());
        let flow = FlowTask {
            batches,
            polls,
            sinks,
            window,
            instance: config.agent.instance.as_str().into(),
            resume,
            metrics: metrics.clone(),
            clock: SystemTime::now,
            stop: running.token(Stage::Flow),
        };
        running.spawn(Stage::Flow, "flow", done(flow.run()));
        let token = config.api.token.clone();
        let setup = ApiSetup {
            token,
            reader,
            health,
            metrics,
            addresses,
            clock: SystemTime::now,
        };
        let api_stop = running.token(Stage::Api);
        running.spawn(Stage::Api, "api", Api::new(setup).serve(api, api_stop));
        let outcome = running.until(stop).await;
        watched.closed().await;
        outcome
    }
}

/// Where requests come in, and where they are kept for the sinks.
struct Inputs {
    grpc: TcpListener,
    http: TcpListener,
    spool: Option<Writer>,
    points: Option<Spool>,
}

impl Inputs {
    fn new(grpc: TcpListener, http: TcpListener, spools: &Spools) -> Self {
        let (forward, influx) = (spools.forward.as_ref(), spools.influx.as_ref());
        Self {
            grpc,
            http,
            spool: forward.map(|ends| ends.writer.clone()),
            points: influx.map(|ends| ends.writer.spool()),
        }
    }
}

/// What the parts are made of.
struct Parts<'a> {
    config: &'a Config,
    client: &'a reqwest::Client,
    health: &'a Health,
    metrics: &'a Metrics,
}

impl Parts<'_> {
    /// Starts what feeds the flow: both receivers and the monitor.
    fn inputs(
        &self,
        running: &mut Running,
        inputs: Inputs,
    ) -> (mpsc::Receiver<Batch>, mpsc::Receiver<BrokerSnapshot>) {
        let receiver = &self.config.receiver;
        let (batches, batches_in) = mpsc::channel(receiver.queue_batches);
        let (polls, polls_in) = mpsc::channel(2);
        let stop = running.token(Stage::Inputs);
        let Inputs {
            grpc,
            http,
            spool,
            points,
        } = inputs;
        let intake = Intake::new(batches, receiver.max_body_bytes, self.metrics.clone());
        let intake = intake.with_spool(spool).with_points(points);
        let serve = receiver::serve_grpc(grpc, intake.clone(), stop.clone());
        running.spawn(Stage::Inputs, "receiver (gRPC)", serve);
        let serve = receiver::serve_http(http, intake, stop.clone());
        running.spawn(Stage::Inputs, "receiver (HTTP)", serve);
        let monitor = Monitor::new(MonitorSetup {
            broker: self.config.broker.clone(),
            client: self.client.clone(),
            clock: SystemTime::now,
            metrics: self.metrics.clone(),
            component: self.health.component("rabbitmq"),
        });
        running.spawn(Stage::Inputs, "monitor", done(monitor.run(polls, stop)));
        (batches_in, polls_in)
    }

    /// Starts what the flow feeds: the store, and the sinks that are configured.
    fn sinks(&self, running: &mut Running, store: Store, spools: Spools) -> anyhow::Result<Sinks> {
        let stop = running.token(Stage::Sinks);
        let (store_out, store_in) = mpsc::channel(16);
        let writer = store.writer(self.metrics.clone(), self.health.component("store"));
        running.spawn(
            Stage::Sinks,
            "store",
            done(writer.run(store_in, stop.clone())),
        );
        let mut sinks = Sinks {
            store: store_out,
            influx: None,
            forward: None,
        };
        if let Some(ends) = spools.influx {
            sinks.influx = Some(self.influx(running, ends));
        }
        if let Some(ends) = spools.forward {
            sinks.forward = Some(self.forward(running, ends)?);
        }
        Ok(sinks)
    }

    /// Starts what tells how the spools are, if there are any.
    fn watch(&self, running: &mut Running, watched: Watched) {
        if !watched.is_empty() {
            let stop = running.token(Stage::Sinks);
            let watch = watched.run(self.health.component("spool"), stop);
            running.spawn(Stage::Sinks, "spool", done(watch));
        }
    }

    /// Starts what puts points into the spool, and what writes them from there to InfluxDB.
    fn influx(&self, running: &mut Running, ends: Ends) -> InfluxQueue {
        let (points, points_in) = mpsc::channel(64);
        let keeper = Keeper::new(KeeperSetup {
            config: self.config.influx.clone(),
            spool: ends.writer,
            metrics: self.metrics.clone(),
        });
        let kept = keeper.done();
        let keep = keeper.run(points_in);
        running.spawn(Stage::Sinks, "influx (spool)", done(keep));
        let influx = Influx::new(InfluxSetup {
            config: self.config.influx.clone(),
            client: self.client.clone(),
            metrics: self.metrics.clone(),
            component: self.health.component("influxdb"),
        });
        let write = influx.run(ends.reader, running.token(Stage::Sinks));
        running.spawn(Stage::Sinks, "influx", done(write));
        InfluxQueue { points, done: kept }
    }

    /// Starts what sends the spool's requests to the upstream; the monitor's numbers go into the
    /// spool by what comes back.
    fn forward(
        &self,
        running: &mut Running,
        ends: Ends,
    ) -> anyhow::Result<mpsc::Sender<(Signal, Bytes)>> {
        let (requests, requests_in) = mpsc::channel(4);
        let forward = Forward::new(ForwardSetup {
            config: self.config.forward.clone(),
            client: self.client.clone(),
            metrics: self.metrics.clone(),
            component: self.health.component("upstream"),
        })?;
        let stop = running.token(Stage::Sinks);
        let send = forward.run(ends.reader, stop);
        running.spawn(Stage::Sinks, "forward", done(send));
        let keep = spool_numbers(requests_in, ends.writer, self.metrics.clone());
        running.spawn(Stage::Sinks, "forward (numbers)", done(keep));
        Ok(requests)
    }
}

/// The client of everything that is asked over HTTP, by way of `HTTP_PROXY` if it is set.
///
/// # Errors
/// If TLS cannot be set up.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    Ok(client_builder().build()?)
}

/// The same without a proxy, for the agent on this machine: a proxy would ask its own.
///
/// # Errors
/// If TLS cannot be set up.
pub fn direct_http_client() -> anyhow::Result<reqwest::Client> {
    Ok(client_builder().no_proxy().build()?)
}

fn client_builder() -> reqwest::ClientBuilder {
    // Another part of the process may have chosen a provider before: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("rabtrace/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder()
        .user_agent(agent)
        .connect_timeout(Duration::from_secs(5))
}

async fn done(work: impl Future<Output = ()>) -> std::io::Result<()> {
    work.await;
    Ok(())
}
