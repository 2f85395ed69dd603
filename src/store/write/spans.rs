//! Spans into the tables of their hours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, ToSql};

use super::dictionary::{Operation, Path};
use super::{Session, Written, json};
use crate::model::{AttributeValue, Direction, Hop, Span, SpanStatus, StoreBatch, attributes_json};
use crate::store::schema::Kind;

/// Text of a path of which nothing is known.
pub(super) const UNKNOWN_PATH: &str = "?";

/// Rows of one statement where there are as many: most of what a row costs by itself is to begin
/// and to end its statement.
const ROWS: usize = 32;

const SPAN_COLUMNS: [&str; 11] = [
    "start",
    "duration",
    "operation",
    "status",
    "trace",
    "span",
    "parent",
    "path",
    "queue",
    "redelivered",
    "resource",
];
const DETAILS_COLUMNS: [&str; 5] = ["id", "message", "attributes", "events", "links"];

/// A statement that inserts so many rows.
struct Insert<'a> {
    statement: CachedStatement<'a>,
    bound: usize,
}

impl<'a> Insert<'a> {
    fn prepare(
        database: &'a Connection,
        table: &str,
        columns: &[&str],
        rows: usize,
    ) -> rusqlite::Result<Self> {
        let marks = format!("({})", vec!["?"; columns.len()].join(", "));
        let statement = database.prepare_cached(&format!(
            "INSERT INTO {table} ({}) VALUES {}",
            columns.join(", "),
            vec![marks; rows].join(", ")
        ))?;
        let bound = 0;
        Ok(Self { statement, bound })
    }

    fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.bound += 1;
        self.statement.raw_bind_parameter(self.bound, value)
    }

    fn execute(&mut self) -> rusqlite::Result<()> {
        self.bound = 0;
        self.statement.raw_execute().map(|_| ())
    }
}

/// The statements of one hour: for one row, and for [`ROWS`].
struct Statements<'a> {
    span: [Insert<'a>; 2],
    details: [Insert<'a>; 2],
}

impl<'a> Statements<'a> {
    fn prepare(database: &'a Connection, hour: i64) -> rusqlite::Result<Self> {
        let (spans, details) = (Kind::Spans.table(hour), Kind::Details.table(hour));
        let span = |rows| Insert::prepare(database, &spans, &SPAN_COLUMNS, rows);
        let detail = |rows| Insert::prepare(database, &details, &DETAILS_COLUMNS, rows);
        Ok(Self {
            span: [span(1)?, span(ROWS)?],
            details: [detail(1)?, detail(ROWS)?],
        })
    }
}

/// What a span has beside its row; none if it has nothing.
struct Details<'a> {
    message: Option<&'a str>,
    attributes: Option<String>,
    events: Option<String>,
    links: Option<String>,
}

impl<'a> Details<'a> {
    fn of(span: &'a Span) -> Option<Self> {
        let details = Self {
            message: Some(&*span.status_message).filter(|message| !message.is_empty()),
            attributes: attributes_json(&span.attributes),
            events: json::events(&span.events),
            links: json::links(&span.links),
        };
        let texts = [&details.attributes, &details.events, &details.links];
        let is_some = details.message.is_some() || texts.iter().any(|text| text.is_some());
        is_some.then_some(details)
    }

    fn bind(&self, id: i64, insert: &mut Insert<'_>) -> rusqlite::Result<()> {
        insert.bind(id)?;
        insert.bind(self.message)?;
        for text in [&self.attributes, &self.events, &self.links] {
            insert.bind(text)?;
        }
        Ok(())
    }
}

impl Session<'_> {
    pub(super) fn spans(
        &mut self,
        batches: &[StoreBatch],
        written: &mut Written,
    ) -> rusqlite::Result<()> {
        let mut by_hour: BTreeMap<i64, Vec<&Hop>> = BTreeMap::new();
        for hop in batches.iter().flat_map(|batch| &batch.hops) {
            let hour = self.hours.of(nanos(hop.span.start_unix_nano));
            by_hour.entry(hour).or_default().push(hop);
        }
        for (hour, hops) in by_hour {
            self.catalogue.open_spans(self.database, hour)?;
            let mut statements = Statements::prepare(self.database, hour)?;
            let (many, rest) = hops.as_chunks::<ROWS>();
            let rest = rest.iter().map(std::slice::from_ref);
            for hops in many.iter().map(|hops| &hops[..]).chain(rest) {
                self.insert(hops, hour, &mut statements)?;
                written.spans += hops.len() as u64;
            }
        }
        Ok(())
    }

    /// Inserts one span, or [`ROWS`] of them.
    fn insert(
        &mut self,
        hops: &[&Hop],
        hour: i64,
        statements: &mut Statements<'_>,
    ) -> rusqlite::Result<()> {
        let [one, many] = &mut statements.span;
        let insert = if hops.len() == ROWS { many } else { one };
        for hop in hops {
            self.bind(hop, hour, insert)?;
        }
        insert.execute()?;
        // Rows of one statement get ids one after the other.
        let last = self.database.last_insert_rowid();
        let ids = last + 1 - i64::try_from(hops.len()).unwrap_or_default()..=last;
        let details = hops.iter().map(|hop| Details::of(&hop.span)).zip(ids);
        let details: Vec<_> = details.filter_map(|(of, id)| Some((of?, id))).collect();
        let [one, many] = &mut statements.details;
        if details.len() == ROWS {
            for (details, id) in &details {
                details.bind(*id, many)?;
            }
            return many.execute();
        }
        for (details, id) in &details {
            details.bind(*id, one)?;
            one.execute()?;
        }
        Ok(())
    }

    fn bind(&mut self, hop: &Hop, hour: i64, insert: &mut Insert<'_>) -> rusqlite::Result<()> {
        let span = &hop.span;
        let operation = self.operation_of(hop, hour)?;
        let resource = self
            .dictionaries
            .resource(self.database, hour, &span.resource)?;
        let path = self.path_of(hop, hour)?;
        insert.bind(nanos(span.start_unix_nano))?;
        insert.bind(duration(span.duration()))?;
        insert.bind(operation)?;
        insert.bind(status(span.status))?;
        insert.bind(span.trace_id.as_bytes())?;
        insert.bind(span.span_id.as_bytes())?;
        insert.bind(span.parent_span_id.as_ref().map(|id| id.as_bytes()))?;
        insert.bind(path)?;
        insert.bind(hop.queue_wait.map(duration))?;
        insert.bind(is_redelivered(hop))?;
        insert.bind(resource)
    }

    /// The key of the operation that the hop is one of.
    fn operation_of(&mut self, hop: &Hop, hour: i64) -> rusqlite::Result<i64> {
        let operation = Operation {
            service: Arc::clone(&hop.span.service),
            name: Arc::clone(&hop.span.name),
            kind: hop.span.kind.as_str(),
            destination: hop.destination.clone(),
        };
        self.dictionaries.operation(self.database, hour, operation)
    }

    /// The key of the path that the hop is on.
    fn path_of(&mut self, hop: &Hop, hour: i64) -> rusqlite::Result<Option<i64>> {
        let text = hop.path.as_deref().unwrap_or(UNKNOWN_PATH);
        let path = match &hop.step {
            Some(step) => Path {
                hash: step.hash,
                text,
                ends_in_delivery: step.direction == Direction::In,
            },
            None if hop.path.is_some() => Path {
                hash: hash(text),
                text,
                ends_in_delivery: false,
            },
            None => return Ok(None),
        };
        self.dictionaries.path(self.database, hour, path).map(Some)
    }
}

/// FNV-1a: stands for the hash of a path that came as a text alone.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn is_redelivered(hop: &Hop) -> bool {
    hop.span.attribute("rabtrace.redelivered") == Some(&AttributeValue::Bool(true))
}

const fn status(status: SpanStatus) -> i64 {
    match status {
        SpanStatus::Unset => 0,
        SpanStatus::Ok => 1,
        SpanStatus::Error => 2,
    }
}

fn duration(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn nanos(unix_nano: u64) -> i64 {
    i64::try_from(unix_nano).unwrap_or(i64::MAX)
}
