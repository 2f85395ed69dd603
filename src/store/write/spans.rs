//! Spans into the tables of their hours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::CachedStatement;

use super::dictionary::{Operation, Path};
use super::{Session, Written, json};
use crate::model::{AttributeValue, Direction, Hop, SpanStatus, StoreBatch};
use crate::store::schema::Kind;

/// Text of a path of which nothing is known.
pub(super) const UNKNOWN_PATH: &str = "?";

/// The statements of one hour.
struct Statements<'a> {
    span: CachedStatement<'a>,
    details: CachedStatement<'a>,
}

impl<'a> Session<'a> {
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
            let mut statements = Statements {
                span: self.database.prepare_cached(&format!(
                    "INSERT INTO {} (start, duration, operation, status, trace, span, parent, \
                     path, queue, redelivered, resource) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                    Kind::Spans.table(hour)
                ))?,
                details: self.database.prepare_cached(&format!(
                    "INSERT INTO {} (id, message, attributes, events, links) \
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    Kind::Details.table(hour)
                ))?,
            };
            for hop in hops {
                self.span(hop, hour, &mut statements)?;
                written.spans += 1;
            }
        }
        Ok(())
    }

    fn span(
        &mut self,
        hop: &Hop,
        hour: i64,
        statements: &mut Statements<'_>,
    ) -> rusqlite::Result<()> {
        let span = &hop.span;
        let operation = Operation {
            service: Arc::clone(&span.service),
            name: Arc::clone(&span.name),
            kind: span.kind.as_str(),
            destination: hop.destination.clone(),
        };
        let operation = self
            .dictionaries
            .operation(self.database, hour, operation)?;
        let resource = self
            .dictionaries
            .resource(self.database, hour, &span.resource)?;
        let path = self.path_of(hop, hour)?;
        let id = statements.span.insert((
            nanos(span.start_unix_nano),
            duration(span.duration()),
            operation,
            status(span.status),
            span.trace_id.as_bytes(),
            span.span_id.as_bytes(),
            span.parent_span_id.as_ref().map(|id| id.as_bytes()),
            path,
            hop.queue_wait.map(duration),
            is_redelivered(hop),
            resource,
        ))?;
        let message = Some(&span.status_message).filter(|message| !message.is_empty());
        let attributes = json::attributes(&span.attributes);
        let (events, links) = (json::events(&span.events), json::links(&span.links));
        if message.is_some() || attributes.is_some() || events.is_some() || links.is_some() {
            statements
                .details
                .insert((id, message, attributes, events, links))?;
        }
        Ok(())
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
