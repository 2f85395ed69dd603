//! `rabtrace config`: the configuration that is in force, or an example of one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{self, Format};
use crate::config::{Loaded, example_toml};
use crate::render;

/// Arguments of `rabtrace config`.
#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every key with its value and where that came from; secrets are masked.
    Show {
        /// How it is printed.
        #[arg(long, value_enum, default_value = "table")]
        output: Format,
    },
    /// A file with every key, its documentation and its default.
    Example,
}

#[derive(Serialize)]
struct Row {
    key: &'static str,
    value: String,
    origin: String,
}

impl Config {
    /// Whether it is the example, which no configuration is read for.
    pub(super) const fn wants_example(&self) -> bool {
        matches!(self.command, Command::Example)
    }

    pub(super) fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Example => output::text(&example_toml()),
            Command::Show { output: format } => {
                let row =
                    |(key, value, origin): &(&'static str, String, crate::config::Origin)| Row {
                        key,
                        value: value.clone(),
                        origin: origin.to_string(),
                    };
                let rows: Vec<Row> = loaded.values.iter().map(row).collect();
                output::rows(format, &rows, |rows| {
                    let cells = rows
                        .iter()
                        .map(|row| vec![row.key.to_owned(), row.value.clone(), row.origin.clone()]);
                    render::table(&["KEY", "VALUE", "FROM"], cells.collect())
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
