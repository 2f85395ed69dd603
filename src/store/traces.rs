//! Where the spans of a trace are: an index that grows in runs, so that nobody waits for it long.
//!
//! Input: the spans of an hour, by ids that only grow. Output: its table of traces. A run has up to
//! [`RUN`] spans, sorted by trace id; who looks for a trace asks every run, and reads the spans
//! behind the last one. An index of SQLite's own over an hour holds the writer for as long as it is
//! made, and costs each insert more than the insert if it is there from the beginning.

use super::Store;
use super::housekeeping::Done;
use super::schema::Kind;

/// Spans of a run.
const RUN: i64 = 65_536;
/// Spans of the last run of an hour that ended: fewer are soon read, and runs of few spans would be
/// many.
const REST: i64 = 4_096;

impl Store {
    /// Adds a run to an hour that is behind by one: by a smaller one if it is before `open`.
    pub(super) fn index(&mut self, open: i64) -> rusqlite::Result<Done> {
        let hours = self.catalogue.spans.iter();
        let hours: Vec<i64> = hours
            .filter(|(_, of)| !of.is_whole)
            .map(|(hour, _)| *hour)
            .collect();
        for hour in hours {
            let (covered, last) = self.covered(hour)?;
            let has_ended = hour < open;
            if last - covered >= if has_ended { REST } else { RUN } {
                self.add_run(hour, covered)?;
                return Ok(Done::Part);
            }
            if let Some(of) = self.catalogue.spans.get_mut(&hour) {
                of.is_whole = has_ended;
            }
        }
        Ok(Done::Nothing)
    }

    /// The last span of an hour that is in a run, and its last span.
    fn covered(&self, hour: i64) -> rusqlite::Result<(i64, i64)> {
        let highest = |column: &str, of: Kind<'_>| {
            let text = format!(
                "SELECT ifnull(max({column}), 0) FROM \"{}\"",
                of.table(hour)
            );
            let mut statement = self.database.prepare_cached(&text)?;
            statement.query_row([], |row| row.get::<_, i64>(0))
        };
        let of = self.catalogue.spans.get(&hour);
        let covered = match of.is_some_and(|of| of.has_traces) {
            true => highest("run", Kind::Traces)?,
            false => 0,
        };
        Ok((covered, highest("id", Kind::Spans)?))
    }

    /// Makes the next spans behind `covered` a run.
    fn add_run(&mut self, hour: i64, covered: i64) -> rusqlite::Result<()> {
        let transaction = self.database.unchecked_transaction()?;
        let Some(of) = self.catalogue.spans.get_mut(&hour) else {
            return Ok(());
        };
        if !of.has_traces {
            Kind::Traces.create(&transaction, hour, &[])?;
        }
        let (traces, spans) = (Kind::Traces.table(hour), Kind::Spans.table(hour));
        let text = format!(
            "SELECT max(id) FROM (SELECT id FROM \"{spans}\" WHERE id > ?1 ORDER BY id LIMIT {RUN})"
        );
        let run: i64 = transaction.query_row(&text, [covered], |row| row.get(0))?;
        let text = format!(
            "INSERT INTO \"{traces}\" (run, trace, id) SELECT ?2, trace, id FROM \"{spans}\" \
             WHERE id > ?1 AND id <= ?2 ORDER BY trace, id"
        );
        transaction.execute(&text, [covered, run])?;
        transaction.commit()?;
        of.has_traces = true;
        Ok(())
    }
}
