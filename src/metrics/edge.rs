//! What the agent's listeners and its configuration tell.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::{ConnectionClosed, Maker, Reloaded};

/// Connections, certificate and reloads.
#[derive(Clone)]
pub(super) struct Edge {
    pub(super) connections: IntGauge,
    pub(super) connections_closed: IntCounterVec,
    pub(super) config_reloads: IntCounterVec,
    pub(super) certificate_expiry: IntGaugeVec,
}

impl Edge {
    pub(super) fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            connections: make.gauge(
                "rabtrace_connections",
                "Connections to the agent's listeners that are open.",
            )?,
            connections_closed: make.each(
                "rabtrace_connections_closed_total",
                "Connections to the agent's listeners that it closed early.",
                "reason",
                ConnectionClosed::words(),
            )?,
            config_reloads: make.each(
                "rabtrace_config_reloads_total",
                "Reloads of the configuration or of the files that it names.",
                "outcome",
                Reloaded::words(),
            )?,
            certificate_expiry: make.gauges(
                "rabtrace_tls_certificate_expiry_timestamp_seconds",
                "When the certificate of the agent's listeners expires.",
                &[],
            )?,
        })
    }
}
