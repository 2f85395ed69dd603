//! Values by delivery tag, in order.
//!
//! Input: values under tags that most often count up one by one, and go in nearly the same order.
//! Output: those that are left, by tag or all up to one. A value that goes leaves its place empty,
//! unless it was the first or the last; once more places are empty than not, they are given up. So
//! memory follows how many values there are. Tags in any other order are right as well, and slower.

use std::collections::VecDeque;

use lapin::types::DeliveryTag;

/// Places that may always be empty or free.
const SPARE: usize = 64;

/// Values in the order of their tags. The first place and the last one are never empty.
#[derive(Debug)]
pub(super) struct ByTag<T> {
    places: VecDeque<(DeliveryTag, Option<T>)>,
    /// How many places are empty.
    empty: usize,
}

impl<T> Default for ByTag<T> {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            empty: 0,
        }
    }
}

impl<T> ByTag<T> {
    /// Puts the value there, and gives the one that was there before.
    pub(super) fn insert(&mut self, tag: DeliveryTag, value: T) -> Option<T> {
        let is_last = self.places.back().is_none_or(|(last, _)| *last < tag);
        if is_last {
            self.places.push_back((tag, Some(value)));
            return None;
        }
        match self.place(tag) {
            Ok(at) => {
                let (_, place) = self.places.get_mut(at)?;
                let before = place.replace(value);
                self.empty -= usize::from(before.is_none());
                before
            }
            Err(at) => {
                self.places.insert(at, (tag, Some(value)));
                None
            }
        }
    }

    /// Takes the value with that tag out if it is the wanted one.
    pub(super) fn remove_if(
        &mut self,
        tag: DeliveryTag,
        is_wanted: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let at = self.place(tag).ok()?;
        let (_, place) = self.places.get_mut(at)?;
        let removed = place.take_if(|value| is_wanted(value))?;
        self.empty += 1;
        self.give_up_places();
        Some(removed)
    }

    fn give_up_places(&mut self) {
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
            self.empty -= 1;
        }
        while let Some((_, None)) = self.places.back() {
            self.places.pop_back();
            self.empty -= 1;
        }
        if self.empty > SPARE && self.empty * 2 > self.places.len() {
            self.places.retain(|(_, value)| value.is_some());
            self.empty = 0;
        }
        if self.places.len() * 4 + SPARE < self.places.capacity() {
            self.places.shrink_to(self.places.len() * 2 + SPARE);
        }
    }

    /// The value with that tag.
    pub(super) fn find(&self, tag: DeliveryTag) -> Option<&T> {
        let (_, value) = self.places.get(self.place(tag).ok()?)?;
        value.as_ref()
    }

    /// The one with the highest tag.
    pub(super) fn last(&self) -> Option<&T> {
        self.places.back()?.1.as_ref()
    }

    /// Those up to that tag, itself included, in order.
    pub(super) fn up_to(&self, last: DeliveryTag) -> impl Iterator<Item = &T> {
        let within = self.places.iter().take_while(move |(tag, _)| *tag <= last);
        within.filter_map(|(_, value)| value.as_ref())
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.empty
    }

    /// Where the tag is, or would have to be.
    fn place(&self, tag: DeliveryTag) -> Result<usize, usize> {
        // Where none is left out, the tag says it.
        let first = self.places.front().map_or(tag, |(first, _)| *first);
        if let Some(at) = tag
            .checked_sub(first)
            .and_then(|at| usize::try_from(at).ok())
            && self.places.get(at).is_some_and(|(found, _)| *found == tag)
        {
            return Ok(at);
        }
        self.places.binary_search_by_key(&tag, |(tag, _)| *tag)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn memory_follows_what_is_left() {
        let mut values = ByTag::default();
        values.insert(1, ());
        for tag in 2..100_000 {
            values.insert(tag, ());
            values.remove_if(tag, |()| true);
        }
        // In the middle as well: the last one stays.
        for tag in 100_000..200_000 {
            values.insert(tag, ());
            values.remove_if(tag - 1, |()| true);
        }
        assert_eq!(values.len(), 2);
        assert!(
            values.places.capacity() <= 512,
            "{}",
            values.places.capacity()
        );
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0..4_u8, 0..300_u64), 1..600)) {
            let (mut values, mut model) = (ByTag::default(), BTreeMap::new());
            let mut next = 0;
            for (step, tag) in steps {
                match step {
                    0 => {
                        next += 1;
                        prop_assert_eq!(values.insert(next, tag), model.insert(next, tag));
                    }
                    1 => prop_assert_eq!(values.insert(tag, next), model.insert(tag, next)),
                    2 => prop_assert_eq!(values.remove_if(tag, |_| true), model.remove(&tag)),
                    _ => prop_assert_eq!(values.remove_if(tag, |_| false), None),
                }
                prop_assert_eq!(values.len(), model.len());
                prop_assert_eq!(values.find(tag), model.get(&tag));
                prop_assert_eq!(values.last(), model.last_key_value().map(|(_, value)| value));
                let within = model.range(..=tag).map(|(_, value)| value);
                prop_assert!(values.up_to(tag).eq(within));
            }
        }
    }
}
