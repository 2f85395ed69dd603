//! Who comes in, and how: what all listeners are given.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Token;
use crate::config::Limits;
use crate::metrics::{ConnectionClosed, Metrics};

/// Connections at once where nothing else is said.
const CONNECTIONS: usize = 10_000;

/// Certificate, token and limits of a listener; they are followed while it runs.
#[derive(Clone)]
pub struct Access {
    /// TLS; none for plain text.
    tls: Option<watch::Receiver<Option<Arc<ServerConfig>>>>,
    token: Option<watch::Receiver<Token>>,
    room: Arc<Semaphore>,
    /// Where connections are counted; none where nobody reads it.
    metrics: Option<Metrics>,
}

impl Default for Access {
    /// Plain text, no token.
    fn default() -> Self {
        Self {
            tls: None,
            token: None,
            room: Arc::new(Semaphore::new(CONNECTIONS)),
            metrics: None,
        }
    }
}

impl Access {
    /// With TLS, and no more connections at once in all that are cloned from it than `limits` says,
    /// counted in `metrics`.
    #[must_use]
    pub fn new(
        tls: watch::Receiver<Option<Arc<ServerConfig>>>,
        limits: &Limits,
        metrics: Metrics,
    ) -> Self {
        Self {
            tls: Some(tls),
            token: None,
            room: Arc::new(Semaphore::new(
                limits.connections.min(Semaphore::MAX_PERMITS),
            )),
            metrics: Some(metrics),
        }
    }

    /// The same, asking for a token.
    #[must_use]
    pub fn with_token(&self, token: watch::Receiver<Token>) -> Self {
        Self {
            token: Some(token),
            ..self.clone()
        }
    }

    /// The token that is asked for now.
    #[must_use]
    pub fn token(&self) -> Token {
        let token = self.token.as_ref();
        token
            .map(|token| token.borrow().clone())
            .unwrap_or_default()
    }

    /// The certificate of now.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref()?.borrow().clone()
    }

    /// A place for one connection; none if there is no more.
    pub(super) fn enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok()?;
        if let Some(metrics) = &self.metrics {
            metrics.connections_changed(1);
        }
        Some(Place {
            metrics: self.metrics.clone(),
            _permit: permit,
        })
    }

    /// Counts a connection that was closed early.
    pub(super) fn closed(&self, reason: ConnectionClosed) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_closed(reason);
        }
    }
}

/// The place of a connection, free again when it is dropped.
pub(super) struct Place {
    metrics: Option<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.connections_changed(-1);
        }
    }
}
