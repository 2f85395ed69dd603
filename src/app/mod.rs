//! The agent: the only place that wires parts together and starts tasks.
//!
//! [`App::build`] binds every listener and opens the store, so that what cannot work is told
//! before anything runs; [`App::run`] runs until it is told to stop, then stops in order: inputs,
//! flow, sinks, API.

mod listeners;
mod running;

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{Addresses, Api, ApiSetup};
use crate::config::Config;
use crate::flow::{FlowTask, Sinks};
use crate::forward::{Forward, ForwardSetup};
use crate::health::Health;
use crate::influx::{Influx, InfluxSetup};
use crate::metrics::Metrics;
use crate::monitor::{Monitor, MonitorSetup};
use crate::receiver::{self, Intake};
use crate::store::{Reader, Store};

use listeners::Listeners;
use running::{Running, Stage};

/// Width of the windows of path statistics.
const WINDOW: Duration = Duration::from_secs(10);

/// The agent, ready to run.
pub struct App {
    config: Config,
    listeners: Listeners,
    store: Store,
    client: reqwest::Client,
    health: Health,
    metrics: Metrics,
    window: Duration,
}

impl App {
    /// Binds the listeners and opens the store.
    ///
    /// # Errors
    /// A port in use, a store that cannot be opened: each with its key and what to do.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&config).await?;
        let store = Store::open(&config.store, SystemTime::now)?;
        let metrics = Metrics::new()?;
        let client = http_client()?;
        Ok(Self {
            config,
            listeners,
            store,
            client,
            health: Health::default(),
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
            store,
            client,
            health,
            metrics,
            window,
        } = self;
        let (batches, batches_in) = mpsc::channel(config.receiver.queue_batches);
        let (polls, polls_in) = mpsc::channel(2);
        let (store_out, store_in) = mpsc::channel(16);

        let intake = Intake::new(batches, config.receiver.max_body_bytes, metrics.clone());
        let inputs = running.token(Stage::Inputs);
        running.spawn(
            Stage::Inputs,
            "receiver (gRPC)",
            receiver::serve_grpc(listeners.grpc, intake.clone(), inputs.clone()),
        );
        running.spawn(
            Stage::Inputs,
            "receiver (HTTP)",
            receiver::serve_http(listeners.http, intake, inputs.clone()),
        );
        let monitor = Monitor::new(MonitorSetup {
            broker: config.broker.clone(),
            client: client.clone(),
            clock: SystemTime::now,
            metrics: metrics.clone(),
            component: health.component("rabbitmq"),
        });
        running.spawn(Stage::Inputs, "monitor", done(monitor.run(polls, inputs)));

        let sinks = running.token(Stage::Sinks);
        let mut outputs = Sinks {
            store: store_out,
            influx: None,
            forward: None,
        };
        if config.influx.url.is_some() {
            let (points, points_in) = mpsc::channel(64);
            let setup = InfluxSetup {
                config: config.influx.clone(),
                client: client.clone(),
                metrics: metrics.clone(),
                component: health.component("influxdb"),
            };
            running.spawn(
                Stage::Sinks,
                "influx",
                done(Influx::new(setup).run(points_in, sinks.clone())),
            );
            outputs.influx = Some(points);
        }
        if config.forward.endpoint.is_some() {
            let (requests, requests_in) = mpsc::channel(64);
            let setup = ForwardSetup {
                config: config.forward.clone(),
                client,
                metrics: metrics.clone(),
                component: health.component("upstream"),
            };
            running.spawn(
                Stage::Sinks,
                "forward",
                done(Forward::new(setup)?.run(requests_in, sinks.clone())),
            );
            outputs.forward = Some(requests);
        }
        let writer = store.writer(metrics.clone(), health.component("store"));
        running.spawn(Stage::Sinks, "store", done(writer.run(store_in, sinks)));
        let flow = FlowTask {
            batches: batches_in,
            polls: polls_in,
            sinks: outputs,
            window,
            clock: SystemTime::now,
        };
        running.spawn(Stage::Flow, "flow", done(flow.run()));

        let api = Api::new(ApiSetup {
            token: config.api.token,
            reader,
            health,
            metrics,
            addresses,
            clock: SystemTime::now,
        });
        let api_stop = running.token(Stage::Api);
        running.spawn(Stage::Api, "api", api.serve(listeners.api, api_stop));
        running.until(stop).await
    }
}

/// The client of everything that is asked over HTTP.
///
/// # Errors
/// If TLS cannot be set up.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    // Another part of the process may have chosen a provider before: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("rabtrace/", env!("CARGO_PKG_VERSION"));
    Ok(reqwest::Client::builder()
        .user_agent(agent)
        .connect_timeout(Duration::from_secs(5))
        .build()?)
}

async fn done(work: impl Future<Output = ()>) -> std::io::Result<()> {
    work.await;
    Ok(())
}
