//! How long a row runs, and where its figures go.

use std::path::Path;

use serde_json::Value;

const VARIABLE: &str = "RABTRACE_TEST_FAULTS";

/// How long the rows run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Seconds, on any build: what `make test` runs.
    Short,
    /// Minutes: `make faults`.
    Minutes,
    /// As long as docs/reliability.md says: `make soak`.
    Soak,
}

impl Length {
    /// What the variable says; it is announced.
    pub(crate) fn chosen() -> Self {
        match std::env::var(VARIABLE).unwrap_or_default().as_str() {
            "" | "short" => {
                println!("note: the short form; `make faults` and `make soak` run longer ones");
                Self::Short
            }
            "minutes" => Self::Minutes,
            "soak" => Self::Soak,
            other => panic!("{VARIABLE} is short, minutes or soak, not {other:?}"),
        }
    }

    /// One of three by length.
    pub(crate) fn of<T>(self, short: T, minutes: T, soak: T) -> T {
        match self {
            Self::Short => short,
            Self::Minutes => minutes,
            Self::Soak => soak,
        }
    }
}

/// Prints the figures of a row, and keeps those of the longer forms.
pub(crate) fn report(row: &str, length: Length, figures: &Value) {
    println!("{row} ({length:?}): {figures:#}");
    if length != Length::Short {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
        std::fs::create_dir_all(&folder).unwrap();
        let text = serde_json::to_string_pretty(figures).unwrap();
        std::fs::write(folder.join(format!("{row}.json")), text).unwrap();
    }
}
