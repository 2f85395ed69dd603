//! Which InfluxDB a server is, found out by asking it.
//!
//! `GET /ping` names the version in `X-Influxdb-Version` (1.x, 2.x, 3.x) or in its body (3.x);
//! `GET /health` in its body (1.8, 2.x). A server that answers and names none, such as
//! VictoriaMetrics or a gateway, is written to as 2.x.

use reqwest::header::AUTHORIZATION;

use super::exchange::exchange;
use super::failure::Trouble;
use super::response::{Verdict, judge, reason};
use super::server::{Api, Server, address, authorization, below, build, refusal, shown};
use crate::config;

/// Asks the server of `config` what it is.
///
/// # Errors
/// [`Trouble`] when it does not answer, is not ready, or refuses the login.
pub(super) async fn identify(
    config: &config::Influx,
    client: &reqwest::Client,
) -> Result<Server, Trouble> {
    let address = address(config)?;
    for path in ["ping", "health"] {
        let mut request = client.get(below(&address.url, path));
        if let Some(header) = authorization(Api::V3, config, &address) {
            request = request.header(AUTHORIZATION, header);
        }
        let answer = exchange(config, request).await?;
        let version = answer.version.clone();
        if let Some(version) = version.or_else(|| version_in(&answer.body)) {
            return Ok(build(config, &address, Some(version))?);
        }
        // Only 3.x asks for a token here, and it tells its version nowhere else.
        if matches!(answer.status, 401 | 403) {
            return Err(refusal(config, Api::V3, &reason(&answer)).into());
        }
        if let Verdict::Retry { why, after } = judge(&answer, "") {
            let why = format!("{} is not ready: {why}", shown(config));
            return Err(Trouble::Passing { why, after });
        }
    }
    Ok(build(config, &address, None)?)
}

fn version_in(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body.get("version")?.as_str()?.to_owned())
}
