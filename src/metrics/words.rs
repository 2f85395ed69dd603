//! The values of labels that are no stage: each family has a series for every one from the
//! beginning. What is not there is no zero to Prometheus, whose `increase` of a series that comes
//! with its first count is nothing.

macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($word:ident: $label:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $label, "`")] $word,)*
        }

        impl $name {
            /// Every value.
            pub(super) const ALL: &'static [Self] = &[$(Self::$word),*];

            /// The value of the label.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$word => $label,)*
                }
            }

            /// All of them.
            pub(super) fn words() -> impl Iterator<Item = &'static str> {
                Self::ALL.iter().map(|value| value.word())
            }
        }
    )*};
}

words! {
    /// Why an OTLP request was refused.
    Refused {
        Malformed: "malformed",
        TooManyElements: "too_many_elements",
        TooLarge: "too_large",
        UnsupportedType: "unsupported_type",
        UnsupportedCompression: "unsupported_compression",
        Unauthorized: "unauthorized",
        TooSlow: "too_slow",
        NoRoom: "no_room",
        QueueFull: "queue_full",
        NotStored: "not_stored",
        NotSpooled: "not_spooled",
        Stopping: "stopping",
    }

    /// Why a point of a path metric is not counted as messages.
    PathPointSkipped {
        Retransmitted: "retransmitted",
        Baseline: "baseline",
    }

    /// What became of something that a server refused for good.
    DeadLetterOutcome {
        Kept: "kept",
        NotKept: "not_kept",
    }

    /// Why a connection was closed early.
    ConnectionClosed {
        NotAccepted: "not_accepted",
        TooMany: "too_many",
        HandshakeFailed: "handshake_failed",
        HandshakeTimeout: "handshake_timeout",
        HeaderTimeout: "header_timeout",
        Idle: "idle",
    }

    /// What became of a reload.
    Reloaded {
        Applied: "applied",
        Refused: "refused",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ConnectionClosed, DeadLetterOutcome, PathPointSkipped, Refused, Reloaded};
    use crate::metrics::{Loss, Metrics, Stage};

    fn series(metrics: &Metrics) -> BTreeSet<String> {
        let page = metrics.encode().unwrap();
        let names = page.lines().filter_map(|line| line.rsplit_once(' '));
        names.map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn what_is_counted_brings_no_series() {
        let metrics = Metrics::new().unwrap();
        let before = series(&metrics);
        for reason in Refused::ALL {
            metrics.refused(*reason);
        }
        for reason in PathPointSkipped::ALL {
            metrics.path_point_skipped(*reason);
        }
        for reason in ConnectionClosed::ALL {
            metrics.connection_closed(*reason);
        }
        for outcome in Reloaded::ALL {
            metrics.config_reloaded(*outcome);
        }
        for outcome in DeadLetterOutcome::ALL {
            metrics.dead_letter(Stage::Influx, *outcome);
            metrics.dead_letter(Stage::Forward, *outcome);
        }
        for stage in Stage::ALL {
            metrics.received(*stage, 1);
            metrics.sent(*stage, 1);
            metrics.error(*stage);
        }
        for loss in Loss::ALL {
            metrics.dropped(*loss, 1);
        }
        assert_eq!(series(&metrics), before);
        assert!(before.contains("rabtrace_refused_total{reason=\"no_room\"}"));
    }
}
