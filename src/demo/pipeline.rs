//! The sample pipeline as a whole: starts its services, stops them in order, counts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lapin::options::ConfirmSelectOptions;
use lapin::{ConnectionProperties, ErrorKind};
use rabtrace_lapin::{TraceConfig, TracedConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::service::{Counts, Service};
use super::stamps::Stamped;
use super::telemetry::Telemetry;
use super::{services, topology};

/// Time between two requests at the gateway.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for the queues to run empty after the gateway stopped.
const DRAIN_WITHIN: Duration = Duration::from_secs(8);

/// The services, in the order in which they are started.
pub const SERVICES: [&str; 7] = [
    "planner",
    "weather",
    "search",
    "responder",
    "audit",
    "billing",
    "gateway",
];

/// Where the pipeline works.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) amqp_url: &'a str,
    pub(super) otlp_endpoint: &'a str,
}

type Work = Pin<Box<dyn Future<Output = lapin::Result<()>> + Send>>;

/// A running pipeline.
pub(super) struct Pipeline {
    connections: Vec<TracedConnection>,
    telemetries: Vec<Telemetry>,
    counts: Arc<Counts>,
    gateway_stop: CancellationToken,
    tasks: JoinSet<(&'static str, lapin::Result<()>)>,
    control: lapin::Connection,
    /// The one service that this process runs; none for all of them.
    only: Option<String>,
}

/// What the pipeline did, each copy of a message in a queue counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) published: u64,
    pub(super) consumed: u64,
    pub(super) queued: u64,
    pub(super) dead_lettered: u64,
}

impl Pipeline {
    /// Declares the queues and starts every service, or `only` one: then the others are processes
    /// of their own, and what is in the queues stays.
    pub(super) async fn start(at: Place<'_>, only: Option<String>) -> anyhow::Result<Self> {
        let control = lapin::Connection::connect(at.amqp_url, ConnectionProperties::default())
            .await
            .context("the pipeline cannot reach the broker")?;
        let channel = control.create_channel().await?;
        topology::declare(&channel)
            .await
            .context("the pipeline's queues cannot be declared")?;
        if only.is_none() {
            topology::purge(&channel).await?;
        }
        let mut pipeline = Self {
            connections: Vec::new(),
            telemetries: Vec::new(),
            counts: Arc::default(),
            gateway_stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            control,
            only,
        };
        for name in SERVICES {
            if pipeline.only.as_deref().is_none_or(|only| only == name) {
                pipeline.start_service(name, at).await?;
            }
        }
        Ok(pipeline)
    }

    async fn start_service(&mut self, name: &'static str, at: Place<'_>) -> anyhow::Result<()> {
        let telemetry = Telemetry::new(name, at.otlp_endpoint)?;
        self.telemetries.push(telemetry.clone());
        let service = self.connect(name, &telemetry, at.amqp_url).await?;
        let work: Work = match name {
            "planner" => {
                // A second channel, for its replies.
                let replies = self.connect(name, &telemetry, at.amqp_url).await?;
                Box::pin(services::planner(service, replies))
            }
            "weather" => Box::pin(services::weather(service)),
            "search" => Box::pin(services::search(service)),
            "responder" => Box::pin(services::responder(service)),
            "audit" => Box::pin(services::audit(service)),
            "billing" => Box::pin(services::billing(service)),
            _ => {
                let stop = self.gateway_stop.clone();
                Box::pin(services::gateway(service, PAUSE, stop))
            }
        };
        self.tasks.spawn(async move { (name, work.await) });
        Ok(())
    }

    async fn connect(
        &mut self,
        name: &'static str,
        telemetry: &Telemetry,
        amqp_url: &str,
    ) -> anyhow::Result<Service> {
        let config = TraceConfig::new()
            .with_tracer_provider(&telemetry.tracer_provider)
            .with_meter_provider(&telemetry.meter_provider)
            .with_service_name(name);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = TracedConnection::connect_traced(amqp_url, properties, config).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        self.connections.push(connection);
        Ok(Service::new(
            channel,
            &telemetry.tracer_provider,
            Arc::clone(&self.counts),
        ))
    }

    /// Messages put into queues and messages processed so far.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.counts.published(), self.counts.consumed())
    }

    /// Waits until a service fails; for ever while all is well.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((name, Err(error)))) => {
                    return anyhow::Error::new(error)
                        .context(format!("the service {name} of the pipeline failed"));
                }
                Some(Err(error)) => return error.into(),
                Some(Ok((_, Ok(())))) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Stops the gateway, lets the queues run empty, stops the services, sends their last spans.
    pub(super) async fn stop(mut self) -> anyhow::Result<(Totals, Vec<Stamped>)> {
        self.gateway_stop.cancel();
        let channel = self.control.create_channel().await?;
        let begun = Instant::now();
        // One service alone cannot tell when the others are through.
        while self.only.is_none() && begun.elapsed() < DRAIN_WITHIN {
            let (queued, dead_lettered) = topology::depths(&channel).await?;
            if queued == 0 && self.counts.published() == self.counts.consumed() + dead_lettered {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for connection in std::mem::take(&mut self.connections) {
            close(connection).await?;
        }
        while self.tasks.join_next().await.is_some() {}
        let (queued, dead_lettered) = topology::depths(&channel).await?;
        let telemetries = std::mem::take(&mut self.telemetries);
        tokio::task::spawn_blocking(move || telemetries.iter().for_each(Telemetry::shut_down))
            .await?;
        let (published, consumed) = self.progress();
        self.control.close(200, "done".into()).await?;
        let totals = Totals {
            published,
            consumed,
            queued,
            dead_lettered,
        };
        Ok((totals, self.counts.stamps.means()))
    }
}

async fn close(connection: TracedConnection) -> lapin::Result<()> {
    match connection.close(200, "done".into()).await {
        // It went down before: there is nothing left to close.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidConnectionState(_)) => Ok(()),
        result => result,
    }
}
