//! One base URL of the broker and the login for it: a path in, the body of the answer out.
//!
//! Every request has a time limit and a size limit. The login never gets into an error.

use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use reqwest::header::ACCEPT_ENCODING;
use reqwest::{Client, Response, StatusCode, Url};

use super::failure::{Cause, Plugin, RequestError};
use crate::config::{Broker, Secret, mask_url};

/// Largest answer that is read, in bytes.
const MAX_BODY: usize = 64 << 20;
/// Largest answer that is read as it comes, in bytes: two hundred thousand queues.
const MAX_STREAM: usize = 256 << 20;
/// Most of an answer to a refused login that is read, in bytes.
const MAX_REASON: usize = 4 << 10;

/// A base URL and how to log in there.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    plugin: Plugin,
    /// Without login, query and closing slash; the URL as it may be shown if it cannot be used.
    base: Result<String, String>,
    login: Option<Login>,
}

#[derive(Clone, Debug)]
struct Login {
    user: String,
    password: Secret,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: String,
    /// When its last byte came.
    pub(super) at: Instant,
}

impl Endpoint {
    /// The management API; its login is that of the AMQP URL unless it has its own.
    pub(super) fn management(broker: &Broker) -> Self {
        let mut endpoint = Self::new(Plugin::Management, &broker.management_url);
        if endpoint.login.is_none() {
            let amqp = Url::parse(broker.amqp_url.expose()).ok();
            endpoint.login = amqp.as_ref().and_then(login).or_else(|| {
                // What AMQP clients use when a URL has no login.
                Some(Login {
                    user: "guest".to_owned(),
                    password: Secret::new("guest"),
                })
            });
        }
        endpoint
    }

    /// The prometheus plugin of one node.
    pub(super) fn prometheus(url: &Secret) -> Self {
        Self::new(Plugin::Prometheus, url)
    }

    fn new(plugin: Plugin, url: &Secret) -> Self {
        let parsed = Url::parse(url.expose()).ok().filter(Url::has_host);
        let login = parsed.as_ref().and_then(login);
        let base = parsed.map(|mut url| {
            // Both only fail for URLs without a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.as_str().trim_end_matches('/').to_owned()
        });
        Self {
            plugin,
            base: base.ok_or_else(|| shown(url)),
            login,
        }
    }

    /// The URL without its login, as errors show it.
    pub(super) fn url(&self) -> &str {
        match &self.base {
            Ok(url) | Err(url) => url,
        }
    }

    /// Host and port, to tell one node from another before it has said its name.
    pub(super) fn host(&self) -> &str {
        let url = self.url();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// An error of this endpoint.
    pub(super) fn error(&self, path: &str, cause: Cause) -> RequestError {
        let path = path.split('?').next().unwrap_or(path);
        RequestError {
            plugin: self.plugin,
            url: format!("{}{path}", self.url()),
            cause,
        }
    }

    /// Asks for `path` and reads the answer, both within `timeout`.
    pub(super) async fn get(
        &self,
        client: &Client,
        path: &str,
        timeout: Duration,
    ) -> Result<Answer, RequestError> {
        let answer = tokio::time::timeout(timeout, self.exchange(client, path));
        let body = answer.await.unwrap_or(Err(Cause::Timeout(timeout)));
        let at = Instant::now();
        body.map(|body| Answer { body, at })
            .map_err(|cause| self.error(path, cause))
    }

    /// Asks for `path` and gives the answer to `take` as it comes, all within `timeout`; when its
    /// last byte came.
    pub(super) async fn stream(
        &self,
        client: &Client,
        path: &str,
        timeout: Duration,
        take: impl FnMut(&[u8]) + Send,
    ) -> Result<Instant, RequestError> {
        let answer = async {
            let response = self.respond(client, path).await?;
            chunks(response, MAX_STREAM, take).await
        };
        let answer = tokio::time::timeout(timeout, answer).await;
        let read = answer.unwrap_or(Err(Cause::Timeout(timeout)));
        let at = Instant::now();
        read.map(|()| at).map_err(|cause| self.error(path, cause))
    }

    async fn exchange(&self, client: &Client, path: &str) -> Result<String, Cause> {
        read(self.respond(client, path).await?, MAX_BODY).await
    }

    async fn respond(&self, client: &Client, path: &str) -> Result<Response, Cause> {
        let Ok(base) = &self.base else {
            return Err(Cause::Url("it has no host".to_owned()));
        };
        // Compressing costs the broker half as much again; its numbers mostly travel nearby.
        let mut request = client
            .get(format!("{base}{path}"))
            .header(ACCEPT_ENCODING, "identity");
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.user, Some(login.password.expose()));
        }
        let response = request.send().await.map_err(connection)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::UNAUTHORIZED => Err(Cause::Login {
                user: self.login.as_ref().map(|login| login.user.clone()),
                reason: reason(&read(response, MAX_REASON).await.unwrap_or_default()),
            }),
            status => Err(Cause::Status(status.as_u16())),
        }
    }
}

/// A URL that cannot be parsed, without anything that may be a login.
fn shown(url: &Secret) -> String {
    match url.expose().rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://***@{after}")
        }
        None => mask_url(url.expose()),
    }
}

fn login(url: &Url) -> Option<Login> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (!url.username().is_empty()).then(|| Login {
        user: decode(url.username()),
        password: Secret::new(decode(url.password().unwrap_or_default())),
    })
}

/// Reads the body up to `limit` bytes.
async fn read(response: Response, limit: usize) -> Result<String, Cause> {
    let mut body = Vec::new();
    if let Some(announced) = response.content_length() {
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        body.reserve_exact(announced.min(limit));
    }
    chunks(response, limit, |chunk| body.extend_from_slice(chunk)).await?;
    // Names are bytes to the broker: one that is not UTF-8 must not cost the whole answer.
    Ok(String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Gives the body to `take` as it comes, up to `limit` bytes.
async fn chunks(
    mut response: Response,
    limit: usize,
    mut take: impl FnMut(&[u8]),
) -> Result<(), Cause> {
    if response.content_length().unwrap_or_default() > limit as u64 {
        return Err(Cause::TooLarge(limit));
    }
    let mut left = limit;
    while let Some(chunk) = response.chunk().await.map_err(connection)? {
        left = left
            .checked_sub(chunk.len())
            .ok_or(Cause::TooLarge(limit))?;
        take(&chunk);
    }
    Ok(())
}

/// The innermost reason of an error of the client, without the URL.
fn connection(error: reqwest::Error) -> Cause {
    let error = error.without_url();
    let mut inner: &(dyn std::error::Error + 'static) = &error;
    loop {
        if let Some(error) = inner.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return Cause::Refused;
        }
        match inner.source() {
            Some(source) => inner = source,
            None => return Cause::Connection(inner.to_string()),
        }
    }
}

/// The broker's reason in its answer `{"error":…,"reason":…}`.
fn reason(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let reason = body.get("reason").and_then(|reason| reason.as_str());
    reason.unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, read};
    use crate::config::{Broker, Config, Secret};
    use crate::monitor::failure::Cause;

    fn broker(amqp: &str, management: &str) -> Broker {
        Broker {
            amqp_url: Secret::new(amqp),
            management_url: Secret::new(management),
            ..Config::default().broker
        }
    }

    fn check((amqp, management): (&str, &str), url: &str, login: (&str, &str)) {
        let endpoint = Endpoint::management(&broker(amqp, management));
        assert_eq!(endpoint.url(), url);
        let found = endpoint.login.unwrap();
        assert_eq!(
            (&*found.user, found.password.expose()),
            login,
            "{amqp} {management}"
        );
    }

    #[test]
    fn the_login_comes_from_the_url_or_from_that_of_amqp() {
        check(
            ("amqp://a%40b:p%2Fw@h:1/v", "http://m:15672/"),
            "http://m:15672",
            ("a@b", "p/w"),
        );
        check(
            ("amqp://a:b@h", "http://c:d%20e@m/under/here?x=1"),
            "http://m/under/here",
            ("c", "d e"),
        );
        check(("amqp://h", "http://m"), "http://m", ("guest", "guest"));
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_cut_off() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endless = || async {
            let chunk = || Ok::<_, std::convert::Infallible>("x".repeat(1000));
            axum::body::Body::from_stream(futures_util::stream::iter(std::iter::repeat_with(chunk)))
        };
        let router = axum::Router::new().fallback(endless);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let response = reqwest::get(url).await.unwrap();
        assert_eq!(read(response, 10_000).await, Err(Cause::TooLarge(10_000)));
    }

    #[test]
    fn no_password_is_ever_shown() {
        for url in [
            "http://u:canary@h",
            "http://u:can/ary:canary@h",
            "http://u:canary@",
            "nonsense://canary@",
            "http://u:p#canary@h",
            "canary:u@h",
        ] {
            let endpoint = Endpoint::management(&broker("amqp://x:canary@h", url));
            let error = endpoint.error("/api?x=canary", Cause::Refused);
            assert!(
                !format!("{error} {error:?}").contains("canary"),
                "{url}: {error:?}"
            );
        }
    }
}
