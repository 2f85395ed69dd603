//! A map by virtual host and name that is read with borrowed names.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

/// Names with something each.
type Names<T> = HashMap<Arc<str>, T, RandomState>;

/// Something for each queue or exchange.
#[derive(Clone, Debug)]
pub(super) struct PerName<T>(Names<Names<T>>);

impl<T> Default for PerName<T> {
    fn default() -> Self {
        Self(Names::default())
    }
}

impl<T> PerName<T> {
    pub(super) fn get(&self, vhost: &str, name: &str) -> Option<&T> {
        self.0.get(vhost)?.get(name)
    }

    pub(super) fn get_mut(&mut self, vhost: &str, name: &str) -> Option<&mut T> {
        self.0.get_mut(vhost)?.get_mut(name)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }

    pub(super) fn insert(&mut self, vhost: &Arc<str>, name: &Arc<str>, value: T) {
        if let Some(names) = self.0.get_mut(vhost) {
            names.insert(name.clone(), value);
        } else {
            let names = Names::from_iter([(name.clone(), value)]);
            self.0.insert(vhost.clone(), names);
        }
    }

    /// A name that is not there yet; the keys that it has.
    pub(super) fn add(&mut self, vhost: &str, name: &str, value: T) -> (Arc<str>, Arc<str>) {
        let (vhost, name) = (key_of(&self.0, vhost), Arc::from(name));
        self.insert(&vhost, &name, value);
        (vhost, name)
    }

    /// Keeps what `keep` wants, and the virtual hosts that still have something.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.0.retain(|_, names| {
            names.retain(|_, value| keep(value));
            !names.is_empty()
        });
    }

    /// The same, by name too.
    pub(super) fn retain_named(&mut self, mut keep: impl FnMut(&str, &str, &T) -> bool) {
        self.0.retain(|vhost, names| {
            names.retain(|name, value| keep(vhost, name, value));
            !names.is_empty()
        });
    }

    /// Every value.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().flat_map(HashMap::values_mut)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &T)> {
        self.0
            .iter()
            .flat_map(|(vhost, names)| names.iter().map(move |(name, value)| (vhost, name, value)))
    }
}

impl<T: Default> PerName<T> {
    /// The value of a name that may be shared, made if it is new.
    pub(super) fn shared_entry(&mut self, vhost: &Arc<str>, name: &Arc<str>) -> &mut T {
        let names = self.0.entry(vhost.clone()).or_default();
        names.entry(name.clone()).or_default()
    }
}

/// The key that the map has already, or a new one.
fn key_of<T>(map: &Names<T>, name: &str) -> Arc<str> {
    map.get_key_value(name)
        .map_or_else(|| Arc::from(name), |(key, _)| key.clone())
}
