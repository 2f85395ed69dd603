//! `/metrics`: the agent's counters, then the depth of each queue, as Prometheus text.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

use super::questions::blocking;
use super::{Api, ApiError};
use crate::model::unix_nano;
use crate::store::QueueRow;

/// Queues that `/metrics` has at most, the deepest first; InfluxDB and the store have all.
const MAX_QUEUES: usize = 1_000;

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let now = unix_nano((api.setup.clock)());
    // Without the store the agent's own counters are what is needed most.
    let rows = blocking(&api, move |reader| reader.queues(now))
        .await
        .unwrap_or_default();
    let own = api.setup.metrics.encode().map_err(|error| failed(&error))?;
    let queues = queues(rows).map_err(|error| failed(&error))?;
    let text = format!("{own}{queues}");
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

fn failed(error: &prometheus::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "")
}

/// Depth and consumers of each queue; a value that is not known has no line.
fn queues(mut rows: Vec<QueueRow>) -> Result<String, prometheus::Error> {
    rows.sort_by_key(|row| std::cmp::Reverse(row.messages));
    let registry = Registry::new();
    let family =
        |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
    let messages = family(
        "rabtrace_queue_messages",
        "Messages in a queue, by state.",
        &["vhost", "queue", "state"],
    )?;
    let consumers = family(
        "rabtrace_queue_consumers",
        "Consumers of a queue.",
        &["vhost", "queue"],
    )?;
    for row in rows.iter().take(MAX_QUEUES) {
        for (state, value) in [
            ("ready", row.messages_ready),
            ("unacknowledged", row.messages_unack),
        ] {
            if let Some(value) = value {
                messages
                    .with_label_values(&[&row.vhost, &row.queue, state])
                    .set(value);
            }
        }
        if let Some(value) = row.consumers {
            consumers
                .with_label_values(&[&row.vhost, &row.queue])
                .set(value);
        }
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
