//! Where answers come from: the running agent, or the store's file when the agent is down.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::StatusCode;
use serde::de::DeserializeOwned;

use super::{FAILED, NOT_FOUND, UNREACHABLE, USAGE};
use crate::api::{ApiError, HealthReport, Rows};
use crate::config::{Loaded, Secret};
use crate::store::{Reader, StoreError};
use crate::tls::ours;

/// Longest wait for the agent's answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// Nobody answers.
    #[error(
        "no agent answers\n  url   {url}    from api.listen\n{}",
        unreachable(source)
    )]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The agent refused.
    #[error("{error}{}", hint(fix))]
    Refused {
        status: StatusCode,
        error: String,
        fix: String,
    },
    /// The answer is no answer of an agent.
    #[error(
        "what answers is no agent of this version\n  url   {url}    from api.listen\n  fix   set api.listen (RABTRACE_API_LISTEN) to where the agent is, or use its version"
    )]
    Strange {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The store's file cannot answer either.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
}

/// Whether somebody is there who speaks another TLS, or none.
fn is_tls(source: &reqwest::Error) -> bool {
    let mut cause: &dyn std::error::Error = source;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let text = cause.to_string();
    [
        "certificate",
        "fatal alert",
        "corrupt message",
        "invalid HTTP",
    ]
    .iter()
    .any(|part| text.contains(part))
}

fn unreachable(source: &reqwest::Error) -> &'static str {
    if is_tls(source) {
        "  why   who listens there has another certificate than tls.certificate_file here, or no TLS\n  \
         fix   give this command the agent's configuration: --config FILE"
    } else {
        "  fix   start it: rabtrace agent"
    }
}

fn hint(fix: &str) -> String {
    if fix.is_empty() {
        String::new()
    } else {
        format!("\n  fix   {fix}")
    }
}

impl SourceError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::Store(StoreError::Absent(_)) => UNREACHABLE,
            Self::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }
            | Self::NotFound(_) => NOT_FOUND,
            Self::Refused {
                status: StatusCode::CONFLICT,
                ..
            }
            | Self::Store(StoreError::AmbiguousPath { .. }) => USAGE,
            Self::Refused { .. } | Self::Strange { .. } | Self::Store(_) => FAILED,
        }
    }
}

/// A running agent.
pub(super) struct Agent {
    base: String,
    token: Secret,
    client: reqwest::Client,
}

impl Agent {
    pub(super) fn new(loaded: &Loaded) -> anyhow::Result<Self> {
        let mut address = loaded.config.api.listen;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let has_tls = loaded.config.tls.certificate_file.is_some();
        let scheme = if has_tls { "https" } else { "http" };
        Ok(Self {
            base: format!("{scheme}://{address}"),
            token: loaded.config.api.token.clone(),
            client: ours(&loaded.config.tls)?,
        })
    }

    /// Whether the process answers.
    pub(super) async fn live(&self) -> Result<(), SourceError> {
        self.send(self.client.get(format!("{}/health/live", self.base)))
            .await
            .map(drop)
    }

    /// Whether it takes and stores data.
    pub(super) async fn ready(&self) -> Result<(), SourceError> {
        self.send(self.client.get(format!("{}/health/ready", self.base)))
            .await
            .map(drop)
    }

    /// Every part with its state; an unhealthy agent answers too.
    pub(super) async fn health(&self) -> Result<HealthReport, SourceError> {
        let url = format!("{}/health", self.base);
        let request = self
            .client
            .get(&url)
            .bearer_auth(self.token.expose())
            .timeout(TIMEOUT);
        let response = request
            .send()
            .await
            .map_err(|source| SourceError::Unreachable {
                url: url.clone(),
                source,
            })?;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE || response.status().is_success() {
            return response
                .json()
                .await
                .map_err(|source| SourceError::Strange { url, source });
        }
        Err(refused(response, url).await)
    }

    /// The answer to a GET of `path` with `query`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, SourceError> {
        let mut url = format!("{}{path}", self.base);
        for (number, (name, value)) in query.iter().enumerate() {
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            let _ = write!(url, "{}{name}={value}", if number == 0 { '?' } else { '&' });
        }
        self.send(self.client.get(url))
            .await?
            .json()
            .await
            .map_err(|source| self.strange(path, source))
    }

    /// The answer to a POST of `body` to `path`.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, SourceError> {
        let request = self.client.post(format!("{}{path}", self.base)).json(body);
        self.send(request)
            .await?
            .json()
            .await
            .map_err(|source| self.strange(path, source))
    }

    fn strange(&self, path: &str, source: reqwest::Error) -> SourceError {
        SourceError::Strange {
            url: format!("{}{path}", self.base),
            source,
        }
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, SourceError> {
        let request = if self.token.is_empty() {
            request
        } else {
            request.bearer_auth(self.token.expose())
        };
        let sent = request.timeout(TIMEOUT).send().await;
        let response = sent.map_err(|source| SourceError::Unreachable {
            url: self.base.clone(),
            source,
        })?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refused(response, self.base.clone()).await)
        }
    }
}

async fn refused(response: reqwest::Response, url: String) -> SourceError {
    let status = response.status();
    match response.json::<ApiError>().await {
        Ok(ApiError { error, fix, .. }) => SourceError::Refused { status, error, fix },
        Err(source) => SourceError::Strange { url, source },
    }
}

/// Where the commands that ask take their answers from.
pub(super) enum Source {
    Agent(Agent),
    File(Reader),
}

impl Source {
    /// The agent if it answers, else the store's file.
    pub(super) async fn open(loaded: &Loaded) -> anyhow::Result<Self> {
        let agent = Agent::new(loaded)?;
        match agent.live().await {
            Ok(()) => Ok(Self::Agent(agent)),
            Err(SourceError::Unreachable { .. }) => {
                let reader =
                    Reader::open(&loaded.config.store.file()).map_err(SourceError::from)?;
                super::output::remark("no agent answers; reading the store's file");
                Ok(Self::File(reader))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Rows by a GET of the agent, or by `read` from the file.
    pub(super) async fn rows<T, F>(
        self,
        path: &str,
        query: &[(&str, String)],
        read: F,
    ) -> Result<Vec<T>, SourceError>
    where
        T: DeserializeOwned + Send + 'static,
        F: FnOnce(&Reader) -> Result<Vec<T>, StoreError> + Send + 'static,
    {
        match self {
            Self::Agent(agent) => Ok(agent.get::<Rows<T>>(path, query).await?.rows),
            Self::File(reader) => Ok(read(&reader)?),
        }
    }
}
