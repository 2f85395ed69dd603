//! `rabtrace demo`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::output::{self, Format};
use crate::config::{Loaded, parse_duration};
use crate::demo::{self, Report, Screen};
use crate::shutdown;

/// Arguments of `rabtrace demo`.
#[derive(Args)]
pub(super) struct Demo {
    /// Ends by itself after this time; without it, with Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    lasting: Option<Duration>,
    /// Uses this broker instead of starting one.
    #[arg(long, value_name = "URL")]
    amqp: Option<String>,
    /// Sends points to this InfluxDB as well.
    #[arg(long, value_name = "URL")]
    influx: Option<String>,
    /// Sends all OTLP to this endpoint as well.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Keeps what is stored in this folder; without it, it is removed at the end.
    #[arg(long, value_name = "FOLDER")]
    store: Option<String>,
    /// Runs the pipeline alone, without an agent inside: --amqp and --otlp, or the configuration,
    /// say where it works.
    #[arg(long)]
    pipeline_only: bool,
    /// Runs this one service of the pipeline, as a process of its own.
    #[arg(long, value_name = "NAME", requires = "pipeline_only", value_parser = demo::SERVICES)]
    service: Option<String>,
    /// How the summary is printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

/// The demo's agent takes free ports for OTLP, so that a collector, or an agent that runs, may
/// have the usual ones; `--set` wins over them.
pub(super) fn free_ports() -> [(String, String, String); 2] {
    ["receiver.grpc_listen", "receiver.http_listen"]
        .map(|key| (key.to_owned(), "127.0.0.1:0".to_owned(), "demo".to_owned()))
}

impl Demo {
    /// The keys of the configuration that the flags set.
    pub(super) fn flags(&self) -> Vec<(String, String, String)> {
        let flags = [
            ("broker.amqp_url", &self.amqp, "--amqp"),
            ("influx.url", &self.influx, "--influx"),
            ("forward.endpoint", &self.otlp, "--otlp"),
            ("store.folder", &self.store, "--store"),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(key, value, flag)| Some((key, value.clone()?, flag)));
        given
            .map(|(key, value, flag)| (key.to_owned(), value, flag.to_owned()))
            .collect()
    }

    pub(super) async fn run(&self, mut loaded: Loaded) -> anyhow::Result<ExitCode> {
        if std::env::var_os("RUST_LOG").is_none() {
            // The screen belongs to the summary; what goes wrong still shows.
            "warn".clone_into(&mut loaded.config.log.level);
        }
        drop(super::start_log(&loaded));
        let stop = CancellationToken::new();
        shutdown::on_signal(stop.clone())?;
        let options = demo::Options {
            lasting: self.lasting,
            own_broker: self.amqp.is_none(),
            keep_store: self.store.is_some(),
            service: self.service.clone(),
            config: loaded.config,
        };
        if self.pipeline_only {
            demo::run_pipeline(options, stop).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let live = self.output == Format::Table;
        let show = |screen: &Screen| {
            if live && output::is_terminal() {
                output::screen(&screen.render(output::width()));
            } else if live && screen.is_first() {
                output::text(&screen.render(None));
            }
        };
        let report = demo::run(options, stop, &output::remark, &show).await?;
        self.print(&report)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        match self.output {
            Format::Table => output::text(&report.render()),
            Format::Json | Format::Ndjson => output::object(report)?,
        }
        Ok(())
    }
}
