//! What a key of the configuration is.

use super::Config;

/// What a key takes; the file must have this type, a variable or flag is read as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
}

/// How much of a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// All of it.
    Open,
    /// A URL, or several with commas between: without password and query.
    Url,
    /// Nothing of it.
    Hidden,
}

/// A value on its way into the tree.
pub(super) enum Input<'a> {
    Text(&'a str),
    Integer(i64),
    Boolean(bool),
}

impl Input<'_> {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Integer(_) | Self::Boolean(_) => "",
        }
    }

    pub(super) fn integer(&self) -> i64 {
        match self {
            Self::Text(_) | Self::Boolean(_) => 0,
            Self::Integer(number) => *number,
        }
    }

    pub(super) fn boolean(&self) -> bool {
        matches!(self, Self::Boolean(true))
    }
}

pub(super) type Apply = fn(&mut Config, &Input<'_>) -> Result<(), String>;

/// One key of the configuration.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// Section and name, as the file and `--set` have it.
    pub(super) path: &'static str,
    /// What it means, for the example file.
    pub(super) doc: &'static str,
    /// Its default, as the file would have it.
    pub(super) default: &'static str,
    /// Text, integer or boolean.
    pub(super) kind: Kind,
    /// Variables that set it, the first one that is set wins.
    pub(super) env: &'static [&'static str],
    /// What is shown of it; unless all of it is, `NAME_FILE` may name a file that holds it.
    pub(super) secrecy: Secrecy,
    /// Checks a value and puts it into the tree.
    pub(super) apply: Apply,
}
