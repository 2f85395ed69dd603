//! Points into the tables of their measurements and hours. Columns are added as tags and fields
//! appear, within bounds.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{ToSql, params_from_iter};
use serde::ser::{SerializeMap, Serializer};

use super::{Session, Written};
use crate::model::{FieldValue, Point, StoreBatch};
use crate::store::schema::{Kind, series_table};

impl Session<'_> {
    pub(super) fn points(
        &mut self,
        batches: &[StoreBatch],
        written: &mut Written,
    ) -> rusqlite::Result<()> {
        for point in batches.iter().flat_map(|batch| &batch.points) {
            let hour = self.hours.of(point.time_unix_nano);
            if self
                .catalogue
                .open_points(self.database, point.measurement, hour)?
            {
                self.point(point, hour, written)?;
                written.points += 1;
            } else {
                written.refused += 1;
            }
        }
        Ok(())
    }

    fn point(&mut self, point: &Point, hour: i64, written: &mut Written) -> rusqlite::Result<()> {
        let series = self.series(point, hour, written)?;
        let mut columns = String::from("time, series");
        let mut marks = String::from("?, ?");
        let mut values = vec![Bound::Int(point.time_unix_nano), Bound::Int(series)];
        for (at, (name, value)) in point.fields.iter().enumerate() {
            let twice = point.fields.iter().take(at).any(|(other, _)| other == name);
            if twice
                || !self
                    .catalogue
                    .open_field(self.database, point.measurement, name)?
            {
                written.columns_refused += 1;
                continue;
            }
            columns.push_str(&format!(", \"field_{name}\""));
            marks.push_str(", ?");
            values.push(Bound::Field(value));
        }
        let table = Kind::Points(point.measurement).table(hour);
        let mut statement = self.database.prepare_cached(&format!(
            "INSERT INTO \"{table}\" ({columns}) VALUES ({marks})"
        ))?;
        statement.execute(params_from_iter(values))?;
        Ok(())
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
        let key = key(&tags);
        let named = (point.measurement, key);
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

/// The tags as one text: a JSON object.
fn key(tags: &[(&str, &str)]) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    // Writing texts into memory cannot fail.
    if let Ok(mut map) = serializer.serialize_map(Some(tags.len())) {
        for (name, value) in tags {
            let _ = map.serialize_entry(name, value);
        }
        let _ = map.end();
    }
    String::from_utf8(bytes).unwrap_or_default()
}

enum Bound<'a> {
    Int(i64),
    Field(&'a FieldValue),
}

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Int(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Field(FieldValue::Int(number)) => ToSqlOutput::Owned(Value::Integer(*number)),
            // SQLite has NULL for what is no number.
            Self::Field(FieldValue::Float(number)) => ToSqlOutput::Owned(Value::Real(*number)),
            Self::Field(FieldValue::Bool(value)) => {
                ToSqlOutput::Owned(Value::Integer(i64::from(*value)))
            }
            Self::Field(FieldValue::Text(text)) => {
                ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
            }
            Self::Field(FieldValue::Bytes(bytes)) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}
