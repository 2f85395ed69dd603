//! A peer as a part is told of it: again, when the configuration or its files change.

use tokio::sync::watch;

/// What is known of a peer, and the client to ask it with.
#[derive(Clone, Debug)]
pub struct Peer<C> {
    /// Its part of the configuration.
    pub config: C,
    /// A client with its certificates.
    pub client: reqwest::Client,
}

/// Waits for the next change; for ever, if there is nothing to follow.
pub(crate) async fn changed<T: Clone>(followed: &mut Option<watch::Receiver<T>>) -> T {
    if let Some(receiver) = followed
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    std::future::pending().await
}
