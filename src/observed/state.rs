//! The newest values and the sums, by label set.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::paths::Paths;
use super::table::{GROUPS, Group, Kind};
use super::text;
use crate::model::{FieldValue, FlowWindow, OTHER, Point};

/// Label sets that a group holds at most, those that do not show included: the monitor has a bound
/// of its own for queues, `broker.max_queues`.
const MAX_HELD: usize = 50_000;

/// What was seen of one label set: each field's value and when it was told.
pub(super) type Row = Vec<Option<(f64, i64)>>;
/// The rows of a group, by the values of its labels.
pub(super) type Rows = HashMap<Vec<Arc<str>>, Row>;

/// What the agent saw; a clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Observed(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) groups: [Rows; GROUPS.len()],
    pub(super) paths: Paths,
}

impl Observed {
    /// Takes in points that came at `now_unix_nano`.
    pub fn take_points(&self, points: &[Point], now_unix_nano: i64) {
        if points.is_empty() {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, rows) in GROUPS.iter().zip(&mut state.groups) {
            let mut places = vec![0; kinds(group).count()];
            let mut told = false;
            for point in points.iter().filter(|point| fits(group, point)) {
                take(group, rows, point, (now_unix_nano, &mut places));
                told = true;
            }
            if told {
                let stale = now_unix_nano.saturating_sub(nanos(group));
                rows.retain(|_, row| is_needed(group, row, stale));
            }
        }
    }

    /// Takes in a window that was closed, of the path with this text.
    pub fn take_window(&self, path: &Arc<str>, window: &FlowWindow) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.paths.add(path, window);
    }

    /// Everything that is known at `now_unix_nano`, as Prometheus text.
    #[must_use]
    pub fn encode(&self, now_unix_nano: i64) -> String {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&state, now_unix_nano)
    }
}

/// How old a value of the group may be that shows.
pub(super) fn nanos(group: &Group) -> i64 {
    i64::try_from(group.fresh.as_nanos()).unwrap_or(i64::MAX)
}

/// The kind of each column of a row.
pub(super) fn kinds(group: &Group) -> impl Iterator<Item = Kind> {
    let families = group.families.iter();
    families.flat_map(|family| family.fields.iter().map(|_| family.kind))
}

/// Whether the group counts: then what is beyond its label sets counts as `_other`.
pub(super) fn counts(group: &Group) -> bool {
    kinds(group).any(|kind| kind == Kind::Counted)
}

fn is_needed(group: &Group, row: &Row, stale: i64) -> bool {
    let mut columns = kinds(group).zip(row);
    columns.any(|(kind, value)| value.is_some_and(|(_, at)| kind == Kind::Counted || at > stale))
}

fn fits(group: &Group, point: &Point) -> bool {
    point.measurement == group.measurement
        && group
            .with_node
            .is_none_or(|with| tag(point, "node").is_some() == with)
}

fn tag<'a>(point: &'a Point, name: &str) -> Option<&'a Arc<str>> {
    let found = point.tags.iter().find(|(tag, _)| *tag == name);
    found
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

/// Takes in a point that came `now`; `places` says where the point before had its fields.
fn take(group: &Group, rows: &mut Rows, point: &Point, (now, places): (i64, &mut [usize])) {
    let sums = counts(group);
    let labels = group.labels.iter();
    let mut key: Vec<Arc<str>> = labels
        .map(|(name, _)| tag(point, name).cloned().unwrap_or_default())
        .collect();
    let most = if sums { group.max_rows } else { MAX_HELD };
    if rows.len() >= most && !rows.contains_key(&key) {
        if !sums {
            return;
        }
        key.fill(OTHER.into());
    }
    let row = rows
        .entry(key)
        .or_insert_with(|| vec![None; kinds(group).count()]);
    let families = group.families.iter();
    let fields = families.flat_map(|family| {
        let fields = family.fields.iter();
        fields.map(move |(field, _)| (family, *field))
    });
    for (((family, field), value), place) in fields.zip(row).zip(places) {
        let told = number(point, field, place).map(|number| number * family.factor);
        match (told, family.kind) {
            (Some(told), Kind::Counted) => {
                *value = Some((value.map_or(0.0, |(sum, _)| sum) + told, now));
            }
            (Some(told), Kind::Gauge | Kind::Told) => *value = Some((told, now)),
            (None, Kind::Gauge | Kind::Told) if group.whole => *value = None,
            (None, _) => {}
        }
    }
}

/// A field's value; it is looked for at `place` first, which is then where it was found.
fn number(point: &Point, name: &str, place: &mut usize) -> Option<f64> {
    let fields = &point.fields;
    if fields.get(*place).is_none_or(|(field, _)| *field != name) {
        *place = fields.iter().position(|(field, _)| *field == name)?;
    }
    match &fields[*place].1 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "Prometheus has no other numbers"
        )]
        FieldValue::Int(number) => Some(*number as f64),
        FieldValue::Float(number) => Some(*number),
        FieldValue::Bool(_) | FieldValue::Text(_) | FieldValue::Bytes(_) => None,
    }
}
