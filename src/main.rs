//! The program `rabtrace`: reads the command line and runs one command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    rabtrace::cli::run().await
}
