//! Takes connections in until it is told to stop.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Access;
use super::connection::handle;
use crate::metrics::ConnectionClosed;

/// Pause after the system refused a connection, as when the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop`, and until its connections have ended then.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    access: Access,
    stop: CancellationToken,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(_) => {
                    access.closed(ConnectionClosed::NotAccepted);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let Some(place) = access.enter() else {
            access.closed(ConnectionClosed::TooMany);
            continue;
        };
        let handling = handle(stream, router.clone(), access.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            handling.await;
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Whether the next connection may come at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
