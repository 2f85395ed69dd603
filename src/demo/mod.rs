//! `rabtrace demo`: the sample pipeline on a real broker, with the real agent inside.
//!
//! The pipeline's services send OTLP over loopback, as any user's would; what the screen shows is
//! read from the store, as `rabtrace paths`, `queues` and `trace` read it.

pub mod broker;
mod pipeline;
mod report;
mod service;
mod services;
mod stamps;
mod telemetry;
mod topology;

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Config, Secret};
use crate::metrics::Metrics;
use crate::model::unix_nano;
use crate::store::Reader;
use broker::Broker;
use pipeline::{Pipeline, Place};

pub use pipeline::SERVICES;
pub use report::{Report, Screen};

/// Time between two screens.
const REFRESH: Duration = Duration::from_secs(1);
/// Windows of path statistics are short here: nobody waits ten seconds to see the first path.
const WINDOW: Duration = Duration::from_secs(1);

/// What the demo is run with.
pub struct Options {
    /// Ends by itself after this time.
    pub lasting: Option<Duration>,
    /// Whether a broker is started for it.
    pub own_broker: bool,
    /// Whether the store's folder is the user's and stays.
    pub keep_store: bool,
    /// The one service that [`run_pipeline`] runs; none for all of them.
    pub service: Option<String>,
    /// The agent's configuration.
    pub config: Config,
}

/// Runs the pipeline alone until `stop`: broker and OTLP endpoint are those of the configuration.
///
/// # Errors
/// If the broker cannot be reached or a service fails.
pub async fn run_pipeline(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let endpoint = options
        .config
        .forward
        .endpoint
        .context("the pipeline needs an OTLP endpoint")?;
    let at = Place {
        amqp_url: options.config.broker.amqp_url.expose(),
        otlp_endpoint: endpoint.expose(),
    };
    let mut pipeline = Pipeline::start(at, options.service).await?;
    let failed = wait(options.lasting, &stop, pipeline.failed()).await;
    pipeline.stop().await?;
    failed.map_or(Ok(()), Err)
}

/// Runs broker, agent and pipeline until `stop` or the end of its time.
///
/// # Errors
/// If the broker cannot be started, a port or the store cannot be used, or a service fails.
pub async fn run(
    mut options: Options,
    stop: CancellationToken,
    remark: &dyn Fn(&str),
    show: &dyn Fn(&Screen),
) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let folder = tempfile::Builder::new()
        .prefix("rabtrace-demo-")
        .tempdir()?;
    if !options.keep_store {
        options.config.store.folder = folder.path().to_owned();
        options.config.spool.folder = folder.path().join("spool");
    }
    let broker = start_broker(&mut options, &stop, remark).await?;
    let amqp_url = options.config.broker.amqp_url.clone();
    let app = build_agent(options.config).await?;
    let (reader, metrics, addresses) = (app.reader()?, app.metrics(), app.addresses());
    let agent_stop = CancellationToken::new();
    let agent = tokio::spawn(app.run(agent_stop.clone()));
    remark(&format!(
        "agent: http://{}  OTLP: {} (gRPC), {} (HTTP)",
        addresses.api, addresses.grpc, addresses.http
    ));
    let since = unix_nano(SystemTime::now());
    let endpoint = format!("http://{}", addresses.grpc);
    let at = Place {
        amqp_url: amqp_url.expose(),
        otlp_endpoint: &endpoint,
    };
    let mut pipeline = Pipeline::start(at, None).await?;
    remark(&format!(
        "pipeline runs, {:.1} s after the start",
        begun.elapsed().as_secs_f64()
    ));
    let viewer = Viewer {
        reader: reader.clone(),
        metrics: metrics.clone(),
        since,
        begun,
    };
    let failed = tokio::select! {
        failed = async { wait(options.lasting, &stop, pipeline.failed()).await } => failed,
        () = viewer.watch(show) => None,
    };
    remark("stopping: the queues run empty");
    let (totals, stamped) = pipeline.stop().await?;
    agent_stop.cancel();
    agent.await.context("the agent panicked")??;
    let now = unix_nano(SystemTime::now());
    let report = Report::read(&reader, &metrics, (totals, stamped), (since, now))?;
    if let Some(broker) = broker {
        broker.stop().await?;
    }
    failed.map_or(Ok(report), Err)
}

/// Starts the demo's own broker, if it is to have one, and points the configuration at it.
async fn start_broker(
    options: &mut Options,
    stop: &CancellationToken,
    remark: &dyn Fn(&str),
) -> anyhow::Result<Option<Broker>> {
    if !options.own_broker {
        return Ok(None);
    }
    remark("starting a broker");
    let broker = tokio::select! {
        broker = Broker::start_with(fresh_numbers()) => broker?,
        () = stop.cancelled() => anyhow::bail!("stopped before the broker was up"),
    };
    point_at(&mut options.config, &broker);
    Ok(Some(broker))
}

/// The agent, its API on a free port where another agent has the configured one.
async fn build_agent(mut config: Config) -> anyhow::Result<App> {
    match tokio::net::TcpListener::bind(config.api.listen).await {
        Ok(listener) => drop(listener),
        Err(_) => config.api.listen.set_port(0),
    }
    // The pipeline of this process is the only sender, over loopback and in plain text.
    let (receiver, api) = (&config.receiver, config.api.listen);
    if [receiver.grpc_listen, receiver.http_listen, api]
        .iter()
        .all(|listen| listen.ip().is_loopback())
    {
        config.receiver.token = Secret::default();
        config.tls.certificate_file = None;
        config.tls.key_file = None;
        config.tls.client_ca_file = None;
    }
    Ok(App::build(config).await?.with_window(WINDOW))
}

/// A broker that renews its numbers each second: five are long when somebody watches.
fn fresh_numbers() -> broker::Options {
    let config = vec!["collect_statistics_interval = 1000".to_owned()];
    broker::Options {
        config,
        ..broker::Options::default()
    }
}

fn point_at(config: &mut Config, broker: &Broker) {
    config.broker.amqp_url = Secret::new(broker.amqp_url());
    config.broker.management_url = Secret::new(broker.management_url());
    config.broker.prometheus_urls = vec![Secret::new(broker.prometheus_url())];
    config.broker.poll_interval = Duration::from_secs(1);
}

/// Waits for the end of the time, the stop, or a failure.
async fn wait(
    lasting: Option<Duration>,
    stop: &CancellationToken,
    failed: impl Future<Output = anyhow::Error>,
) -> Option<anyhow::Error> {
    let over = async {
        match lasting {
            Some(lasting) => tokio::time::sleep(lasting).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => None,
        () = stop.cancelled() => None,
        error = failed => Some(error),
    }
}

/// Reads what the store knows once a second and shows it.
struct Viewer {
    reader: Reader,
    metrics: Metrics,
    since: i64,
    begun: Instant,
}

impl Viewer {
    async fn watch(&self, show: &dyn Fn(&Screen)) {
        let mut ticks = tokio::time::interval(REFRESH);
        let mut shown = 0;
        loop {
            ticks.tick().await;
            let (reader, since) = (self.reader.clone(), self.since);
            let read = tokio::task::spawn_blocking(move || {
                Screen::read(&reader, since, unix_nano(SystemTime::now()))
            })
            .await;
            if let Ok(Ok(mut screen)) = read
                && screen.has_paths()
            {
                screen.describe(shown, self.begun.elapsed(), self.metrics.spans_stored.get());
                show(&screen);
                shown += 1;
            }
        }
    }
}
