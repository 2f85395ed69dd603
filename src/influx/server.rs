//! Where and how each version of InfluxDB is written to. Pure.
//!
//! Input: the configuration and the version. Output: a [`Server`]: address, parameters and
//! authorization of a write; and what to tell a person when it refuses one.

use std::fmt;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::config;
use crate::health::Failure;
use crate::model::base64;

#[cfg(test)]
mod tests;

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
pub(super) struct Address {
    pub(super) url: Url,
    login: Option<HeaderValue>,
}

/// The URL as it may be shown.
pub(super) fn shown(config: &config::Influx) -> String {
    let url = config.url.as_ref().map(config::Secret::expose);
    config::mask_url(url.unwrap_or_default())
}

/// Parses `influx.url`.
///
/// # Errors
/// If it is none.
pub(super) fn address(config: &config::Influx) -> Result<Address, Failure> {
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
pub(super) fn below(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

/// The server of that address, written to as its `version` wants it; as 2.x when it names none.
///
/// # Errors
/// If the token cannot be sent.
pub(super) fn build(
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
pub(super) fn authorization(
    api: Api,
    config: &config::Influx,
    address: &Address,
) -> Option<HeaderValue> {
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
    header.extend(base64(login.as_bytes()));
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
