//! The gauges of the budget of requests.

use std::sync::{Arc, OnceLock};

use prometheus::IntGauge;

use super::Maker;
use crate::model::Budget;

/// What requests hold that came in and are not stored.
#[derive(Clone)]
pub(super) struct InFlight {
    bytes: IntGauge,
    max_bytes: IntGauge,
    budget: Arc<OnceLock<Budget>>,
}

impl InFlight {
    pub(super) fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            bytes: make.gauge(
                "rabtrace_in_flight_bytes",
                "Memory that is taken by OTLP requests, from their first byte until they are stored.",
            )?,
            max_bytes: make.gauge(
                "rabtrace_in_flight_max_bytes",
                "Memory that OTLP requests may take; beyond it senders are told to come again.",
            )?,
            budget: Arc::default(),
        })
    }

    pub(super) fn show(&self, budget: &Budget) {
        self.budget.get_or_init(|| budget.clone());
    }

    /// Sets the gauges to what is held now.
    pub(super) fn look(&self) {
        if let Some(budget) = self.budget.get() {
            let number = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.bytes.set(number(budget.held_bytes()));
            self.max_bytes.set(number(budget.max_bytes()));
        }
    }
}
