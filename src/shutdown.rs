//! Signals: SIGTERM or Ctrl-C cancels one token that every task watches, SIGHUP asks for a reload.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A message for each SIGHUP; several that come before the first is taken are one.
///
/// # Errors
/// If the signal handler cannot be installed.
pub fn on_hangup() -> std::io::Result<mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let (requests, taken) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let _ = requests.try_send(());
        }
    });
    Ok(taken)
}

/// Cancels `token` on the first SIGTERM or SIGINT.
///
/// # Errors
/// If the signal handlers cannot be installed.
pub fn on_signal(token: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        token.cancel();
    });
    Ok(())
}
