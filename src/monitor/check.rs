//! One try of each source, for `rabtrace check`: what answers, and what to do about what does not.

use std::time::Instant;

use futures_util::future::join_all;
use reqwest::Client;

use super::endpoint::Endpoint;
use super::failure::{Cause, RequestError};
use super::management::{self, OVERVIEW_PATH};
use super::prometheus::{Consumers, DetailedScrape, detailed_path};
use crate::config::Broker;
use crate::health::{Failure, Finding};

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self {
            why: error.why(),
            fix: error.fix(),
        }
    }
}

/// Tries the prometheus plugin of each node and the management API, all at the same time.
pub async fn check(broker: &Broker, client: &Client) -> Vec<Finding> {
    let path = detailed_path(Consumers::LeftOut, &[], None);
    let nodes = broker.prometheus_urls.iter().map(|url| async {
        let endpoint = Endpoint::prometheus(url);
        let version = |body: &str| match DetailedScrape::parse(body) {
            Some(scrape) => Ok(scrape.version.as_deref().unwrap_or("?").to_owned()),
            None => Err("no queue families in it".to_owned()),
        };
        try_one("prometheus", &endpoint, (broker, client, &path), version).await
    });
    let management = async {
        let endpoint = Endpoint::management(broker);
        let version = |body: &str| match management::overview(body) {
            Ok(cluster) => Ok(cluster
                .overview
                .version
                .as_deref()
                .unwrap_or("?")
                .to_owned()),
            Err(error) => Err(error.to_string()),
        };
        try_one(
            "management",
            &endpoint,
            (broker, client, OVERVIEW_PATH),
            version,
        )
        .await
    };
    let (mut findings, management) = tokio::join!(join_all(nodes), management);
    findings.push(management);
    findings
}

async fn try_one(
    name: &'static str,
    endpoint: &Endpoint,
    (broker, client, path): (&Broker, &Client, &str),
    version: impl Fn(&str) -> Result<String, String>,
) -> Finding {
    let begun = Instant::now();
    let outcome = match endpoint.get(client, path, broker.poll_timeout).await {
        Ok(answer) => {
            let took = answer.at.saturating_duration_since(begun);
            version(&answer.body)
                .map(|version| format!("RabbitMQ {version}, {} ms", took.as_millis()))
                .map_err(|error| endpoint.error(path, Cause::Body(error)).into())
        }
        Err(error) => Err(error.into()),
    };
    Finding {
        name,
        url: endpoint.url().to_owned(),
        outcome,
    }
}
