//! `rabtrace health`: asks a running agent how it is.

use std::process::ExitCode;

use clap::Args;

use super::output::{self, Format};
use super::source::Agent;
use super::{FAILED, FINDINGS};
use crate::config::Loaded;
use crate::health::Status;
use crate::render;

/// Arguments of `rabtrace health`.
#[derive(Args)]
pub(super) struct Health {
    /// Only whether the process answers: exit 0 or 4. It is what a container's probe runs.
    #[arg(long)]
    live: bool,
    /// Only whether it takes and stores data, a broker that is away notwithstanding: exit 0, 1 or 4.
    #[arg(long, conflicts_with = "live")]
    ready: bool,
    /// How it is printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

impl Health {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let agent = Agent::new(loaded)?;
        if self.live {
            agent.live().await?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.ready {
            agent.ready().await?;
            return Ok(ExitCode::SUCCESS);
        }
        let report = agent.health().await?;
        match self.output {
            Format::Table => output::text(&render::health(&report)),
            Format::Json | Format::Ndjson => output::object(&report)?,
        }
        Ok(match report.status {
            Status::Healthy | Status::Starting => ExitCode::SUCCESS,
            Status::Degraded => ExitCode::from(FINDINGS),
            Status::Unhealthy => ExitCode::from(FAILED),
        })
    }
}
