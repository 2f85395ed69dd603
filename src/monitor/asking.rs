//! One request: a path of an endpoint, and how its answer is read.

use std::time::{Duration, Instant};

use reqwest::Client;

use super::endpoint::Endpoint;
use super::failure::Cause;
use super::lane::{Outcome, Reply};
use super::prometheus::{DetailedScrape, Reading};

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

    /// Asks a node for its queues; the answer is read as it comes.
    pub(super) async fn scrape(
        self,
        path: String,
        mut reading: Reading,
    ) -> Outcome<DetailedScrape> {
        let (begun, mut bytes) = (Instant::now(), 0);
        let take = |chunk: &[u8]| {
            bytes += chunk.len() as u64;
            reading.take(chunk);
        };
        let answer = self
            .endpoint
            .stream(&self.client, &path, self.timeout, take);
        let at = answer.await?;
        let other = || Cause::Body("no queue families in it".to_owned());
        let value = reading
            .finish()
            .ok_or_else(|| self.endpoint.error(&path, other()))?;
        Ok(Reply {
            value,
            at,
            bytes,
            took: at.saturating_duration_since(begun),
        })
    }
}
