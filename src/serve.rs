//! Serves HTTP until it is told to stop.
//!
//! Input: a bound listener and its routes. A request that is under way at the stop may go on for
//! two seconds; one that takes longer, or whose sender never ends it, is left behind.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long open requests may go on after the stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Serves `router` on `listener` until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    let stopping = stop.clone().cancelled_owned();
    tokio::select! {
        outcome = axum::serve(listener, router).with_graceful_shutdown(stopping) => outcome,
        () = overdue => Ok(()),
    }
}
