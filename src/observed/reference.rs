//! The metrics of this module by name, for the page that lists them.

use super::table::{GROUPS, Kind};
use super::text::{PATH_COUNTERS, PATH_DURATION};

/// One metric of `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in their order.
    pub labels: Vec<&'static str>,
    /// What it says.
    pub help: &'static str,
}

/// Every metric that is made of what was seen.
#[must_use]
pub fn reference() -> Vec<Described> {
    let of_groups = GROUPS.iter().flat_map(|group| {
        group.families.iter().map(|family| {
            let labels = group.labels.iter().map(|(_, label)| *label);
            let own = Some(family.label).filter(|label| !label.is_empty());
            Described {
                name: family.name,
                kind: match family.kind {
                    Kind::Gauge => "gauge",
                    Kind::Told | Kind::Counted => "counter",
                },
                labels: labels.chain(own).collect(),
                help: family.help,
            }
        })
    });
    let path = |name, kind, help| Described {
        name,
        kind,
        labels: vec!["path"],
        help,
    };
    let counters = PATH_COUNTERS
        .iter()
        .map(|(name, help, _)| path(name, "counter", help));
    let (name, help) = PATH_DURATION;
    of_groups
        .chain(counters)
        .chain([path(name, "histogram", help)])
        .collect()
}
