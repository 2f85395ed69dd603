//! The monitor, made anew when its part of the configuration changes.

use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::health::Component;
use crate::metrics::Metrics;
use crate::model::BrokerSnapshot;
use crate::monitor::{Monitor, MonitorSetup};
use crate::tls::Peer;

/// A monitor of the broker that the settings name.
pub(super) struct Watching {
    pub(super) settings: watch::Receiver<Peer<config::Broker>>,
    pub(super) metrics: Metrics,
    pub(super) component: Component,
}

impl Watching {
    /// Polls until `stop`. A monitor that was made anew knows no rates before its second poll.
    pub(super) async fn run(mut self, out: mpsc::Sender<BrokerSnapshot>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let peer = self.settings.borrow_and_update().clone();
            let monitor = Monitor::new(MonitorSetup {
                broker: peer.config,
                client: peer.client,
                clock: SystemTime::now,
                metrics: self.metrics.clone(),
                component: self.component.clone(),
            });
            let turn = stop.child_token();
            let mut polling = std::pin::pin!(monitor.run(out.clone(), turn.clone()));
            tokio::select! {
                () = polling.as_mut() => return,
                Ok(()) = self.settings.changed() => {
                    turn.cancel();
                    polling.await;
                }
            }
        }
    }
}
