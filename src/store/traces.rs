//! Where the spans of a trace are: an index that grows in runs, so that nobody waits for it long.
//!
//! Input: the spans of an hour, by ids that only grow. Output: its table of traces. A run has
//! [`RUN`] spans, sorted by trace id; who looks for a trace asks every run, and reads the spans
//! behind the last one. An index of SQLite's own over an hour holds the writer for as long as it is
//! made, and costs each insert more than the insert if it is there from the beginning.

use super::Store;
use super::housekeeping::Done;
use super::schema::Kind;

/// Spans of a run: so many are read, at most, that no run has yet.
const RUN: i64 = 65_536;

impl Store {
    /// Adds a run to an hour that is behind by one, or that ended before the hour `open`.
    pub(super) fn index(&mut self, open: i64) -> rusqlite::Result<Done> {
        let hours = self.catalogue.spans.iter();
        let hours: Vec<i64> = hours
            .filter(|(_, of)| !of.is_whole)
            .map(|(hour, _)| *hour)
            .collect();
        for hour in hours {
            let (covered, last) = self.covered(hour)?;
            let has_ended = hour < open;
            let number = (last - covered).min(RUN);
            if number == RUN || (has_ended && number > 0) {
                let run = covered + number;
                self.add_run(hour, covered, run)?;
                self.set_whole(hour, has_ended && run == last);
                return Ok(match has_ended && run == last {
                    true => Done::HourIndexed,
                    false => Done::Part,
                });
            }
            self.set_whole(hour, has_ended);
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

    /// Makes the spans behind `covered` up to `run` a run.
    fn add_run(&mut self, hour: i64, covered: i64, run: i64) -> rusqlite::Result<()> {
        let transaction = self.database.unchecked_transaction()?;
        let Some(of) = self.catalogue.spans.get_mut(&hour) else {
            return Ok(());
        };
        if !of.has_traces {
            Kind::Traces.create(&transaction, hour, &[])?;
        }
        let text = format!(
            "INSERT INTO \"{}\" (run, trace, id) SELECT ?2, trace, id FROM \"{}\" \
             WHERE id > ?1 AND id <= ?2 ORDER BY trace, id",
            Kind::Traces.table(hour),
            Kind::Spans.table(hour)
        );
        transaction.execute(&text, [covered, run])?;
        transaction.commit()?;
        of.has_traces = true;
        Ok(())
    }

    fn set_whole(&mut self, hour: i64, is_whole: bool) {
        if let Some(of) = self.catalogue.spans.get_mut(&hour) {
            of.is_whole = is_whole;
        }
    }
}
