//! A row for each name, kept from answer to answer.
//!
//! The broker writes its queues in the same order in poll after poll, and in metric after metric of one
//! kind ([`Order`]). So each row remembers which came behind it: that one is compared with the name that
//! comes next, and only where it is another the name is looked up. Names are allocated when they are
//! new; rows that an answer did not have are gone with its end.

use std::sync::Arc;

use crate::monitor::per_name::PerName;

/// No row.
const NONE: usize = usize::MAX;

/// Metrics whose rows come in one order: that of the broker's table of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Depths, deliveries and consumers of queues. Exchanges, which are few, have this one too.
    Counts,
    /// What was published to queues, by exchange. Where several publish to a queue it comes as often,
    /// and what comes behind it is looked up.
    Published,
    /// The types of queues.
    Types,
}

/// How many there are.
const ORDERS: usize = Order::Types as usize + 1;

/// Something for each queue or exchange of one answer.
#[derive(Clone, Debug)]
pub(in crate::monitor) struct Table<T> {
    rows: Vec<Row<T>>,
    places: PerName<usize>,
    /// The row that comes first in each order.
    first: [usize; ORDERS],
    /// The row that was read last in each order.
    last: [usize; ORDERS],
}

#[derive(Clone, Debug)]
struct Row<T> {
    vhost: Arc<str>,
    name: Arc<str>,
    /// The row that came behind it in each order.
    next: [usize; ORDERS],
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
            first: [0; ORDERS],
            last: [NONE; ORDERS],
        }
    }
}

impl<T> Table<T> {
    pub(in crate::monitor) fn get(&self, vhost: &str, name: &str) -> Option<&T> {
        let row = self.rows.get(*self.places.get(vhost, name)?)?;
        row.is_seen.then_some(&row.value)
    }

    pub(in crate::monitor) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &T)> {
        let seen = self.rows.iter().filter(|row| row.is_seen);
        seen.map(|row| (&row.vhost, &row.name, &row.value))
    }

    /// Virtual host and name that most likely come next, if both are written as they are.
    pub(super) fn expected(&self, order: Order) -> Option<(&str, &str)> {
        let row = self.rows.get(self.expected_place(order))?;
        row.is_plain.then_some((&row.vhost, &row.name))
    }

    fn expected_place(&self, order: Order) -> usize {
        let order = order as usize;
        match self.rows.get(self.last[order]) {
            Some(last) => last.next[order],
            None => self.first[order],
        }
    }

    fn behind(&mut self, order: Order, place: usize) {
        let order = order as usize;
        match self.rows.get_mut(self.last[order]) {
            Some(last) => last.next[order] = place,
            None => self.first[order] = place,
        }
        self.last[order] = place;
    }
}

impl<T: Default> Table<T> {
    /// Another answer begins: what was in the last one does not count.
    pub(super) fn begin(&mut self) {
        self.last = [NONE; ORDERS];
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
        self.mend_orders();
        self.rows.retain(|row| row.is_seen);
        self.places = PerName::default();
        for (place, row) in self.rows.iter().enumerate() {
            self.places.insert(&row.vhost, &row.name, place);
        }
    }

    /// Leads each order past the rows that go, to the places that the others will have.
    fn mend_orders(&mut self) {
        let mut stay = 0;
        let places = self.rows.iter().map(|row| {
            stay += usize::from(row.is_seen);
            if row.is_seen { stay - 1 } else { NONE }
        });
        let places: Vec<usize> = places.collect();
        for order in 0..ORDERS {
            // A run of rows that go is passed once, for the row before it; only a ring of them would
            // not end.
            let mut steps = 2 * self.rows.len();
            let mut behind = |rows: &[Row<T>], mut at: usize| {
                while let Some(row) = rows.get(at).filter(|row| !row.is_seen && steps > 0) {
                    steps -= 1;
                    at = row.next[order];
                }
                places.get(at).copied().unwrap_or(NONE)
            };
            self.first[order] = behind(&self.rows, self.first[order]);
            for place in 0..self.rows.len() {
                if self.rows[place].is_seen {
                    self.rows[place].next[order] = behind(&self.rows, self.rows[place].next[order]);
                }
            }
        }
    }

    /// The row that was [expected](Self::expected), and came.
    pub(super) fn take_expected(&mut self, order: Order) -> Option<&mut T> {
        let place = self.expected_place(order);
        self.last[order as usize] = place;
        let row = self.rows.get_mut(place)?;
        row.is_seen = true;
        Some(&mut row.value)
    }

    /// The row of a name, made if it is new.
    pub(super) fn entry(&mut self, order: Order, vhost: &str, name: &str) -> &mut T {
        let place = match self.places.get(vhost, name) {
            Some(place) => *place,
            None => self.add(vhost, name),
        };
        self.behind(order, place);
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
            next: [place + 1; ORDERS],
            is_seen: true,
            value: T::default(),
        });
        place
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Table};

    /// Reads names in order, by expectation where it holds; how many had to be looked up.
    fn read(table: &mut Table<u64>, names: &[&str]) -> usize {
        read_by(Order::Counts, table, names)
    }

    fn read_by(order: Order, table: &mut Table<u64>, names: &[&str]) -> usize {
        let mut missed = 0;
        for name in names {
            let value = match table.expected(order) {
                Some(("/", expected)) if expected == *name => table.take_expected(order).unwrap(),
                _ => {
                    missed += 1;
                    table.entry(order, "/", name)
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
    fn metrics_of_another_order_do_not_disturb() {
        let (counts, types) = (["a", "b", "c", "d"], ["c", "a", "d", "b"]);
        let mut table = Table::default();
        let mut poll = |counts: &[&str], types: &[&str]| {
            table.begin();
            let missed = [
                read_by(Order::Counts, &mut table, counts),
                read_by(Order::Counts, &mut table, counts),
                read_by(Order::Types, &mut table, types),
            ];
            table.end();
            missed
        };
        let learned = [4, 1, 4];
        assert_eq!(poll(&counts, &types), learned, "new, again, another order");
        assert_eq!(poll(&counts, &types), [0, 0, 0]);
        // One is gone, and all others have new places.
        let (counts, types) = (["a", "c", "d"], ["c", "a", "d"]);
        assert_eq!(poll(&counts, &types), [1, 0, 0], "what was behind it");
        assert_eq!(poll(&counts, &types), [0, 0, 0]);
    }

    #[test]
    fn a_name_that_is_not_written_as_it_is_is_never_expected() {
        let mut table = Table::default();
        table.begin();
        read(&mut table, &["a\\b"]);
        table.begin();
        assert_eq!(table.expected(Order::Counts), None);
    }
}
