//! Where values come from, and what is wrong with them.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of defaults.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
    /// It follows from another key.
    Derived(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("the default"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Env(name) => formatter.write_str(name),
            Self::Flag(name) => formatter.write_str(name),
            Self::Derived(key) => write!(formatter, "{key}"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Key, file or variable.
    pub what: String,
    /// Where the value came from.
    pub origin: Origin,
    /// Why it cannot be taken.
    pub why: String,
}

/// All that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.len();
        write!(
            formatter,
            "the configuration has {number} mistake{}",
            if number == 1 { "" } else { "s" }
        )?;
        for mistake in &self.0 {
            write!(
                formatter,
                "\n  {}  from {}\n      {}",
                mistake.what, mistake.origin, mistake.why
            )?;
        }
        formatter.write_str("\n  fix   `rabtrace config example` prints every key with its default")
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} from {}: {}",
            self.what, self.origin, self.why
        )
    }
}
