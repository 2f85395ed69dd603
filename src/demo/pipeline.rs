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

type Work = Pin<Box<dyn Future<Output = lapin::Result<()>> + Send>>;

/// A running pipeline.
pub(super) struct Pipeline {
    connections: Vec<TracedConnection>,
    telemetries: Vec<Telemetry>,
    counts: Arc<Counts>,
    gateway_stop: CancellationToken,
    tasks: JoinSet<(&'static str, lapin::Result<()>)>,
    control: lapin::Connection,
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
    /// Declares the queues and starts every service.
    pub(super) async fn start(amqp_url: &str, otlp_endpoint: &str) -> anyhow::Result<Self> {
        let control = lapin::Connection::connect(amqp_url, ConnectionProperties::default())
            .await
            .context("the pipeline cannot reach the broker")?;
        let channel = control.create_channel().await?;
        topology::declare(&channel)
            .await
            .context("the pipeline's queues cannot be declared")?;
        topology::purge(&channel).await?;
        let mut pipeline = Self {
            connections: Vec::new(),
            telemetries: Vec::new(),
            counts: Arc::default(),
            gateway_stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            control,
        };
        pipeline.start_services(amqp_url, otlp_endpoint).await?;
        Ok(pipeline)
    }

    async fn start_services(&mut self, amqp_url: &str, endpoint: &str) -> anyhow::Result<()> {
        let planner = self.service("planner", amqp_url, endpoint).await?;
        let replies = self.again(&planner, amqp_url).await?;
        self.spawn("planner", Box::pin(services::planner(planner.0, replies)));
        type Start = fn(Service) -> Work;
        let others: [(&'static str, Start); 5] = [
            ("weather", |service| Box::pin(services::weather(service))),
            ("search", |service| Box::pin(services::search(service))),
            ("responder", |service| {
                Box::pin(services::responder(service))
            }),
            ("audit", |service| Box::pin(services::audit(service))),
            ("billing", |service| Box::pin(services::billing(service))),
        ];
        for (name, start) in others {
            let (service, _) = self.service(name, amqp_url, endpoint).await?;
            self.spawn(name, start(service));
        }
        let (gateway, _) = self.service("gateway", amqp_url, endpoint).await?;
        let stop = self.gateway_stop.clone();
        self.spawn("gateway", Box::pin(services::gateway(gateway, PAUSE, stop)));
        Ok(())
    }

    fn spawn(&mut self, name: &'static str, work: Work) {
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// A service with a connection and an SDK of its own, as a process of its own would have.
    async fn service(
        &mut self,
        name: &'static str,
        amqp_url: &str,
        endpoint: &str,
    ) -> anyhow::Result<(Service, Telemetry)> {
        let telemetry = Telemetry::new(name, endpoint)?;
        let service = self.connect(name, &telemetry, amqp_url).await?;
        self.telemetries.push(telemetry.clone());
        Ok((service, telemetry))
    }

    /// A second channel of the planner, for its replies.
    async fn again(
        &mut self,
        planner: &(Service, Telemetry),
        amqp_url: &str,
    ) -> anyhow::Result<Service> {
        self.connect("planner", &planner.1, amqp_url).await
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
        while begun.elapsed() < DRAIN_WITHIN {
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
