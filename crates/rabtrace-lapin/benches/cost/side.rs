//! The sides of a client that are measured apart from each other, against the scripted server.

use opentelemetry_sdk::trace::SdkTracerProvider;
use rabtrace_lapin::TracedChannel;
use rabtrace_lapin::lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, QueuePurgeOptions,
};
use rabtrace_lapin::lapin::types::ShortString;
use rabtrace_lapin::lapin::{Channel, Connection, ConnectionProperties, Result};
use tokio::runtime::Runtime;

use crate::bus::{self, Bus, Raw, Settle, Traced};
use crate::frames::QUEUE;
use crate::modes::{self, Mode};

/// Deliveries that may wait for their settlement.
const PREFETCH: u16 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Published and confirmed.
    Publish,
    /// Delivered to a consumer without acknowledgements.
    Deliver,
    /// Delivered and settled.
    Settle(Settle),
}

/// Every side, with its name in the report.
pub(crate) const SIDES: [(&str, Side); 4] = [
    ("publish", Side::Publish),
    ("deliver", Side::Deliver),
    ("deliver_ack", Side::Settle(Settle::Acker)),
    ("deliver_channel_ack", Side::Settle(Settle::Channel)),
];

/// A mode's client of one side: runs as many messages as it is asked for, and returns when the
/// server has answered all of them.
pub(crate) type Run<'a> = Box<dyn FnMut(u64) -> Result<()> + 'a>;

/// A client of one mode: its connection's threads, and its SDK.
pub(crate) struct Client<'a> {
    runtime: &'a Runtime,
    mode: Mode,
    peer: String,
    config: Option<rabtrace_lapin::TraceConfig>,
    provider: Option<SdkTracerProvider>,
}

impl<'a> Client<'a> {
    /// `peer` and `sink` are the addresses of the scripted server and of the OTLP server.
    pub(crate) fn new(runtime: &'a Runtime, (peer, sink): (&str, &str), mode: Mode) -> Self {
        let _entered = runtime.enter();
        let traced = mode.tracing.map(|tracing| modes::config(tracing, sink));
        let (config, provider) = traced.unzip();
        Self {
            runtime,
            mode,
            peer: peer.to_owned(),
            config,
            provider: provider.flatten(),
        }
    }

    /// Waits until every span is exported.
    pub(crate) fn flush(&self) {
        if let Some(provider) = &self.provider {
            provider.force_flush().expect("exported");
        }
    }

    /// # Errors
    ///
    /// lapin's own, if the server does not answer.
    pub(crate) fn side(&self, side: Side) -> Result<Run<'a>> {
        let (connection, channel) = self.runtime.block_on(channel(&self.peer, side))?;
        let queue = self.mode.headers.queue();
        // Dropped, a connection closes its channels.
        let control = (connection, channel.clone());
        match &self.config {
            None => {
                let bus = Raw {
                    channel,
                    headers: self.mode.headers,
                };
                run(self.runtime, (bus, control), (queue, side))
            }
            Some(config) => {
                let traced = TracedChannel::with_config(channel, config);
                let bus = Traced { channel: traced };
                run(self.runtime, (bus, control), (queue, side))
            }
        }
    }
}

/// A channel, and the connection that is its own.
async fn channel(peer: &str, side: Side) -> Result<(Connection, Channel)> {
    let url = format!("amqp://{peer}/%2f");
    let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    if side == Side::Publish {
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await?;
    } else {
        let prefetch = BasicQosOptions::default();
        channel.basic_qos(PREFETCH, prefetch).await?;
    }
    Ok((connection, channel))
}

fn run<'a, B: Bus + 'a>(
    runtime: &'a Runtime,
    (bus, (connection, control)): (B, (Connection, Channel)),
    (queue, side): (&str, Side),
) -> Result<Run<'a>> {
    let settle = match side {
        Side::Publish => {
            let queue = ShortString::from(QUEUE);
            return Ok(Box::new(move |count| {
                let _open = &connection;
                runtime.block_on(bus::publish(&bus, &queue, count))
            }));
        }
        Side::Deliver => Settle::Never,
        Side::Settle(settle) => settle,
    };
    let options = BasicConsumeOptions {
        no_ack: settle == Settle::Never,
        ..BasicConsumeOptions::default()
    };
    let mut consumer = runtime.block_on(bus.consume((queue, ""), options))?;
    Ok(Box::new(move |count| {
        let _open = &connection;
        runtime.block_on(async {
            // To the scripted server, this asks for deliveries.
            let wanted = ShortString::from(count.to_string());
            let purged = control.queue_purge(wanted, QueuePurgeOptions::default());
            purged.await?;
            bus::consume(&bus, &mut consumer, (count, settle)).await
        })
    }))
}
