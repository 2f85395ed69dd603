//! `rabtrace agent`.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Loaded, mask_url};
use crate::shutdown;

/// Runs the agent until it is told to stop.
pub(super) async fn run(loaded: Loaded) -> anyhow::Result<ExitCode> {
    super::start_log(&loaded);
    let broker = mask_url(loaded.config.broker.amqp_url.expose());
    let origin = loaded.origin("broker.amqp_url");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), broker, from = %origin, "starting");
    let stop = CancellationToken::new();
    shutdown::on_signal(stop.clone())?;
    let app = App::build(loaded.config).await?;
    app.run(stop).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
