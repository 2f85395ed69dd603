//! Points into the tables of their measurements and hours. Columns are added as tags and fields
//! appear, within bounds.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, ToSql};

use super::{Session, Written};
use crate::model::{FieldValue, Point, StoreBatch};
use crate::store::schema::{Kind, series_table};

/// Lists of fields whose statements are at hand: the points of one poll have few.
const MAX_INSERTS: usize = 16;

/// How points of a measurement and an hour are written that have the same fields.
struct Insert<'a> {
    measurement: &'static str,
    hour: i64,
    fields: Vec<&'static str>,
    /// Which of the fields are written.
    places: Vec<usize>,
    statement: CachedStatement<'a>,
}

impl Insert<'_> {
    fn fits(&self, point: &Point, hour: i64) -> bool {
        let names = point.fields.iter().map(|(name, _)| *name);
        self.hour == hour
            && self.measurement == point.measurement
            && self.fields.len() == point.fields.len()
            && names.eq(self.fields.iter().copied())
    }

    fn execute(&mut self, point: &Point, series: i64) -> rusqlite::Result<()> {
        let statement = &mut self.statement;
        statement.raw_bind_parameter(1, point.time_unix_nano)?;
        statement.raw_bind_parameter(2, series)?;
        let fields = self.places.iter().filter_map(|at| point.fields.get(*at));
        for (mark, (_, value)) in (3..).zip(fields) {
            statement.raw_bind_parameter(mark, Bound(value))?;
        }
        statement.raw_execute()?;
        Ok(())
    }
}

impl<'a> Session<'a> {
    pub(super) fn points(
        &mut self,
        batches: &[StoreBatch],
        written: &mut Written,
    ) -> rusqlite::Result<()> {
        let mut inserts: Vec<Insert<'a>> = Vec::new();
        for point in batches.iter().flat_map(|batch| &batch.points) {
            let hour = self.hours.of(point.time_unix_nano);
            if !self
                .catalogue
                .open_points(self.database, point.measurement, hour)?
            {
                written.refused += 1;
                continue;
            }
            let series = self.series(point, hour, written)?;
            let at = match inserts.iter().position(|insert| insert.fits(point, hour)) {
                Some(at) => at,
                None => {
                    if inserts.len() >= MAX_INSERTS {
                        inserts.clear();
                    }
                    inserts.push(self.point_insert(point, hour)?);
                    inserts.len() - 1
                }
            };
            let insert = &mut inserts[at];
            written.columns_refused += (insert.fields.len() - insert.places.len()) as u64;
            insert.execute(point, series)?;
            written.points += 1;
        }
        Ok(())
    }

    /// How points with the fields of that one are written.
    fn point_insert(&mut self, point: &Point, hour: i64) -> rusqlite::Result<Insert<'a>> {
        let fields: Vec<&'static str> = point.fields.iter().map(|(name, _)| *name).collect();
        let mut columns = String::from("time, series");
        let mut marks = String::from("?, ?");
        let mut places = Vec::new();
        for (at, name) in fields.iter().enumerate() {
            let is_first = !fields[..at].contains(name);
            if is_first
                && self
                    .catalogue
                    .open_field(self.database, point.measurement, name)?
            {
                columns.push_str(&format!(", \"field_{name}\""));
                marks.push_str(", ?");
                places.push(at);
            }
        }
        let table = Kind::Points(point.measurement).table(hour);
        let statement = self.database.prepare_cached(&format!(
            "INSERT INTO \"{table}\" ({columns}) VALUES ({marks})"
        ))?;
        Ok(Insert {
            measurement: point.measurement,
            hour,
            fields,
            places,
            statement,
        })
    }

    /// The key of the point's tag set.
    fn series(&mut self, point: &Point, hour: i64, written: &mut Written) -> rusqlite::Result<i64> {
        let mut tags: Vec<(&str, &str)> = point
            .tags
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (*name, &**value))
            .collect();
        tags.sort_unstable();
        tags.dedup_by_key(|(name, _)| *name);
        let named = (point.measurement, &*tags);
        let (id, is_new) = self.dictionaries.series(self.database, hour, named)?;
        if !is_new {
            return Ok(id);
        }
        let table = series_table(point.measurement);
        for (name, value) in tags {
            if !self
                .catalogue
                .open_tag(self.database, point.measurement, name)?
            {
                written.columns_refused += 1;
                continue;
            }
            let text = format!("UPDATE \"{table}\" SET \"tag_{name}\" = ?1 WHERE id = ?2");
            self.database.prepare_cached(&text)?.execute((value, id))?;
        }
        Ok(id)
    }
}

/// A field's value.
struct Bound<'a>(&'a FieldValue);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            FieldValue::Int(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            // SQLite has NULL for what is no number.
            FieldValue::Float(number) => ToSqlOutput::Owned(Value::Real(*number)),
            FieldValue::Bool(value) => ToSqlOutput::Owned(Value::Integer(i64::from(*value))),
            FieldValue::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            FieldValue::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}
