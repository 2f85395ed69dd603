//! One request: a path of an endpoint, and how its answer is read.

use std::time::{Duration, Instant};

use reqwest::Client;

use super::endpoint::Endpoint;
use super::failure::Cause;
use super::lane::{Outcome, Reply};

/// How a request is made.
#[derive(Clone)]
pub(super) struct Asking {
    client: Client,
    endpoint: Endpoint,
    timeout: Duration,
}

impl Asking {
    pub(super) fn new(client: &Client, endpoint: &Endpoint, timeout: Duration) -> Self {
        Self {
            client: client.clone(),
            endpoint: endpoint.clone(),
            timeout,
        }
    }

    /// Asks for `path`; `parse` reads the answer.
    pub(super) async fn get<T, E: std::fmt::Display>(
        self,
        path: String,
        parse: fn(&str) -> Result<T, E>,
    ) -> Outcome<T> {
        let begun = Instant::now();
        let answer = self.endpoint.get(&self.client, &path, self.timeout).await?;
        let value = parse(&answer.body)
            .map_err(|error| self.endpoint.error(&path, Cause::Body(error.to_string())))?;
        Ok(Reply {
            value,
            at: answer.at,
            bytes: answer.body.len() as u64,
            took: answer.at.saturating_duration_since(begun),
        })
    }
}
