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

    /// Asks for each of `paths`, one after the other and all within the time of one; `join` adds what
    /// another one gave. A virtual host that is not there has nothing, unless none of them is; one
    /// that refuses the login is a refusal of all.
    pub(super) async fn get_all<T, E: std::fmt::Display>(
        self,
        paths: Vec<String>,
        parse: fn(&str) -> Result<T, E>,
        join: fn(&mut T, T),
    ) -> Outcome<T> {
        let begun = Instant::now();
        let mut outcome: Option<Outcome<T>> = None;
        for path in paths {
            let asking = Self {
                timeout: self.timeout.saturating_sub(begun.elapsed()),
                ..self.clone()
            };
            let answer = asking.get(path, parse).await;
            outcome = Some(match (outcome, answer) {
                (Some(Ok(all)), Ok(more)) => Ok(all.and(more, join)),
                (Some(Ok(all)), Err(error)) if error.is_missing() => Ok(all),
                (Some(Err(error)), answer) if error.is_missing() => answer,
                (None, answer) => answer,
                (Some(_), Err(error)) | (Some(Err(error)), _) => Err(error),
            });
            if matches!(&outcome, Some(Err(error)) if !error.is_missing()) {
                break;
            }
        }
        let none = || {
            Err(self
                .endpoint
                .error("", Cause::Url("no virtual host".to_owned())))
        };
        let took = begun.elapsed();
        outcome
            .unwrap_or_else(none)
            .map(|all| Reply { took, ..all })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::http::{StatusCode, Uri};

    use super::Asking;
    use crate::config::{Broker, Config, Secret};
    use crate::monitor::endpoint::Endpoint;
    use crate::monitor::failure::Cause;

    /// Asks a peer for these paths, which has all but "gone" and refuses "closed".
    async fn ask(paths: &[&str]) -> Result<Vec<String>, Cause> {
        ask_within(Duration::from_secs(60), paths).await
    }

    async fn ask_within(timeout: Duration, paths: &[&str]) -> Result<Vec<String>, Cause> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = |uri: Uri| async move {
            match uri.path() {
                "/gone" => (StatusCode::NOT_FOUND, String::new()),
                "/closed" => (StatusCode::UNAUTHORIZED, String::new()),
                "/slow" => std::future::pending().await,
                path => (StatusCode::OK, path.to_owned()),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let endpoint = Endpoint::management(&Broker {
            management_url: Secret::new(url),
            ..Config::default().broker
        });
        let asking = Asking::new(&reqwest::Client::new(), &endpoint, timeout);
        let read = |body: &str| Ok::<_, String>(vec![body.to_owned()]);
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let outcome = asking.get_all(paths, read, |all, more| all.extend(more));
        let reply = outcome.await.map_err(|error| error.cause)?;
        let bytes: usize = reply.value.iter().map(String::len).sum();
        assert_eq!(reply.bytes, bytes as u64);
        Ok(reply.value)
    }

    #[tokio::test]
    async fn what_is_not_there_is_left_out_unless_nothing_is() {
        let both = Ok(["/a", "/b"].map(str::to_owned).to_vec());
        assert_eq!(ask(&["/a", "/b"]).await, both);
        assert_eq!(ask(&["/gone", "/a", "/gone", "/b"]).await, both);
        assert_eq!(ask(&["/gone", "/gone"]).await, Err(Cause::Status(404)));
    }

    #[tokio::test]
    async fn a_refusal_is_one_of_all_and_all_have_the_time_of_one() {
        let refused = ask(&["/a", "/closed", "/b"]).await;
        assert!(matches!(refused, Err(Cause::Login { .. })), "{refused:?}");
        let late = ask_within(Duration::from_secs(2), &["/a", "/slow", "/slow"]).await;
        assert!(matches!(late, Err(Cause::Timeout(_))), "{late:?}");
    }
}
