//! The program `rabtrace`: reads the command line and runs one command.

use std::process::ExitCode;
use std::time::Duration;

/// How long a thread that blocks may hold up the end, such as one that looks up a host's name.
const LAST_THREADS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(rabtrace::cli::run());
    runtime.shutdown_timeout(LAST_THREADS);
    code
}
