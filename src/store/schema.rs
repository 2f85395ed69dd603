//! Names and columns of the tables, and the version of both.
//!
//! Dictionaries live as long as the file; everything else is in tables of one hour
//! (`hour_<hours since the epoch>_<kind>`), which retention drops whole.

use rusqlite::Connection;

/// `PRAGMA user_version` of files that this code writes.
pub(super) const VERSION: i32 = 3;
/// That of files which are read as well: they have neither tables of traces nor sums in part, which
/// a program of that version would not know.
pub(super) const VERSION_BEFORE: i32 = 2;
/// `PRAGMA application_id`: "rabt".
pub(super) const APPLICATION_ID: i32 = 0x7261_6274;
/// Hours for which data is kept at most.
pub(super) const MAX_HOURS: i64 = 480;
/// Hours that views show at most: the oldest and the newest may be there in part, and one may be ahead
/// of the clock. SQLite takes 500 terms in one compound SELECT.
pub(super) const SHOWN_HOURS: i64 = MAX_HOURS + 2;

const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

/// The hour of a time in nanoseconds since the Unix epoch.
pub(super) const fn hour_of(unix_nano: i64) -> i64 {
    unix_nano.div_euclid(NANOS_PER_HOUR)
}

/// The first nanosecond of an hour.
pub(super) const fn start_of(hour: i64) -> i64 {
    hour.saturating_mul(NANOS_PER_HOUR)
}

/// Dictionaries: text to small integer. `last_hour` is the newest hour that uses the entry; an
/// entry goes when that hour has gone.
///
/// A step without a parent has parent 0, one that entered its queue by no other name has the empty
/// `via`; `dead_letter` says that the broker moved messages here from a queue that gave them up.
const DICTIONARIES: &str = "
CREATE TABLE dictionary_operations (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    destination TEXT NOT NULL, last_hour INTEGER NOT NULL,
    UNIQUE (service, name, kind, destination));
CREATE TABLE dictionary_paths (
    id INTEGER PRIMARY KEY, hash INTEGER NOT NULL UNIQUE, text TEXT NOT NULL,
    ends_in_delivery INTEGER NOT NULL, last_hour INTEGER NOT NULL);
CREATE TABLE dictionary_checkpoints (
    id INTEGER PRIMARY KEY, path INTEGER NOT NULL, service TEXT NOT NULL,
    destination TEXT NOT NULL, direction TEXT NOT NULL, kind TEXT NOT NULL,
    last_hour INTEGER NOT NULL, UNIQUE (path, service, destination, direction, kind));
CREATE TABLE dictionary_steps (
    hash INTEGER NOT NULL, parent INTEGER NOT NULL, service TEXT NOT NULL,
    direction TEXT NOT NULL, destination TEXT NOT NULL, via TEXT NOT NULL,
    last_hour INTEGER NOT NULL, dead_letter INTEGER NOT NULL, UNIQUE (hash, parent));
CREATE TABLE dictionary_resources (
    id INTEGER PRIMARY KEY, attributes TEXT NOT NULL UNIQUE, last_hour INTEGER NOT NULL);
";

/// What the flow knows beyond its windows: the newest point of every series of path metrics (its
/// value only where it is cumulative), until when windows were handed to InfluxDB, and which hours are
/// summed in part.
const FLOW_STATE: &str = "
CREATE TABLE flow_series (
    series BLOB PRIMARY KEY, instance INTEGER NOT NULL, start INTEGER NOT NULL,
    end INTEGER NOT NULL, seen INTEGER NOT NULL, value BLOB) WITHOUT ROWID;
CREATE TABLE flow_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
";

/// The hour of the empty tables that stand in a view while there is no data.
const NO_HOUR: &str = "none";

/// A table of one hour.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// One row a span: what is searched and summed.
    Spans,
    /// The wide rest of a span, by the same id, so that scans stay narrow.
    Details,
    /// Where the spans of a trace are: their ids by run and trace id. A run is named by the last id
    /// in it.
    Traces,
    /// Path statistics of 10 s windows; rows of one window and checkpoint add up.
    Flow,
    /// The same summed for 5 minutes, once the hour is closed.
    FlowSums,
    /// Points of a measurement.
    Points(&'a str),
}

impl Kind<'_> {
    /// The table of that hour.
    pub(super) fn table(self, hour: i64) -> String {
        self.named(&hour.to_string())
    }

    /// The table that is always empty.
    pub(super) fn empty(self) -> String {
        self.named(NO_HOUR)
    }

    fn named(self, hour: &str) -> String {
        match self {
            Self::Spans => format!("hour_{hour}_spans"),
            Self::Details => format!("hour_{hour}_details"),
            Self::Traces => format!("hour_{hour}_traces"),
            Self::Flow => format!("hour_{hour}_flow"),
            Self::FlowSums => format!("hour_{hour}_flow_sums"),
            Self::Points(measurement) => format!("hour_{hour}_points_{measurement}"),
        }
    }

    fn columns(self) -> &'static str {
        match self {
            Self::Spans => {
                "id INTEGER PRIMARY KEY, start INTEGER NOT NULL, duration INTEGER NOT NULL, \
                 operation INTEGER NOT NULL, status INTEGER NOT NULL, trace BLOB NOT NULL, \
                 span BLOB NOT NULL, parent BLOB, path INTEGER, queue INTEGER, \
                 redelivered INTEGER NOT NULL, resource INTEGER"
            }
            Self::Details => {
                "id INTEGER PRIMARY KEY, message TEXT, attributes TEXT, events TEXT, links TEXT"
            }
            Self::Traces => {
                "run INTEGER NOT NULL, trace BLOB NOT NULL, id INTEGER NOT NULL, \
                 PRIMARY KEY (run, trace, id)"
            }
            Self::Flow | Self::FlowSums => {
                "id INTEGER PRIMARY KEY, time INTEGER NOT NULL, width INTEGER NOT NULL, \
                 checkpoint INTEGER NOT NULL, count INTEGER NOT NULL, errors INTEGER NOT NULL, \
                 redelivered INTEGER NOT NULL, skewed INTEGER NOT NULL, \
                 max_attempt INTEGER NOT NULL, \
                 edge_p50 REAL, edge_p95 REAL, edge_p99 REAL, edge_max REAL, edge_sum REAL, \
                 duration_p50 REAL, duration_p95 REAL, duration_p99 REAL, duration_max REAL, \
                 duration_sum REAL, process_p50 REAL, process_p95 REAL, process_p99 REAL, \
                 process_max REAL, process_sum REAL, edge BLOB NOT NULL, total BLOB NOT NULL, \
                 process BLOB NOT NULL, slowest_trace BLOB, slowest_ms REAL, \
                 sampled INTEGER NOT NULL"
            }
            Self::Points(_) => {
                "id INTEGER PRIMARY KEY, time INTEGER NOT NULL, series INTEGER NOT NULL"
            }
        }
    }

    /// Makes the table of that hour, with `more` columns of no type.
    pub(super) fn create(
        self,
        database: &Connection,
        hour: i64,
        more: &[String],
    ) -> rusqlite::Result<()> {
        self.make(database, &self.table(hour), more)
    }

    fn make(self, database: &Connection, table: &str, more: &[String]) -> rusqlite::Result<()> {
        let mut columns = self.columns().to_owned();
        for column in more {
            columns.push_str(&format!(", \"{column}\""));
        }
        let rowid = match self {
            Self::Traces => "WITHOUT ROWID",
            _ => "",
        };
        database.execute_batch(&format!("CREATE TABLE \"{table}\" ({columns}) {rowid}"))
    }
}

/// Hour, kind and measurement of a table's name; none if it is no table of an hour.
pub(super) fn parse(table: &str) -> Option<(i64, Kind<'_>)> {
    let (hour, kind) = table.strip_prefix("hour_")?.split_once('_')?;
    let kind = match kind {
        "spans" => Kind::Spans,
        "details" => Kind::Details,
        "traces" => Kind::Traces,
        "flow" => Kind::Flow,
        "flow_sums" => Kind::FlowSums,
        other => Kind::Points(other.strip_prefix("points_")?),
    };
    Some((hour.parse().ok()?, kind))
}

/// What stands in `flow_meta` while an hour has its sums in part only.
pub(super) fn summing(hour: i64) -> String {
    format!("summing_{hour}")
}

/// The dictionary of the tag sets of a measurement.
pub(super) fn series_table(measurement: &str) -> String {
    format!("series_{measurement}")
}

/// Makes an empty database ours.
pub(super) fn initialise(database: &Connection) -> rusqlite::Result<()> {
    let transaction = database.unchecked_transaction()?;
    transaction.execute_batch(DICTIONARIES)?;
    transaction.execute_batch(FLOW_STATE)?;
    for kind in [Kind::Spans, Kind::Details, Kind::Flow] {
        kind.make(&transaction, &kind.empty(), &[])?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Whether a name may become part of a table's or a column's name.
pub(super) fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::{Kind, hour_of, is_plain, parse, start_of};

    #[test]
    fn names_of_tables_go_both_ways() {
        let name = Kind::Points("rabbitmq_queue").table(493_021);
        assert_eq!(name, "hour_493021_points_rabbitmq_queue");
        let Some((493_021, Kind::Points("rabbitmq_queue"))) = parse(&name) else {
            panic!("{name} was not understood");
        };
        for other in ["series_x", "hour_none_spans", "hour_5_else", "hour_5"] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn hours_and_plain_names() {
        assert_eq!(
            (hour_of(-1), hour_of(start_of(7)), hour_of(start_of(8) - 1)),
            (-1, 7, 7)
        );
        assert!(is_plain("duration_p95"));
        for bad in ["", "a\"b", "Größe", "a b", &"x".repeat(65)] {
            assert!(!is_plain(bad), "{bad:?} was taken");
        }
    }
}
