//! Which services' spans are counted as messages.
//!
//! A service that measures its paths sends metrics for every message: its spans, which may be
//! sampled, must not count a second time. If its metrics stay away for two minutes while spans
//! come, its spans count, so that it is seen at all. Bounded: beyond [`MAX_SERVICES`] all of them
//! are forgotten, and each waits its two minutes again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::Span;

/// Services that are known.
const MAX_SERVICES: usize = 10_000;
/// How long metrics may stay away while spans come.
const PATIENCE_NANOS: i64 = 120_000_000_000;

struct Waiting {
    /// The first span after the newest metrics, or after a silence.
    since: i64,
    last: i64,
}

/// Services that measure their paths, and since when their metrics are missing.
#[derive(Default)]
pub(super) struct Services(HashMap<Arc<str>, Waiting>);

impl Services {
    /// Path metrics of the service came.
    pub(super) fn measured(&mut self, service: &str) {
        self.0.remove(service);
    }

    /// Whether the span is to be counted as a message.
    pub(super) fn counts(&mut self, span: &Span, now_unix_nano: i64) -> bool {
        if !span.paths_measured {
            return true;
        }
        if self.0.len() >= MAX_SERVICES && !self.0.contains_key(&span.service) {
            self.0.clear();
        }
        let waiting = self.0.entry(Arc::clone(&span.service)).or_insert(Waiting {
            since: now_unix_nano,
            last: now_unix_nano,
        });
        // After a silence the metrics of what comes now cannot be there yet.
        if now_unix_nano - waiting.last > PATIENCE_NANOS {
            waiting.since = now_unix_nano;
        }
        waiting.last = now_unix_nano;
        now_unix_nano - waiting.since > PATIENCE_NANOS
    }
}

#[cfg(test)]
mod tests {
    use super::Services;
    use crate::flow::hop::tests::span;
    use crate::model::{Span, SpanKind};

    const SECOND: i64 = 1_000_000_000;

    fn measured() -> Span {
        Span {
            paths_measured: true,
            ..span("worker", SpanKind::Consumer, &[])
        }
    }

    #[test]
    fn spans_of_a_measured_service_count_only_when_its_metrics_stay_away() {
        let mut services = Services::default();
        assert!(services.counts(&span("other", SpanKind::Consumer, &[]), 0));
        for second in [0, 60, 120] {
            assert!(!services.counts(&measured(), second * SECOND), "{second}");
        }
        assert!(services.counts(&measured(), 121 * SECOND));
        services.measured("worker");
        assert!(!services.counts(&measured(), 122 * SECOND));
        assert!(
            !services.counts(&measured(), 500 * SECOND),
            "after a silence"
        );
    }
}
