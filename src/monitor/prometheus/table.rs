//! A row for each name, kept from answer to answer.
//!
//! The broker writes its queues in the same order in metric after metric and in poll after poll. So
//! each row remembers which came behind it: that one is compared with the name that comes next, and
//! only where it is another the name is looked up. Who goes through all rows and asks for each of them
//! later is answered in the same way. Names are allocated when they are new; rows that an answer did
//! not have are gone with its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::monitor::per_name::PerName;

/// No row.
const NONE: usize = usize::MAX;

/// Something for each queue or exchange of one answer.
#[derive(Clone, Debug)]
pub(in crate::monitor) struct Table<T> {
    rows: Vec<Row<T>>,
    places: PerName<usize>,
    /// The row that was read last.
    last: usize,
    /// The row behind the one that was asked for last.
    asked: Asked,
}

/// A place that changes where the table is only read.
#[derive(Debug, Default)]
struct Asked(AtomicUsize);

impl Clone for Asked {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[derive(Clone, Debug)]
struct Row<T> {
    vhost: Arc<str>,
    name: Arc<str>,
    /// The row that came behind it.
    next: usize,
    /// Whether this answer has it.
    is_seen: bool,
    /// Whether the broker writes its names as they are.
    is_plain: bool,
    value: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            places: PerName::default(),
            last: NONE,
            asked: Asked::default(),
        }
    }
}

impl<T> Table<T> {
    pub(in crate::monitor) fn get(&self, vhost: &str, name: &str) -> Option<&T> {
        let next = self.asked.0.load(Ordering::Relaxed);
        let is_next = |row: &Row<T>| is_same(&row.name, name) && is_same(&row.vhost, vhost);
        let place = match self.rows.get(next) {
            Some(row) if is_next(row) => next,
            _ => *self.places.get(vhost, name)?,
        };
        self.asked.0.store(place + 1, Ordering::Relaxed);
        let row = self.rows.get(place)?;
        row.is_seen.then_some(&row.value)
    }

    pub(in crate::monitor) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &T)> {
        let seen = self.rows.iter().filter(|row| row.is_seen);
        seen.map(|row| (&row.vhost, &row.name, &row.value))
    }

    /// Virtual host and name that most likely come next, if both are written as they are.
    pub(super) fn expected(&self) -> Option<(&str, &str)> {
        let row = self.rows.get(self.expected_place())?;
        row.is_plain.then_some((&row.vhost, &row.name))
    }

    fn expected_place(&self) -> usize {
        match self.rows.get(self.last) {
            Some(last) => last.next,
            None => 0,
        }
    }

    fn behind(&mut self, place: usize) {
        if let Some(last) = self.rows.get_mut(self.last) {
            last.next = place;
        }
        self.last = place;
    }
}

/// Whether both are the one text that is shared, without a look at it.
fn is_same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other)
}

impl<T: Default> Table<T> {
    /// Another answer begins: what was in the last one does not count.
    pub(super) fn begin(&mut self) {
        self.last = NONE;
        for row in &mut self.rows {
            row.is_seen = false;
            row.value = T::default();
        }
    }

    /// The answer is at its end: what it did not have is forgotten.
    pub(super) fn end(&mut self) {
        if self.rows.iter().all(|row| row.is_seen) {
            self.rows.shrink_to(self.rows.len() + self.rows.len() / 8);
            return;
        }
        self.rows.retain(|row| row.is_seen);
        self.places = PerName::default();
        for (place, row) in self.rows.iter_mut().enumerate() {
            row.next = place + 1;
            self.places.insert(&row.vhost, &row.name, place);
        }
    }

    /// The row that was [expected](Self::expected), and came.
    pub(super) fn take_expected(&mut self) -> Option<&mut T> {
        let place = self.expected_place();
        self.last = place;
        let row = self.rows.get_mut(place)?;
        row.is_seen = true;
        Some(&mut row.value)
    }

    /// The row of a name, made if it is new.
    pub(super) fn entry(&mut self, vhost: &str, name: &str) -> &mut T {
        let place = match self.places.get(vhost, name) {
            Some(place) => *place,
            None => self.add(vhost, name),
        };
        self.behind(place);
        let row = &mut self.rows[place];
        row.is_seen = true;
        &mut row.value
    }

    fn add(&mut self, vhost: &str, name: &str) -> usize {
        let place = self.rows.len();
        let (vhost, name) = self.places.add(vhost, name, place);
        let is_plain = |text: &str| !text.contains(['"', '\\', '\n']);
        self.rows.push(Row {
            is_plain: is_plain(&vhost) && is_plain(&name),
            vhost,
            name,
            next: place + 1,
            is_seen: true,
            value: T::default(),
        });
        place
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    /// Reads names in order, by expectation where it holds; how many had to be looked up.
    fn read(table: &mut Table<u64>, names: &[&str]) -> usize {
        let mut missed = 0;
        for name in names {
            let value = match table.expected() {
                Some(("/", expected)) if expected == *name => table.take_expected().unwrap(),
                _ => {
                    missed += 1;
                    table.entry("/", name)
                }
            };
            *value += 1;
        }
        missed
    }

    fn seen(table: &Table<u64>) -> Vec<(&str, u64)> {
        let rows = table.iter();
        rows.map(|(_, name, value)| (&**name, *value)).collect()
    }

    #[test]
    fn names_are_looked_up_only_where_their_order_changes() {
        let mut table = Table::default();
        let all = ["a", "b", "c", "d", "e"];
        table.begin();
        assert_eq!(read(&mut table, &all), 5, "all are new");
        table.begin();
        assert_eq!(read(&mut table, &all), 0);
        table.end();
        table.begin();
        assert_eq!(
            read(&mut table, &["a", "b", "x", "c", "d", "e"]),
            2,
            "x, and c behind it"
        );
        table.end();
        table.begin();
        assert_eq!(read(&mut table, &["a", "b", "x", "c", "d", "e"]), 0);
    }

    #[test]
    fn what_an_answer_does_not_have_is_gone_and_begins_anew() {
        let mut table = Table::default();
        table.begin();
        read(&mut table, &["a", "b", "c", "b"]);
        table.end();
        assert_eq!(seen(&table), [("a", 1), ("b", 2), ("c", 1)]);
        table.begin();
        assert_eq!(table.get("/", "b"), None);
        read(&mut table, &["a", "c"]);
        table.end();
        assert_eq!(seen(&table), [("a", 1), ("c", 1)]);
        assert_eq!((table.get("/", "b"), table.get("/", "c")), (None, Some(&1)));
        table.begin();
        assert_eq!(read(&mut table, &["a", "c", "b"]), 1);
        assert_eq!(table.get("/", "b"), Some(&1));
    }

    #[test]
    fn every_row_is_found_in_whatever_order_it_is_asked_for() {
        let mut table = Table::default();
        let names: Vec<String> = (0..100).map(|n| format!("q{n}")).collect();
        table.begin();
        for (value, name) in (0_u64..).zip(&names) {
            *table.entry("/", name) = value;
        }
        table.end();
        let rows: Vec<_> = table.iter().collect();
        let in_order = rows.iter();
        let (mixed, twice) = (
            rows.iter().rev().step_by(3),
            rows.iter().flat_map(|row| [row, row]),
        );
        for (vhost, name, value) in in_order.chain(mixed).chain(twice) {
            assert_eq!(table.get(vhost, name), Some(*value), "shared names");
            assert_eq!(
                table.get("/", &name.to_string()),
                Some(*value),
                "another text"
            );
            assert_eq!(table.get("/other", name), None);
        }
    }

    #[test]
    fn a_name_that_is_not_written_as_it_is_is_never_expected() {
        let mut table = Table::default();
        table.begin();
        read(&mut table, &["a\\b"]);
        table.begin();
        assert_eq!(table.expected(), None);
    }
}
