//! Which hours and measurements the file has: read once from its schema, kept up by the writer.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::schema::{Kind, is_plain, parse, series_table, summing};

/// Measurements at most; a point of a further one is refused.
const MAX_MEASUREMENTS: usize = 100;
/// Tags, and fields, of one measurement at most; further ones are left out.
const MAX_COLUMNS: usize = 200;

/// A measurement: its columns are the same in all of its hours.
#[derive(Clone, Debug, Default)]
pub(super) struct Measurement {
    pub(super) hours: BTreeSet<i64>,
    /// Names of the tags.
    pub(super) tags: Vec<String>,
    /// Names of the fields.
    pub(super) fields: Vec<String>,
}

/// An hour with spans.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpanHour {
    /// Whether it has its table of traces: it comes with the first run.
    pub(super) has_traces: bool,
    /// Whether it ended, and is known to need no further run.
    pub(super) is_whole: bool,
}

/// What the file has.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    /// Hours with spans.
    pub(super) spans: BTreeMap<i64, SpanHour>,
    /// Hours with path statistics.
    pub(super) flow: BTreeSet<i64>,
    /// Those of them that have sums of 5 minutes.
    pub(super) flow_sums: BTreeSet<i64>,
    /// Those that have a part of them, of no use to anybody.
    pub(super) flow_parts: BTreeSet<i64>,
    pub(super) measurements: BTreeMap<String, Measurement>,
    /// Views that no longer show what there is.
    pub(super) stale_views: BTreeSet<String>,
}

impl Catalogue {
    /// Reads the schema of the file.
    pub(super) fn read(database: &Connection) -> rusqlite::Result<Self> {
        let mut catalogue = Self::default();
        let mut names = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
        let mut rows = names.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            match parse(&name) {
                Some((hour, Kind::Spans)) => {
                    catalogue.spans.entry(hour).or_default();
                }
                Some((hour, Kind::Traces)) => {
                    catalogue.spans.entry(hour).or_default().has_traces = true;
                }
                Some((hour, Kind::Flow)) => {
                    catalogue.flow.insert(hour);
                }
                Some((hour, Kind::FlowSums)) => {
                    catalogue.flow_sums.insert(hour);
                }
                Some((hour, Kind::Points(of))) => {
                    catalogue
                        .measurements
                        .entry(of.to_owned())
                        .or_default()
                        .hours
                        .insert(hour);
                }
                Some((_, Kind::Details)) | None => {}
            }
        }
        let mut parts = database.prepare("SELECT 1 FROM flow_meta WHERE name = ?1")?;
        for hour in std::mem::take(&mut catalogue.flow_sums) {
            let is_part = parts.exists([summing(hour)])?;
            let set = match is_part {
                true => &mut catalogue.flow_parts,
                false => &mut catalogue.flow_sums,
            };
            set.insert(hour);
        }
        for (name, measurement) in &mut catalogue.measurements {
            measurement.tags = columns(database, &series_table(name), "tag_")?;
            if let Some(hour) = measurement.hours.first() {
                measurement.fields = columns(database, &Kind::Points(name).table(*hour), "field_")?;
            }
        }
        Ok(catalogue)
    }

    /// All hours that have anything.
    pub(super) fn hours(&self) -> BTreeSet<i64> {
        let points = self.measurements.values().flat_map(|of| &of.hours);
        self.spans
            .keys()
            .chain(&self.flow)
            .chain(points)
            .copied()
            .collect()
    }

    /// Sees to it that spans of that hour can be written.
    pub(super) fn open_spans(&mut self, database: &Connection, hour: i64) -> rusqlite::Result<()> {
        if let Some(known) = self.spans.get_mut(&hour) {
            known.is_whole = false;
            return Ok(());
        }
        Kind::Spans.create(database, hour, &[])?;
        Kind::Details.create(database, hour, &[])?;
        self.spans.insert(hour, SpanHour::default());
        self.stale_views.insert("spans".to_owned());
        Ok(())
    }

    /// Sees to it that windows of that hour can be written.
    pub(super) fn open_flow(&mut self, database: &Connection, hour: i64) -> rusqlite::Result<()> {
        if self.flow.insert(hour) {
            Kind::Flow.create(database, hour, &[])?;
            self.stale_views.insert("message_flow".to_owned());
        } else if self.flow_sums.remove(&hour) {
            // What comes late is not in them: they are made anew.
            let table = Kind::FlowSums.table(hour);
            database.execute_batch(&format!("DROP TABLE \"{table}\""))?;
        }
        Ok(())
    }

    /// Sees to it that points of that measurement and hour can be written; whether they can.
    pub(super) fn open_points(
        &mut self,
        database: &Connection,
        measurement: &str,
        hour: i64,
    ) -> rusqlite::Result<bool> {
        if let Some(known) = self.measurements.get(measurement) {
            if known.hours.contains(&hour) {
                return Ok(true);
            }
        } else if !may_be_stored(measurement) || self.measurements.len() >= MAX_MEASUREMENTS {
            return Ok(false);
        } else {
            database.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS \"{}\" (id INTEGER PRIMARY KEY, key TEXT NOT NULL \
                 UNIQUE, last_hour INTEGER NOT NULL)",
                series_table(measurement)
            ))?;
        }
        let entry = self.measurements.entry(measurement.to_owned()).or_default();
        let fields: Vec<String> = entry
            .fields
            .iter()
            .map(|name| format!("field_{name}"))
            .collect();
        Kind::Points(measurement).create(database, hour, &fields)?;
        entry.hours.insert(hour);
        self.stale_views.insert(measurement.to_owned());
        Ok(true)
    }

    /// Sees to it that the measurement has that tag; whether it has.
    pub(super) fn open_tag(
        &mut self,
        database: &Connection,
        measurement: &str,
        tag: &str,
    ) -> rusqlite::Result<bool> {
        let Some(entry) = self.measurements.get_mut(measurement) else {
            return Ok(false);
        };
        if entry.tags.iter().any(|known| known == tag) {
            return Ok(true);
        }
        if !is_plain(tag) || entry.tags.len() >= MAX_COLUMNS {
            return Ok(false);
        }
        add_column(database, &series_table(measurement), &format!("tag_{tag}"))?;
        entry.tags.push(tag.to_owned());
        self.stale_views.insert(measurement.to_owned());
        Ok(true)
    }

    /// Sees to it that all hours of the measurement have that field; whether they have.
    pub(super) fn open_field(
        &mut self,
        database: &Connection,
        measurement: &str,
        field: &str,
    ) -> rusqlite::Result<bool> {
        let Some(entry) = self.measurements.get_mut(measurement) else {
            return Ok(false);
        };
        if entry.fields.iter().any(|known| known == field) {
            return Ok(true);
        }
        if !is_plain(field) || entry.fields.len() >= MAX_COLUMNS {
            return Ok(false);
        }
        for hour in &entry.hours {
            let table = Kind::Points(measurement).table(*hour);
            add_column(database, &table, &format!("field_{field}"))?;
        }
        entry.fields.push(field.to_owned());
        self.stale_views.insert(measurement.to_owned());
        Ok(true)
    }

    /// Drops everything of one hour.
    pub(super) fn drop_hour(&mut self, database: &Connection, hour: i64) -> rusqlite::Result<()> {
        let mut tables = Vec::new();
        if let Some(spans) = self.spans.remove(&hour) {
            tables.extend([Kind::Spans.table(hour), Kind::Details.table(hour)]);
            tables.extend(spans.has_traces.then(|| Kind::Traces.table(hour)));
            self.stale_views.insert("spans".to_owned());
        }
        if self.flow.remove(&hour) {
            tables.push(Kind::Flow.table(hour));
            let has_part = self.flow_parts.remove(&hour);
            if self.flow_sums.remove(&hour) || has_part {
                tables.push(Kind::FlowSums.table(hour));
                database.execute("DELETE FROM flow_meta WHERE name = ?1", [summing(hour)])?;
            }
            self.stale_views.insert("message_flow".to_owned());
        }
        for (name, measurement) in &mut self.measurements {
            if measurement.hours.remove(&hour) {
                tables.push(Kind::Points(name).table(hour));
                self.stale_views.insert(name.clone());
            }
        }
        // A view over a table that is gone would make every later change of the schema fail.
        for view in &self.stale_views {
            database.execute_batch(&format!("DROP VIEW IF EXISTS \"{view}\""))?;
        }
        for table in tables {
            database.execute_batch(&format!("DROP TABLE \"{table}\""))?;
        }
        for (name, _) in self
            .measurements
            .iter()
            .filter(|(_, of)| of.hours.is_empty())
        {
            database.execute_batch(&format!("DROP TABLE \"{}\"", series_table(name)))?;
        }
        self.measurements.retain(|_, of| !of.hours.is_empty());
        Ok(())
    }
}

/// Names that belong to the store itself are no measurements.
fn may_be_stored(measurement: &str) -> bool {
    let own = ["spans", "message_flow", "paths"].contains(&measurement)
        || ["hour_", "series_", "dictionary_", "sqlite_"]
            .iter()
            .any(|prefix| measurement.starts_with(prefix));
    is_plain(measurement) && !own
}

fn add_column(database: &Connection, table: &str, column: &str) -> rusqlite::Result<()> {
    database.execute_batch(&format!("ALTER TABLE \"{table}\" ADD COLUMN \"{column}\""))
}

/// The columns of a table that begin with `prefix`, without it.
fn columns(database: &Connection, table: &str, prefix: &str) -> rusqlite::Result<Vec<String>> {
    let mut names = database.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = names.query_map([table], |row| row.get::<_, String>(0))?;
    let mut columns = Vec::new();
    for name in names {
        columns.extend(name?.strip_prefix(prefix).map(str::to_owned));
    }
    Ok(columns)
}
