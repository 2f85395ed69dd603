//! Everything that can be dropped: where, why, in which unit, and what to do about it.
//!
//! What has no row here cannot be counted as dropped. docs/measurements.md is made of it.

use super::Stage;

/// What is known of a [`Loss`].
struct Row {
    stage: Stage,
    reason: &'static str,
    unit: &'static str,
    about: &'static str,
    fix: &'static str,
}

macro_rules! losses {
    ($($name:ident: $stage:ident, $reason:literal, $unit:literal, $about:literal, $fix:literal;)*) => {
        /// A reason to drop something, with the stage at which it is dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Loss {
            $(#[doc = $about] $name),*
        }

        impl Loss {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => &Row {
                        stage: Stage::$stage,
                        reason: $reason,
                        unit: $unit,
                        about: $about,
                        fix: $fix,
                    }),*
                }
            }
        }
    };
}

losses! {
    PollLate: Monitor, "poll_late", "polls",
        "The poll before it took longer than the interval.",
        "a longer `broker.poll_interval`, fewer queues (`broker.include_queues`), or a broker that answers sooner";
    PollNoRoom: Monitor, "flow_full", "polls",
        "The flow was held up, by the store or by a spool.",
        "see `rabtrace health` for which";
    InvalidId: Receiver, "invalid_id", "spans",
        "Its trace or span id is not what OTLP says; the sender was told so.",
        "mend the sender";
    PathRecord: Receiver, "path_record", "data points",
        "A path metric without hash, direction or destination, or with absurd values. The upstream gets it all the same.",
        "nothing but rabtrace-lapin should write `rabtrace.path.*`";
    Series: Flow, "series", "data points",
        "More than 200,000 series of path metrics, or 128 MiB of them; totals lack them.",
        "fewer destinations, attributes or instances ([paths.md](paths.md)), or delta temporality";
    StoreName: Store, "name", "rows",
        "A measurement's name that the store cannot have as a table's, or too many measurements.",
        "report it: the names are the agent's own";
    StoreColumn: StoreColumns, "name", "tags and fields",
        "The row is stored without a tag or field whose name cannot be a column's.",
        "report it: the names are the agent's own";
    StoreRefused: Store, "refused", "rows",
        "SQLite refuses the rows themselves; the log has its reason.",
        "report it with the log";
    StorePanic: Store, "panic", "rows",
        "The thread that writes ended.",
        "report it with the log; start the agent again";
    StoreStop: Store, "stop", "rows",
        "The agent stopped while the disk took nothing.",
        "make room before the next stop";
    InfluxNoFields: Influx, "no_fields", "lines",
        "No field of the point has a value that InfluxDB can hold.",
        "report it";
    InfluxNotSpooled: Influx, "not_spooled", "lines",
        "The disk takes nothing, and `influx.buffer_bytes` of memory are full. Senders were told to come again; numbers of the monitor are gone.",
        "make room on the disk, or set `spool.folder` to another one";
    InfluxTooLarge: Influx, "too_large", "lines",
        "One line is larger than the server, or a record of the spool, takes.",
        "raise the server's limit; the line is a dead letter if the server refused it";
    InfluxRejected: Influx, "rejected", "lines",
        "The server refuses the line for good.",
        "`dead_letter.ndjson` has line and reason";
    InfluxSpoolFull: Influx, "spool_full", "lines",
        "InfluxDB was away until `spool.max_bytes` were full; the oldest went.",
        "mend the sink; raise `spool.max_bytes`";
    InfluxSpoolDamaged: Influx, "spool_damaged", "lines",
        "Records on the disk cannot be read.",
        "look after the disk";
    ForwardQueueFull: Forward, "queue_full", "data points",
        "The monitor's numbers found no place on their way to the spool.",
        "the disk is slow: see `rabtrace health`";
    ForwardNotSpooled: Forward, "not_spooled", "data points",
        "The disk did not take the monitor's numbers.",
        "make room on the disk, or set `spool.folder` to another one";
    ForwardRejected: Forward, "rejected", "spans and data points",
        "The upstream took a request without them (partial success).",
        "see the log of the upstream";
    ForwardRefused: Forward, "refused", "spans and data points",
        "The upstream refuses the request for good.",
        "`dead_letter.ndjson` has request and reason";
    ForwardSpoolFull: Forward, "spool_full", "spans and data points",
        "The upstream was away until `spool.max_bytes` were full; the oldest went.",
        "mend the upstream; raise `spool.max_bytes`";
    ForwardSpoolDamaged: Forward, "spool_damaged", "spans and data points",
        "Records on the disk cannot be read.",
        "look after the disk";
}

impl Loss {
    /// That a sink's spool was full.
    #[must_use]
    pub const fn spool_full(sink: Stage) -> Self {
        match sink {
            Stage::Forward => Self::ForwardSpoolFull,
            _ => Self::InfluxSpoolFull,
        }
    }

    /// That records of a sink's spool cannot be read.
    #[must_use]
    pub const fn spool_damaged(sink: Stage) -> Self {
        match sink {
            Stage::Forward => Self::ForwardSpoolDamaged,
            _ => Self::InfluxSpoolDamaged,
        }
    }

    /// Where it is dropped.
    #[must_use]
    pub const fn stage(self) -> Stage {
        self.row().stage
    }

    /// The label `reason`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().reason
    }

    /// What is counted.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        self.row().unit
    }

    /// What it means.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.row().about
    }

    /// What to do.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        self.row().fix
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Loss;

    #[test]
    fn every_pair_stands_once() {
        let pair = |loss: &Loss| (loss.stage().name(), loss.reason());
        let pairs: HashSet<_> = Loss::ALL.iter().map(pair).collect();
        assert_eq!(pairs.len(), Loss::ALL.len());
    }
}
