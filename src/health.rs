//! How each part is, told by the part itself: one place that logs a change once, and that
//! `/health` reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    Healthy,
    /// It has not been tried yet.
    Starting,
    /// It does not work; the rest goes on, nothing is lost so far.
    Degraded,
    /// It does not work, and the agent cannot do its job without it.
    Unhealthy,
}

/// What a part last said of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentReport {
    /// How it is.
    pub status: Status,
    /// Why, empty when it works.
    pub message: String,
    /// How long its last successful operation took.
    pub latency_ms: Option<f64>,
    /// Seconds since it last changed.
    pub since_seconds: f64,
}

struct State {
    status: Status,
    message: String,
    latency: Option<Duration>,
    since: Instant,
}

/// All parts; a clone is the same board.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, State>>>,
}

impl Health {
    /// The handle by which the part `name` reports.
    #[must_use]
    pub fn component(&self, name: &'static str) -> Component {
        let state = State {
            status: Status::Starting,
            message: String::new(),
            latency: None,
            since: Instant::now(),
        };
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name)
            .or_insert(state);
        Component {
            health: self.clone(),
            name,
        }
    }

    /// What every part last said.
    #[must_use]
    pub fn reports(&self) -> BTreeMap<&'static str, ComponentReport> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let report = |state: &State| ComponentReport {
            status: state.status,
            message: state.message.clone(),
            latency_ms: state.latency.map(|latency| latency.as_secs_f64() * 1e3),
            since_seconds: state.since.elapsed().as_secs_f64(),
        };
        parts
            .iter()
            .map(|(name, state)| (*name, report(state)))
            .collect()
    }

    /// The worst of all parts.
    #[must_use]
    pub fn overall(&self) -> Status {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .values()
            .map(|state| state.status)
            .max()
            .unwrap_or(Status::Starting)
    }
}

/// The handle by which one part reports. Repeating the same status logs nothing.
#[derive(Clone)]
pub struct Component {
    health: Health,
    name: &'static str,
}

impl Component {
    /// It works; its last operation took `latency`.
    pub fn healthy(&self, latency: Duration) {
        if self.change(Status::Healthy, "", Some(latency)) {
            tracing::info!(component = self.name, "component works");
        }
    }

    /// It does not work, and the rest goes on.
    pub fn degraded(&self, message: &str) {
        if self.change(Status::Degraded, message, None) {
            tracing::warn!(
                component = self.name,
                reason = message,
                "component is degraded"
            );
        }
    }

    /// It does not work, and data is lost or a person is needed.
    pub fn unhealthy(&self, message: &str) {
        if self.change(Status::Unhealthy, message, None) {
            tracing::error!(
                component = self.name,
                reason = message,
                "component is unhealthy"
            );
        }
    }

    /// Writes the new state down; whether the status is another than before.
    fn change(&self, status: Status, message: &str, latency: Option<Duration>) -> bool {
        let mut parts = self
            .health
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(state) = parts.get_mut(self.name) else {
            return false;
        };
        let changed = state.status != status;
        if changed {
            state.since = Instant::now();
        }
        state.status = status;
        if state.message != message {
            message.clone_into(&mut state.message);
        }
        state.latency = latency.or(state.latency);
        changed
    }
}

/// What one attempt at a connection found, for `rabtrace check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The part it belongs to.
    pub name: &'static str,
    /// Its URL, without a password.
    pub url: String,
    /// What works, or what does not and how to mend it.
    pub outcome: Result<String, Failure>,
}

/// Why a connection does not work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub why: String,
    /// The next step.
    pub fix: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}; fix: {}", self.why, self.fix)
    }
}

#[cfg(test)]
mod tests {
    use super::{Health, Status};
    use std::time::Duration;

    #[test]
    fn the_worst_part_counts_and_a_change_is_told_once() {
        let health = Health::default();
        let (store, influx) = (health.component("store"), health.component("influxdb"));
        assert_eq!(health.overall(), Status::Starting);
        store.healthy(Duration::from_millis(2));
        influx.degraded("connection refused");
        assert_eq!(health.overall(), Status::Degraded);
        assert!(!influx.change(Status::Degraded, "connection refused", None));
        assert!(influx.change(Status::Healthy, "", None));
        assert_eq!(health.overall(), Status::Healthy);
    }
}
