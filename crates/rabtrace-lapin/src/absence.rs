//! Whether there is a tracer behind OpenTelemetry's API at all.
//!
//! An SDK gives every span ids, recorded or not. Only where there is none, or where it is shut down,
//! a span without parent gets no ids: it is recorded nowhere, and there is no context to hand on.
//! After such a span the next ones without parent are not even started. Every 256th is, since an
//! application's own tracer may get its SDK later.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many spans are left out before the tracer is asked again.
const LEFT_OUT: u32 = 255;

/// How many spans without parent may still be left out; 0 while there is a tracer.
#[derive(Debug, Default)]
pub(crate) struct Absence(AtomicU32);

impl Absence {
    /// Whether a span without parent may be left out.
    pub(crate) fn leaves_out(&self) -> bool {
        // Threads that get in each other's way here ask the tracer a little earlier or later.
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// A span without parent was started, with ids or without.
    pub(crate) fn learn(&self, has_ids: bool) {
        let left = if has_ids { 0 } else { LEFT_OUT };
        if self.0.load(Ordering::Relaxed) != left {
            self.0.store(left, Ordering::Relaxed);
        }
    }
}
