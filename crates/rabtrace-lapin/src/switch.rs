//! The switch that turns tracing off while a program runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Turns the tracing of channels off and on again while they are in use. Clones are one switch.
///
/// Off, publishes and deliveries go through untouched: no span, no metric, no header. Spans that
/// are open end as usual.
///
/// ```
/// use rabtrace_lapin::{TraceConfig, TraceSwitch};
///
/// let switch = TraceSwitch::default();
/// let config = TraceConfig::new().with_switch(&switch);
/// switch.turn_off();
/// assert!(!switch.is_on());
/// ```
#[derive(Clone, Debug)]
pub struct TraceSwitch(Arc<AtomicBool>);

impl Default for TraceSwitch {
    /// On.
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl TraceSwitch {
    /// Messages are traced from now on.
    pub fn turn_on(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Messages are left alone from now on.
    pub fn turn_off(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether messages are traced.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
