//! `rabtrace agent`.

use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Load, Reload};
use crate::config::{Loaded, mask_url};
use crate::metrics::{Loss, Metrics};
use crate::shutdown;

/// Runs the agent until it is told to stop; `load` reads its configuration anew.
pub(super) async fn run(loaded: Loaded, load: Load) -> anyhow::Result<ExitCode> {
    let set_log_level = super::start_log(&loaded);
    let broker = mask_url(loaded.config.broker.amqp_url.expose());
    let origin = loaded.origin("broker.amqp_url");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), broker, from = %origin, "starting");
    let stop = CancellationToken::new();
    shutdown::on_signal(stop.clone())?;
    let requests = shutdown::on_hangup()?;
    make_room_for_connections(loaded.config.limits.connections);
    let app = App::build(loaded.config.clone()).await?;
    let app = app.with_reload(Reload {
        loaded,
        load,
        set_log_level,
        requests,
    });
    let metrics = app.metrics();
    let outcome = Box::pin(app.run(stop)).await;
    tell_drops(&metrics);
    outcome?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What was dropped since the start: from here on nobody can ask for it.
fn tell_drops(metrics: &Metrics) {
    for loss in Loss::ALL {
        let (stage, reason) = (loss.stage().name(), loss.reason());
        let dropped = metrics.dropped_by(*loss);
        if dropped > 0 {
            tracing::warn!(stage, reason, dropped, "dropped since the start");
        }
    }
}

/// Each connection takes a file descriptor, and many systems give a process 1,024 unless it asks.
fn make_room_for_connections(connections: usize) {
    /// What the agent itself has open at most.
    const OWN: u64 = 256;
    let wanted = (connections as u64).saturating_add(OWN);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    let _ = setrlimit(Resource::Nofile, limit);
    if limit.current < Some(wanted) {
        tracing::warn!(
            connections,
            file_descriptors = limit.current,
            "this process may not have as many connections as limits.connections says"
        );
    }
}
