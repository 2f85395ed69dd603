//! The agent's own interface over HTTP: a JSON API over the store, `/metrics`, `/health`, `/status`.
//!
//! | route | answer |
//! |---|---|
//! | `/api/v1/queues`, `/traces`, `/traces/{id}`, `/slow`, `/errors` | rows, as the command line shows them |
//! | `/api/v1/paths` | a [`PathRow`](crate::store::PathRow) for each path; `since_seconds`, `limit`, `sort` (as `rabtrace paths --sort`), `filter` (may be given several times: all must hold) |
//! | `/api/v1/paths/one` | a [`PathDetail`](crate::store::PathDetail): the path of which `path` is the text, a part of it, or the hash; `since_seconds`. 404 if there is none, 409 with the texts if several fit |
//! | `/api/v1/paths/diff` | a [`PathsDiff`](crate::store::PathsDiff) of the last `since_seconds` against as long a span that is `ago_seconds` earlier; `filter` |
//! | `POST /api/v1/sql` | one read-only statement |
//! | `/metrics` | the agent's counters and the queues' depths, as Prometheus text |
//! | `/health/live` | 200 while the process answers |
//! | `/health/ready` | 200 once it takes and stores data, else 503 |
//! | `/health` | every part with its state; 503 if one is unhealthy |
//! | `/status` | version, addresses, health, counters |
//!
//! `since_seconds` is an hour where it is not given, `limit` 50, `ago_seconds` an hour.
//!
//! With a token in `api.token` everything but `/health/live` asks for it. A request that takes longer
//! than a minute is answered with 408.

mod auth;
mod error;
mod metrics_text;
mod paths;
mod questions;
mod reloads;
mod state;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::serve::{Access, serve};
use crate::spool::DeadLetterFile;
use crate::store::Reader;

pub use error::ApiError;
pub use questions::{Rows, SqlRequest};
pub use reloads::{ReloadBoard, ReloadReport};
pub use state::{
    Addresses, DeadLetterReport, HealthReport, SeriesReport, SpoolReport, StatusReport,
};

/// Largest body of a request, which is the text of a statement.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the API is made of.
pub struct ApiSetup {
    /// Who comes in, and how.
    pub access: Access,
    /// What became of reloads.
    pub reloads: ReloadBoard,
    /// Answers the questions.
    pub reader: Reader,
    /// How each part is.
    pub health: Health,
    /// The agent's counters.
    pub metrics: Metrics,
    /// Where the agent listens.
    pub addresses: Addresses,
    /// Where what servers refused for good is kept.
    pub dead_letters: Vec<DeadLetterFile>,
    /// The wall clock.
    pub clock: fn() -> SystemTime,
}

/// The interface over HTTP.
#[derive(Clone)]
pub struct Api {
    setup: Arc<ApiSetup>,
    started: Instant,
}

impl Api {
    /// Makes the interface; nothing listens yet.
    #[must_use]
    pub fn new(setup: ApiSetup) -> Self {
        Self {
            setup: Arc::new(setup),
            started: Instant::now(),
        }
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/health/live", get(state::live))
            .route("/api/v1/paths", get(paths::paths))
            .route("/api/v1/paths/one", get(paths::one))
            .route("/api/v1/paths/diff", get(paths::diff))
            .route("/api/v1/queues", get(questions::queues))
            .route("/api/v1/traces", get(questions::traces))
            .route("/api/v1/traces/{id}", get(questions::trace))
            .route("/api/v1/slow", get(questions::slow))
            .route("/api/v1/errors", get(questions::errors))
            .route("/api/v1/sql", post(questions::sql))
            .route("/metrics", get(metrics_text::metrics))
            .route("/health", get(state::health))
            .route("/health/ready", get(state::ready))
            .route("/status", get(state::status))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .fallback(error::not_found)
            .layer(middleware::from_fn_with_state(self.clone(), auth::check))
            .with_state(self.clone())
    }

    /// Answers on `listener` until `stop`.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let access = self.setup.access.clone();
        serve(listener, self.router(), access, stop).await
    }
}
