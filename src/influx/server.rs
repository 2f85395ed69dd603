//! The server: which InfluxDB it is, found out by asking, and where and how to write to it.
//!
//! `GET /ping` names the version in `X-Influxdb-Version` (1.x, 2.x, 3.x) or in its body (3.x);
//! `GET /health` in its body (1.8, 2.x). A server that answers and names none, such as
//! VictoriaMetrics or a gateway, is written to as 2.x.

use std::fmt;
use std::time::Instant;

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::failure::Trouble;
use super::response::{Answer, Verdict, judge};
use crate::config;
use crate::health::Failure;

#[cfg(test)]
mod tests;

/// Most bytes of an answer that are read.
const ANSWER_LIMIT: usize = 8 << 20;

/// The write interface that a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    V1,
    V2,
    V3,
}

/// Where and how to write.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) api: Api,
    /// What the server calls its version; none when it does not say.
    pub(super) version: Option<String>,
    /// Address of writes, with all parameters and without a login.
    pub(super) write_url: Url,
    /// The header of that name.
    pub(super) authorization: Option<HeaderValue>,
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(formatter, "InfluxDB {version}"),
            None => formatter.write_str("a server of line protocol that names no version"),
        }
    }
}

/// A base URL without its login, and the login as a header.
struct Address {
    url: Url,
    login: Option<HeaderValue>,
}

/// Asks the server of `config` what it is.
///
/// # Errors
/// [`Trouble`] when it does not answer, is not ready, or refuses the login.
pub(super) async fn identify(
    config: &config::Influx,
    client: &reqwest::Client,
) -> Result<Server, Trouble> {
    let address = address(config).map_err(Trouble::Lasting)?;
    for path in ["ping", "health"] {
        let mut request = client
            .get(below(&address.url, path))
            .timeout(config.timeout);
        if let Some(header) = authorization(Api::V3, config, &address) {
            request = request.header(reqwest::header::AUTHORIZATION, header);
        }
        let began = Instant::now();
        let response = request.send().await;
        let response = response.map_err(|error| no_answer(config, &error, began))?;
        let version = header_text(&response, "x-influxdb-version");
        let answer = read(response)
            .await
            .map_err(|error| no_answer(config, &error, began))?;
        if let Some(version) = version.or_else(|| version_in(&answer.body)) {
            return build(config, &address, Some(version)).map_err(Trouble::Lasting);
        }
        // Only 3.x asks for a token here, and it has no other interface for telling its version.
        if matches!(answer.status, 401 | 403) {
            return Err(refusal(config, Api::V3, &super::response::reason(&answer)).into());
        }
        if let Verdict::Retry { why, after } = judge(&answer, "") {
            let why = format!("{} is not ready: {why}", shown(config));
            return Err(Trouble::Passing { why, after });
        }
    }
    build(config, &address, None).map_err(Trouble::Lasting)
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lasting(failure)
    }
}

/// Reads the answer, at most 8 MiB of its body.
///
/// # Errors
/// If the connection breaks or takes too long.
pub(super) async fn read(mut response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < ANSWER_LIMIT
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status().as_u16(),
        retry_after: header_text(&response, "retry-after"),
        date: header_text(&response, "date"),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn header_text(response: &reqwest::Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn version_in(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body.get("version")?.as_str()?.to_owned())
}

/// A request that got no answer.
pub(super) fn no_answer(
    config: &config::Influx,
    error: &reqwest::Error,
    began: Instant,
) -> Trouble {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let why = if error.is_timeout() {
        format!("no answer within {:.1} s", began.elapsed().as_secs_f64())
    } else {
        deepest.to_string()
    };
    Trouble::Passing {
        why: format!("{}: {why}", shown(config)),
        after: None,
    }
}

/// The URL as it may be shown.
pub(super) fn shown(config: &config::Influx) -> String {
    let url = config.url.as_ref().map(config::Secret::expose);
    config::mask_url(url.unwrap_or_default())
}

fn address(config: &config::Influx) -> Result<Address, Failure> {
    let text = config.url.as_ref().map(config::Secret::expose);
    let mut url: Url = text.unwrap_or_default().parse().map_err(|error| Failure {
        why: format!("influx.url {:?} is not a URL: {error}", shown(config)),
        fix: "set influx.url to something like http://127.0.0.1:8086".to_owned(),
    })?;
    let decode = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text);
        decoded.decode_utf8_lossy().into_owned()
    };
    let login = (!url.username().is_empty()).then(|| {
        let password = url.password().unwrap_or_default();
        format!("{}:{}", decode(url.username()), decode(password))
    });
    // Neither fails: the scheme is http or https, which have both.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(Address {
        url,
        login: login.and_then(|login| basic(&login)),
    })
}

/// `url` with `path` behind its own, so that a proxy's prefix stays.
fn below(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

fn build(
    config: &config::Influx,
    address: &Address,
    version: Option<String>,
) -> Result<Server, Failure> {
    let number = version.as_deref().and_then(|version| {
        let digits = version.trim_start_matches('v').split('.').next()?;
        digits.parse::<u32>().ok()
    });
    let api = match number {
        Some(0 | 1) => Api::V1,
        Some(2) | None => Api::V2,
        Some(_) => Api::V3,
    };
    let (path, precision) = match api {
        Api::V1 => ("write", "ns"),
        Api::V2 => ("api/v2/write", "ns"),
        Api::V3 => ("api/v3/write_lp", "nanosecond"),
    };
    let mut write_url = below(&address.url, path);
    {
        let mut query = write_url.query_pairs_mut();
        match api {
            Api::V1 | Api::V3 => query.append_pair("db", &config.bucket),
            Api::V2 => query
                .append_pair("org", &config.org)
                .append_pair("bucket", &config.bucket),
        };
        query.append_pair("precision", precision);
    }
    if !config.token.is_empty() && authorization(api, config, address).is_none() {
        return Err(Failure {
            why: "influx.token holds characters that no HTTP header can carry".to_owned(),
            fix: "copy the token again, without line breaks".to_owned(),
        });
    }
    Ok(Server {
        api,
        version,
        write_url,
        authorization: authorization(api, config, address),
    })
}

/// The header `Authorization`: the token as the version wants it, else the login of the URL.
fn authorization(api: Api, config: &config::Influx, address: &Address) -> Option<HeaderValue> {
    let token = config.token.expose();
    if token.is_empty() {
        return address.login.clone();
    }
    match api {
        // A user and password; tokens of 2.x and 3.x have no colon.
        _ if token.contains(':') => basic(token),
        Api::V1 | Api::V3 => sensitive(&format!("Bearer {token}")),
        Api::V2 => sensitive(&format!("Token {token}")),
    }
}

fn basic(login: &str) -> Option<HeaderValue> {
    let mut header = b"Basic ".to_vec();
    super::line_protocol::write_base64(login.as_bytes(), &mut header);
    sensitive(&String::from_utf8(header).ok()?)
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A refusal that a person must mend, with how.
pub(super) fn refusal(config: &config::Influx, api: Api, reason: &str) -> Failure {
    let (url, bucket, org) = (shown(config), &config.bucket, &config.org);
    let kind = if api == Api::V2 { "bucket" } else { "database" };
    let token = if config.token.is_empty() {
        "influx.token is not set"
    } else {
        "the token is that of influx.token"
    };
    let fix = match (reason.get(..3), api) {
        (Some("401" | "403"), Api::V1) => format!(
            "set influx.token to user:password of a user with `GRANT WRITE ON \"{bucket}\"`"
        ),
        (Some("401" | "403"), Api::V2) => format!(
            "create one with `influx auth create --org {org:?} --write-buckets` and set influx.token"
        ),
        (Some("401" | "403"), Api::V3) => {
            "create one with `influxdb3 create token --admin` and set influx.token".to_owned()
        }
        (Some("404"), Api::V1) => format!(
            "create it: curl -X POST {url}/query --data-urlencode 'q=CREATE DATABASE \"{bucket}\"'"
        ),
        (Some("404"), Api::V2) => format!(
            "create it with `influx bucket create --org {org:?} --name {bucket:?}`, or mend \
             influx.url, influx.org, influx.bucket"
        ),
        (Some("400"), _) => {
            "mend influx.bucket (3.x takes letters, digits, `_` and `-`)".to_owned()
        }
        _ => "see that influx.url is the address of an InfluxDB, not of something before it"
            .to_owned(),
    };
    Failure {
        why: format!("{url} refuses writes to {kind} {bucket:?}: {reason}; {token}"),
        fix,
    }
}
