//! Dictionaries: texts to the integer keys under which the hours' tables have them.
//!
//! Each keeps in memory what it looked up, under a hash of 64 bits with a key of its own; beyond
//! [`MAX_CACHED`] entries it forgets all of them and looks up again. An entry is touched once an
//! hour, so that retention knows what is in use.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use foldhash::quality;
use rusqlite::{Connection, ToSql};
use serde::ser::{SerializeMap, Serializer};

use super::super::schema::series_table;
use crate::model::{Attributes, attributes_json};

/// Entries that one dictionary keeps in memory.
const MAX_CACHED: usize = 50_000;

struct Known {
    id: i64,
    last_hour: i64,
}

/// What was looked up in one dictionary.
#[derive(Default)]
pub(super) struct Cache {
    hasher: quality::RandomState,
    known: HashMap<u64, Known, RandomState>,
}

impl Cache {
    /// The key in memory, if it is known to be in use in that hour.
    pub(super) fn find(&self, key: &impl Hash, hour: i64) -> Option<i64> {
        let known = self.known.get(&self.hasher.hash_one(key))?;
        (known.last_hour >= hour).then_some(known.id)
    }

    pub(super) fn keep(&mut self, key: &impl Hash, id: i64, hour: i64) {
        if self.known.len() >= MAX_CACHED {
            self.known.clear();
        }
        let key = self.hasher.hash_one(key);
        let entry = self.known.entry(key).or_insert(Known {
            id,
            last_hour: hour,
        });
        entry.last_hour = entry.last_hour.max(hour);
    }
}

/// Service, name, kind and destination of a span.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Operation {
    pub(super) service: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) kind: &'static str,
    pub(super) destination: Option<Arc<str>>,
}

/// Where a path was measured.
#[derive(Hash)]
pub(super) struct Checkpoint {
    pub(super) path: i64,
    pub(super) service: Arc<str>,
    pub(super) destination: Arc<str>,
    pub(super) direction: &'static str,
    pub(super) kind: &'static str,
}

/// All dictionaries.
#[derive(Default)]
pub(in crate::store) struct Dictionaries {
    pub(super) operations: Cache,
    /// The operation of the span before: spans of one request have few.
    last_operation: Option<(Operation, i64, i64)>,
    pub(super) paths: Cache,
    pub(super) checkpoints: Cache,
    /// Hashes whose steps, and those before them, are known to be in use.
    pub(super) steps: Cache,
    resources: Cache,
    /// The resource of the span before: spans of one request share theirs.
    last_resource: Option<(Arc<Attributes>, i64, i64)>,
    series: HashMap<String, Cache>,
}

impl Dictionaries {
    pub(super) fn operation(
        &mut self,
        database: &Connection,
        hour: i64,
        key: Operation,
    ) -> rusqlite::Result<i64> {
        if let Some((last, last_hour, id)) = &self.last_operation
            && *last == key
            && *last_hour >= hour
        {
            return Ok(*id);
        }
        let id = self.operation_in(database, hour, key.clone())?;
        self.last_operation = Some((key, hour, id));
        Ok(id)
    }

    fn operation_in(
        &mut self,
        database: &Connection,
        hour: i64,
        key: Operation,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.operations.find(&key, hour) {
            return Ok(id);
        }
        let destination = key.destination.as_deref().unwrap_or_default();
        let id = upsert(
            database,
            "dictionary_operations",
            &["service", "name", "kind", "destination"],
            &[&key.service, &key.name, &key.kind, &destination, &hour],
        )?;
        self.operations.keep(&key, id, hour);
        Ok(id)
    }

    pub(super) fn checkpoint(
        &mut self,
        database: &Connection,
        hour: i64,
        key: Checkpoint,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.checkpoints.find(&key, hour) {
            return Ok(id);
        }
        let id = upsert(
            database,
            "dictionary_checkpoints",
            &["path", "service", "destination", "direction", "kind"],
            &[
                &key.path,
                &key.service,
                &key.destination,
                &key.direction,
                &key.kind,
                &hour,
            ],
        )?;
        self.checkpoints.keep(&key, id, hour);
        Ok(id)
    }

    /// The key of a resource's attributes; none if it has none.
    pub(super) fn resource(
        &mut self,
        database: &Connection,
        hour: i64,
        resource: &Arc<Attributes>,
    ) -> rusqlite::Result<Option<i64>> {
        if let Some((last, last_hour, id)) = &self.last_resource
            && Arc::ptr_eq(last, resource)
            && *last_hour >= hour
        {
            return Ok(Some(*id));
        }
        let Some(text) = attributes_json(resource) else {
            return Ok(None);
        };
        let id = match self.resources.find(&text, hour) {
            Some(id) => id,
            None => {
                let id = upsert(
                    database,
                    "dictionary_resources",
                    &["attributes"],
                    &[&text, &hour],
                )?;
                self.resources.keep(&text, id, hour);
                id
            }
        };
        self.last_resource = Some((Arc::clone(resource), hour, id));
        Ok(Some(id))
    }

    /// The key of a path; one that is not known yet gets `text`.
    pub(super) fn path(
        &mut self,
        database: &Connection,
        hour: i64,
        path: Path<'_>,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.paths.find(&path.hash, hour) {
            return Ok(id);
        }
        // A text that begins with "?" has a parent that was not known: any other one is better, but
        // not the placeholder of a row that knows nothing.
        let mut statement = database.prepare_cached(
            "INSERT INTO dictionary_paths (hash, text, ends_in_delivery, last_hour) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (hash) DO UPDATE SET \
             text = CASE WHEN text LIKE '?%' AND excluded.text <> '?' THEN excluded.text ELSE text END, \
             ends_in_delivery = max(ends_in_delivery, excluded.ends_in_delivery), \
             last_hour = max(last_hour, excluded.last_hour) RETURNING id",
        )?;
        let id = statement.query_row(
            (
                path.hash.cast_signed(),
                path.text,
                path.ends_in_delivery,
                hour,
            ),
            |row| row.get(0),
        )?;
        self.paths.keep(&path.hash, id, hour);
        Ok(id)
    }

    /// The key of a series, by its tags in their order; and whether it is new, so that its tags must
    /// be written.
    pub(super) fn series(
        &mut self,
        database: &Connection,
        hour: i64,
        (measurement, tags): (&str, &[(&str, &str)]),
    ) -> rusqlite::Result<(i64, bool)> {
        let known = self.series.get(measurement);
        if let Some(id) = known.and_then(|cache| cache.find(&tags, hour)) {
            return Ok((id, false));
        }
        let id = upsert(
            database,
            &series_table(measurement),
            &["key"],
            &[&series_key(tags), &hour],
        )?;
        self.series
            .entry(measurement.to_owned())
            .or_default()
            .keep(&tags, id, hour);
        Ok((id, true))
    }
}

/// The tags of a series as one text: a JSON object.
fn series_key(tags: &[(&str, &str)]) -> String {
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

/// A path that something refers to.
pub(super) struct Path<'a> {
    pub(super) hash: u64,
    pub(super) text: &'a str,
    pub(super) ends_in_delivery: bool,
}

/// The id of a row of a dictionary, made or touched; the values end with the hour.
fn upsert(
    database: &Connection,
    table: &str,
    columns: &[&str],
    values: &[&dyn ToSql],
) -> rusqlite::Result<i64> {
    let names = columns.join(", ");
    let marks = vec!["?"; values.len()].join(", ");
    let mut statement = database.prepare_cached(&format!(
        "INSERT INTO \"{table}\" ({names}, last_hour) VALUES ({marks}) \
         ON CONFLICT ({names}) DO UPDATE SET last_hour = max(last_hour, excluded.last_hour) \
         RETURNING id"
    ))?;
    statement.query_row(values, |row| row.get(0))
}
