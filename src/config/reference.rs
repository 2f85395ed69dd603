//! The table of keys, for the page that lists them.

use super::keys::Secrecy;
use super::table::KEYS;

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Section and name.
    pub path: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its default, as the file would have it.
    pub default: &'static str,
    /// Variables that set it; the first one that is set wins.
    pub env: &'static [&'static str],
    /// Whether it may hold a secret.
    pub is_secret: bool,
}

/// Every key, in the order of the example file.
pub fn reference() -> impl Iterator<Item = Described> {
    KEYS.iter().map(|key| Described {
        path: key.path,
        doc: key.doc,
        default: key.default,
        env: key.env,
        is_secret: key.secrecy != Secrecy::Open,
    })
}
