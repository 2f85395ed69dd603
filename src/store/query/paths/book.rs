//! The store's dictionaries of checkpoints and steps: which path a checkpoint is on, and which
//! steps lead there.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Row};

use crate::model::{Direction, EdgeKind};

/// Steps that are told of one path at most.
const MAX_STEPS: usize = 512;

/// Where something was counted.
pub(super) struct Checkpoint {
    pub(super) hash: u64,
    pub(super) service: String,
    pub(super) destination: String,
    pub(super) direction: Direction,
    pub(super) kind: EdgeKind,
}

/// A step of a path; one that merges messages stands here once for each parent.
pub(super) struct Step {
    pub(super) parent: Option<u64>,
    pub(super) service: String,
    pub(super) destination: String,
    pub(super) direction: Direction,
    pub(super) via: Option<String>,
}

/// All dictionaries of paths.
pub(super) struct Book {
    checkpoints: HashMap<i64, Checkpoint>,
    /// Text and id by hash.
    texts: HashMap<u64, (String, i64)>,
    steps: HashMap<u64, Vec<Step>>,
}

impl Book {
    pub(super) fn read(database: &Connection) -> rusqlite::Result<Self> {
        let mut checkpoints = HashMap::new();
        let mut statement = database.prepare(
            "SELECT c.id, p.hash, c.direction, c.service, c.destination, c.kind \
             FROM dictionary_checkpoints c JOIN dictionary_paths p ON p.id = c.path",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            checkpoints.insert(row.get(0)?, checkpoint(row)?);
        }
        let mut texts = HashMap::new();
        let mut statement = database.prepare("SELECT hash, text, id FROM dictionary_paths")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            texts.insert(hash(row, 0)?, (row.get(1)?, row.get(2)?));
        }
        let mut steps: HashMap<u64, Vec<Step>> = HashMap::new();
        let mut statement = database.prepare(
            "SELECT hash, parent, direction, service, destination, via FROM dictionary_steps \
             ORDER BY hash, parent",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (hash, step) = (hash(row, 0)?, step(row)?);
            // A repeat follows itself: it is no step of its own.
            if step.parent != Some(hash) {
                steps.entry(hash).or_default().push(step);
            }
        }
        Ok(Self {
            checkpoints,
            texts,
            steps,
        })
    }

    pub(super) fn checkpoint(&self, id: i64) -> Option<&Checkpoint> {
        self.checkpoints.get(&id)
    }

    pub(super) fn direction(&self, id: i64) -> Option<Direction> {
        self.checkpoint(id).map(|checkpoint| checkpoint.direction)
    }

    pub(super) fn text(&self, hash: u64) -> &str {
        self.texts.get(&hash).map_or("?", |(text, _)| text)
    }

    /// The key by which spans name the path.
    pub(super) fn path_id(&self, hash: u64) -> Option<i64> {
        self.texts.get(&hash).map(|(_, id)| *id)
    }

    /// The step of that hash, once for each parent; empty if it is not known.
    pub(super) fn step(&self, hash: u64) -> &[Step] {
        self.steps.get(&hash).map_or(&[], Vec::as_slice)
    }

    fn parents(&self, hash: u64) -> impl DoubleEndedIterator<Item = u64> {
        self.step(hash).iter().filter_map(|step| step.parent)
    }

    /// Whether steps up to `hash` merge several messages into one.
    pub(super) fn merges(&self, hashes: &[u64]) -> bool {
        hashes.iter().any(|hash| self.parents(*hash).count() > 1)
    }

    /// The hashes of the steps that lead to `hash`, and itself as the last: each after those that
    /// it follows, branches that merge one after the other.
    pub(super) fn steps_to(&self, hash: u64) -> Vec<u64> {
        enum Visit {
            Enter(u64),
            Leave(u64),
        }
        let mut ordered = Vec::new();
        let mut seen = HashSet::new();
        let mut left = vec![Visit::Enter(hash)];
        while let Some(visit) = left.pop() {
            match visit {
                Visit::Leave(hash) => ordered.push(hash),
                Visit::Enter(hash) if seen.len() < MAX_STEPS && seen.insert(hash) => {
                    left.push(Visit::Leave(hash));
                    left.extend(self.parents(hash).rev().map(Visit::Enter));
                }
                Visit::Enter(_) => {}
            }
        }
        ordered
    }

    /// The hash of the step at which a checkpoint counted: the path's own, but that of the step
    /// before which it repeats for an edge that is gone again.
    pub(super) fn home(&self, checkpoint: &Checkpoint) -> u64 {
        let same = |step: &Step| {
            step.direction == checkpoint.direction
                && step.service == checkpoint.service
                && step.destination == checkpoint.destination
        };
        let steps = self.steps_to(checkpoint.hash);
        let home = steps
            .into_iter()
            .rev()
            .find(|hash| self.step(*hash).first().is_some_and(same));
        home.unwrap_or(checkpoint.hash)
    }
}

fn hash(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(place).map(i64::cast_unsigned)
}

fn direction(row: &Row<'_>, place: usize) -> rusqlite::Result<Direction> {
    Ok(match row.get_ref(place)?.as_str()? {
        "in" => Direction::In,
        _ => Direction::Out,
    })
}

fn checkpoint(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    Ok(Checkpoint {
        hash: hash(row, 1)?,
        direction: direction(row, 2)?,
        service: row.get(3)?,
        destination: row.get(4)?,
        kind: EdgeKind::named(row.get_ref(5)?.as_str()?).unwrap_or_default(),
    })
}

fn step(row: &Row<'_>) -> rusqlite::Result<Step> {
    let via: String = row.get(5)?;
    Ok(Step {
        parent: Some(hash(row, 1)?).filter(|parent| *parent != 0),
        direction: direction(row, 2)?,
        service: row.get(3)?,
        destination: row.get(4)?,
        via: Some(via).filter(|via| !via.is_empty()),
    })
}
