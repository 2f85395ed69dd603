//! `rabtrace check`: is InfluxDB there, and does it take the token and the bucket?
//!
//! Nothing is written: 1.x and 2.x look at the login and the bucket of an empty write, and 3.x at
//! those of a write that it must refuse as a whole.

use std::time::Instant;

use reqwest::header::AUTHORIZATION;

use super::failure::Trouble;
use super::response::{Verdict, judge, reason};
use super::server::{Api, Server, identify, no_answer, read, refusal, shown};
use crate::config;
use crate::health::{Failure, Finding};

/// Asks the server of `config` for its version and lets it check the token and the bucket; none
/// when no URL is set. Takes at most three times `influx.timeout`.
pub async fn check(config: &config::Influx, client: &reqwest::Client) -> Option<Finding> {
    config.url.as_ref()?;
    let outcome = try_write(config, client).await;
    Some(Finding {
        name: "influxdb",
        url: shown(config),
        outcome: outcome.map_err(|trouble| match trouble {
            Trouble::Lasting(failure) => failure,
            Trouble::Passing { why, .. } => Failure {
                why,
                fix: "start InfluxDB there, or mend influx.url".to_owned(),
            },
        }),
    })
}

async fn try_write(config: &config::Influx, client: &reqwest::Client) -> Result<String, Trouble> {
    let server = identify(config, client).await?;
    let began = Instant::now();
    let (url, body) = harmless(&server);
    let mut request = client.post(url).timeout(config.timeout).body(body);
    if let Some(authorization) = &server.authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    let failed = |error: reqwest::Error| no_answer(config, &error, began);
    let answer = read(request.send().await.map_err(failed)?).await;
    let answer = answer.map_err(failed)?;
    let millis = began.elapsed().as_secs_f64() * 1e3;
    let refused = || Err(refusal(config, server.api, &reason(&answer)).into());
    match judge(&answer, body) {
        Verdict::Park { .. } => refused(),
        Verdict::Retry { why, after } => {
            let why = format!("{}: {why}", shown(config));
            Err(Trouble::Passing { why, after })
        }
        // A complaint about the write itself comes after those about token and bucket.
        _ => {
            let bucket = &config.bucket;
            let token = if server.authorization.is_some() {
                "token accepted"
            } else {
                "no token needed"
            };
            Ok(format!(
                "{server}, {millis:.1} ms, {token}, writes to {bucket:?}"
            ))
        }
    }
}

/// A write that leaves nothing behind. An empty one would create the database of 3.x.
fn harmless(server: &Server) -> (reqwest::Url, &'static str) {
    let mut url = server.write_url.clone();
    match server.api {
        Api::V1 | Api::V2 => (url, ""),
        Api::V3 => {
            url.query_pairs_mut().append_pair("accept_partial", "false");
            (url, "rabtrace_check")
        }
    }
}
