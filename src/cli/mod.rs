//! The command line: one file a command. Data goes to stdout, the rest to stderr.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 not found, 4 unreachable, 10 findings.

mod agent;
mod ask;
mod check;
mod config;
mod demo;
mod health;
mod output;
mod paths;
mod query;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::app::SetLogLevel;
use crate::config::{Loaded, LogFormat, Sources, load};
use crate::influx::QueryError;

pub use output::Format;

/// Exit code: something failed.
const FAILED: u8 = 1;
/// Exit code: the command line or the configuration is wrong.
const USAGE: u8 = 2;
/// Exit code: what was asked for is not there.
const NOT_FOUND: u8 = 3;
/// Exit code: the agent or a server cannot be reached.
const UNREACHABLE: u8 = 4;
/// Exit code: the command worked and found something wrong.
const FINDINGS: u8 = 10;

/// Shows where every RabbitMQ message goes, how long it waits, and why it is late or lost.
#[derive(Parser)]
#[command(name = "rabtrace", version, propagate_version = true)]
pub struct Cli {
    /// Configuration file; without one, rabtrace.toml in this folder if it is there.
    #[arg(long, global = true, value_name = "FILE", env = "RABTRACE_CONFIG")]
    config: Option<PathBuf>,
    /// Sets a key of the configuration, for instance `--set broker.poll_interval=2s`.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent: take OTLP in, watch the broker, store, send on.
    Agent,
    /// Run a sample pipeline on a real broker and show what rabtrace sees.
    Demo(demo::Demo),
    /// Try every connection and say how to mend what does not work.
    Check(check::Check),
    /// Paths that messages take: rate, errors, latency end to end and hop by hop, what changed.
    Paths(paths::Paths),
    /// Queues: depth, consumers, rates.
    Queues(ask::Queues),
    /// One trace as a waterfall, with the wait in each queue.
    Trace(ask::Trace),
    /// Operations by their average duration.
    Slow(ask::Slow),
    /// Failures by service, operation and type.
    Errors(ask::Errors),
    /// Ask the store in SQL; it cannot be changed.
    Sql(ask::Sql),
    /// The questions that ship with rabtrace, to InfluxDB or to the store.
    Query(query::Query),
    /// Ask a running agent how it is; `--live` and `--ready` are a container's probes.
    Health(health::Health),
    /// Show the configuration, or print an example of it.
    Config(config::Config),
}

/// Runs the command line of this process.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    // The example is what a broken configuration is mended with.
    if let Command::Config(config) = &cli.command
        && config.wants_example()
    {
        output::text(&crate::config::example_toml());
        return ExitCode::SUCCESS;
    }
    let loaded = match cli.load() {
        Ok(loaded) => loaded,
        Err(errors) => return failure(&errors.into()),
    };
    if matches!(cli.command, Command::Agent) {
        let ended = agent::run(loaded, Arc::new(move || cli.load())).await;
        return ended.unwrap_or_else(|error| failure(&error));
    }
    let result = match cli.command {
        Command::Agent => Ok(ExitCode::SUCCESS),
        Command::Demo(demo) => Box::pin(demo.run(loaded)).await,
        Command::Check(check) => check.run(&loaded).await,
        Command::Paths(paths) => paths.run(&loaded).await,
        Command::Queues(queues) => queues.run(&loaded).await,
        Command::Trace(trace) => trace.run(&loaded).await,
        Command::Slow(slow) => slow.run(&loaded).await,
        Command::Errors(errors) => errors.run(&loaded).await,
        Command::Sql(sql) => sql.run(&loaded).await,
        Command::Query(query) => query.run(&loaded).await,
        Command::Health(health) => health.run(&loaded).await,
        Command::Config(config) => config.run(&loaded),
    };
    match result {
        Ok(code) => code,
        Err(error) => failure(&error),
    }
}

impl Cli {
    fn load(&self) -> Result<Loaded, crate::config::ConfigErrors> {
        let here = PathBuf::from("rabtrace.toml");
        let file = self
            .config
            .clone()
            .or_else(|| here.is_file().then_some(here));
        let flag =
            |(key, value): &(String, String)| (key.clone(), value.clone(), format!("--set {key}"));
        let mut flags = Vec::new();
        if matches!(self.command, Command::Demo(_)) {
            flags.extend(demo::free_ports());
        }
        flags.extend(self.set.iter().map(flag));
        if let Command::Demo(demo) = &self.command {
            flags.extend(demo.flags());
        }
        load(&Sources {
            file,
            flags,
            env: &|name| std::env::var(name).ok().filter(|value| !value.is_empty()),
        })
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("it is not of the form KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Prints an error and gives its exit code.
fn failure(error: &anyhow::Error) -> ExitCode {
    output::error(error);
    let config = error
        .downcast_ref::<crate::config::ConfigErrors>()
        .map(|_| USAGE);
    let code = config.or_else(|| {
        error
            .downcast_ref::<source::SourceError>()
            .map(source::SourceError::exit_code)
    });
    let code = code.or_else(|| {
        let unreachable = |error: &QueryError| matches!(error, QueryError::Unreachable(_));
        let error = error.downcast_ref::<QueryError>();
        error
            .filter(|error| unreachable(error))
            .map(|_| UNREACHABLE)
    });
    ExitCode::from(code.unwrap_or(FAILED))
}

/// Starts the log on stderr; what comes back changes its level.
fn start_log(loaded: &Loaded) -> SetLogLevel {
    let log = &loaded.config.log;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.level))
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start would only be a test's: the first log serves.
    match log.format {
        LogFormat::Text => {
            let builder = builder
                .with_ansi(output::colour(&std::io::stderr()))
                .with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |level| drop(handle.reload(filter(level))))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |level| drop(handle.reload(filter(level))))
        }
    }
}

fn filter(level: &str) -> tracing_subscriber::EnvFilter {
    // The HTTP and gRPC libraries log every connection at debug; they are asked for by name.
    let quiet = "lapin=warn,h2=warn,hyper=warn,hyper_util=warn,rustls=warn,tonic=warn,tower=warn,reqwest=warn,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry-otlp=warn";
    tracing_subscriber::EnvFilter::new(format!("{quiet},{level}"))
}
