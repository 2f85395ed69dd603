//! The agent: the only place that wires parts together and starts tasks.
//!
//! [`App::build`] binds every listener and opens the store, so that what cannot work is told
//! before anything runs; [`App::run`] runs until it is told to stop, then stops in order: inputs,
//! flow, sinks, API. The store hears of it with the inputs, so that a disk that takes nothing holds
//! nothing up.

mod listeners;
mod reload;
mod room;
mod running;
mod settings;
mod spools;
mod watching;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{Addresses, Api, ApiSetup, ReloadBoard};
use crate::config::Config;
use crate::flow::{FlowTask, InfluxQueue, Sinks};
use crate::forward::{Forward, ForwardSetup, spool_numbers};
use crate::health::Health;
use crate::influx::{Influx, InfluxSetup, Keeper, KeeperSetup};
use crate::metrics::Metrics;
use crate::model::{Batch, BrokerSnapshot, Budget};
use crate::receiver::{self, Intake};
use crate::serve::Access;
use crate::spool::{DeadLetter, DeadLetterTask, Spool, Writer};
use crate::store::{Reader, Store};
use crate::tls::{self, Material};

use listeners::Listeners;
use reload::Reloader;
pub use reload::{Load, Reload, SetLogLevel};
pub(crate) use room::room;
use running::{Running, Stage};
use settings::{Prepared, Settings};
use spools::{Ends, Spools, Watched};
use watching::Watching;

/// Width of the windows of path statistics.
const WINDOW: Duration = Duration::from_secs(10);

/// The agent, ready to run.
pub struct App {
    config: Config,
    listeners: Listeners,
    store: Store,
    spools: Spools,
    settings: Settings,
    reload: Option<Reload>,
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
        let settings = Settings::new(Prepared::new(&config, None)?);
        let listeners = Listeners::bind(&config).await?;
        let begun = Instant::now();
        let store = Store::open(&config.store, SystemTime::now)?;
        let health = Health::default();
        // It was opened and written just now: the agent is ready without waiting for data.
        health.component("store").healthy(begun.elapsed());
        let metrics = Metrics::new()?;
        let spools = Spools::open(&config, &metrics)?;
        for failure in room(&config)
            .iter()
            .filter_map(|(_, disk)| disk.outcome.as_ref().err())
        {
            tracing::warn!(
                why = failure.why,
                fix = failure.fix,
                "the disk may become full"
            );
        }
        Ok(Self {
            config,
            listeners,
            store,
            spools,
            settings,
            reload: None,
            health,
            metrics,
            window: WINDOW,
        })
    }

    /// The same, and it reloads its configuration when it is asked to.
    #[must_use]
    pub fn with_reload(mut self, reload: Reload) -> Self {
        self.reload = Some(reload);
        self
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
        let Self {
            config,
            listeners,
            mut store,
            spools,
            settings,
            reload,
            health,
            metrics,
            window,
        } = self;
        let (grpc, http, api) = (listeners.grpc, listeners.http, listeners.api);
        let parts = Parts {
            config: &config,
            settings: &settings,
            health: &health,
            metrics: &metrics,
        };
        let access = Access::new(settings.tls(), &config.limits, metrics.clone());
        let resume = store.resume(window, config.influx.url.is_some())?;
        let watched = spools.watched();
        let dead_letters = spools.dead_letters();
        let otlp = access.with_token(settings.receiver_token());
        let inputs = parts.inputs(&mut running, Inputs::new((grpc, http), otlp, &spools));
        let sinks = parts.sinks(&mut running, store, spools)?;
        parts.watch(&mut running, watched.clone());
        let flow = FlowTask {
            batches: inputs.0,
            polls: inputs.1,
            sinks,
            window,
            max_series: config.limits.series,
            instance: config.agent.instance.as_str().into(),
            resume,
            metrics: metrics.clone(),
            clock: SystemTime::now,
            stop: running.token(Stage::Flow),
        };
        running.spawn(Stage::Flow, "flow", done(flow.run()));
        let board = ReloadBoard::default();
        let setup = ApiSetup {
            access: access.with_token(settings.api_token()),
            reloads: board.clone(),
            reader,
            health: health.clone(),
            metrics: metrics.clone(),
            addresses: listeners.addresses,
            dead_letters,
            clock: SystemTime::now,
        };
        let api_stop = running.token(Stage::Api);
        running.spawn(Stage::Api, "api", Api::new(setup).serve(api, api_stop));
        Reloader::new((settings, reload), board, (health, metrics)).start(&mut running);
        let outcome = running.until(stop).await;
        watched.closed().await;
        outcome
    }
}

/// Where requests come in, and where they are kept for the sinks.
struct Inputs {
    grpc: TcpListener,
    http: TcpListener,
    access: Access,
    spool: Option<Writer>,
    points: Option<Spool>,
}

impl Inputs {
    fn new((grpc, http): (TcpListener, TcpListener), access: Access, spools: &Spools) -> Self {
        let (forward, influx) = (spools.forward.as_ref(), spools.influx.as_ref());
        Self {
            grpc,
            http,
            access,
            spool: forward.map(|ends| ends.writer.clone()),
            points: influx.map(|ends| ends.writer.spool()),
        }
    }
}

/// What the parts are made of.
struct Parts<'a> {
    config: &'a Config,
    settings: &'a Settings,
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
            access,
            spool,
            points,
        } = inputs;
        let intake = Intake::new(batches, receiver.max_body_bytes, self.metrics.clone());
        let budget = Budget::new(receiver.max_in_flight_bytes as u64);
        self.metrics.show_in_flight(&budget);
        let intake = intake.with_budget(budget);
        let intake = intake.with_spool(spool).with_points(points);
        let intake = match self.config.store.spans {
            true => intake.with_stored_spans(),
            false => intake,
        };
        let intake = intake.with_access(access);
        let serve = receiver::serve_grpc(grpc, intake.clone(), stop.clone());
        running.spawn(Stage::Inputs, "receiver (gRPC)", serve);
        let serve = receiver::serve_http(http, intake, stop.clone());
        running.spawn(Stage::Inputs, "receiver (HTTP)", serve);
        let monitor = Watching {
            settings: self.settings.broker(),
            metrics: self.metrics.clone(),
            component: self.health.component("rabbitmq"),
        };
        running.spawn(Stage::Inputs, "monitor", done(monitor.run(polls, stop)));
        (batches_in, polls_in)
    }

    /// Starts what the flow feeds: the store, and the sinks that are configured.
    fn sinks(&self, running: &mut Running, store: Store, spools: Spools) -> anyhow::Result<Sinks> {
        let (store_out, store_in) = mpsc::channel(16);
        let writer = store.writer(self.metrics.clone(), self.health.component("store"));
        let writer = writer.following(self.settings.store());
        // From the first moment of the stop a disk that takes nothing no longer holds the flow up.
        let stopping = running.token(Stage::Inputs);
        let write = writer.run(store_in, stopping);
        running.spawn(Stage::Sinks, "store", done(write));
        let mut sinks = Sinks {
            store: store_out,
            stores_spans: self.config.store.spans,
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
        let settings = self.settings.influx();
        let influx = Influx::new(InfluxSetup {
            config: self.config.influx.clone(),
            client: settings.borrow().client.clone(),
            metrics: self.metrics.clone(),
            component: self.health.component("influxdb"),
            dead_letter: dead_letter(running, ends.dead_letter),
        });
        let influx = influx.following(settings);
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
    ) -> anyhow::Result<mpsc::Sender<(u32, Bytes)>> {
        // A poll of 20,000 queues and as many exchanges.
        let (requests, requests_in) = mpsc::channel(24);
        let settings = self.settings.forward();
        let forward = Forward::new(ForwardSetup {
            config: self.config.forward.clone(),
            client: settings.borrow().client.clone(),
            metrics: self.metrics.clone(),
            component: self.health.component("upstream"),
            dead_letter: dead_letter(running, ends.dead_letter),
        })?;
        let forward = forward.following(settings);
        let stop = running.token(Stage::Sinks);
        let send = forward.run(ends.reader, stop);
        running.spawn(Stage::Sinks, "forward", done(send));
        let keep = spool_numbers(requests_in, ends.writer, self.metrics.clone());
        running.spawn(Stage::Sinks, "forward (numbers)", done(keep));
        Ok(requests)
    }
}

/// Starts what writes the sink's dead letters, if they are kept.
fn dead_letter(
    running: &mut Running,
    opened: Option<(DeadLetter, DeadLetterTask)>,
) -> Option<DeadLetter> {
    let (dead_letter, task) = opened?;
    running.spawn(Stage::Sinks, "dead letters", done(task.run()));
    Some(dead_letter)
}

/// A client with no certificates but the system's, by way of `HTTP_PROXY` if it is set.
///
/// # Errors
/// If TLS cannot be set up.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    Material::default().http_client()
}

/// The same without a proxy, for this machine: a proxy would ask its own.
///
/// # Errors
/// If TLS cannot be set up.
pub fn direct_http_client() -> anyhow::Result<reqwest::Client> {
    Ok(tls::builder().no_proxy().build()?)
}

async fn done(work: impl Future<Output = ()>) -> std::io::Result<()> {
    work.await;
    Ok(())
}
