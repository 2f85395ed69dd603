//! The kinds of values that keys have: durations, sizes, addresses, URLs, secrets.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// A value that is never printed: passwords, tokens, URLs that may hold either.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

/// A URL without its password and without the values of its query, which may be tokens.
///
/// A password may hold anything, a raw `/` or `@` too, and the scheme may be missing: what is
/// masked is all between the first colon and the last `@`.
///
/// ```
/// use rabtrace::config::mask_url;
/// assert_eq!(mask_url("amqp://a:b@h:1/v"), "amqp://a:***@h:1/v");
/// assert_eq!(mask_url("amqp://a:b/c@h:1/v"), "amqp://a:***@h:1/v");
/// assert_eq!(mask_url("http://h:8086?p=b"), "http://h:8086?***");
/// ```
#[must_use]
pub fn mask_url(url: &str) -> String {
    let (scheme, rest) = split_scheme(url);
    let (login, host) = match rest.rfind('@') {
        Some(at) => rest.split_at(at),
        None => ("", rest),
    };
    let login = match login.split_once(':') {
        Some((user, _)) => format!("{user}:***"),
        None => login.to_owned(),
    };
    match host.split_once('?') {
        Some((host, _)) => format!("{scheme}{login}{host}?***"),
        None => format!("{scheme}{login}{host}"),
    }
}

/// The scheme with its `://`, empty if there is none, and the rest.
fn split_scheme(url: &str) -> (&str, &str) {
    match url.find("://") {
        Some(end) if url[..end].bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            url.split_at(end + 3)
        }
        _ => ("", url),
    }
}

/// A duration with its unit: `250ms`, `5s`, `10m`, `24h`, `7d`.
///
/// # Errors
/// If it is not of that form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let wrong = || {
        format!("{text:?} is not a duration such as \"250ms\", \"5s\", \"10m\", \"24h\" or \"7d\"")
    };
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let millis_each: u64 = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(millis_each)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let wrong = || format!("{text:?} is not a size such as \"64KiB\", \"16MiB\" or \"1GiB\"");
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let each: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    match number.checked_mul(each) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        Some(_) => Err("must be more than zero".to_owned()),
        None => Err(wrong()),
    }
}

pub(super) fn size_or_zero(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { size(text) }
}

pub(super) fn memory_size(text: &str) -> Result<usize, String> {
    usize::try_from(size(text)?)
        .map_err(|_| format!("{text:?} is more than this machine can address"))
}

pub(super) fn count(number: i64) -> Result<usize, String> {
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{number} is not a number above zero")),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| format!("{text:?} is not an address such as \"127.0.0.1:4317\""))
}

pub(super) fn url(text: &str, schemes: &[&str]) -> Result<Secret, String> {
    let known = text.split_once("://").is_some_and(|(scheme, rest)| {
        schemes.contains(&scheme) && !rest.is_empty() && !rest.starts_with('/')
    });
    if !known {
        return Err(format!(
            "{:?} is not a URL that begins with {}://",
            mask_url(text),
            schemes.join(":// or ")
        ));
    }
    if has_strange_port(split_scheme(text).1) {
        return Err(format!(
            "{:?} has a port that is no number; in a user or password write / as %2F, ? as %3F, \
             # as %23",
            mask_url(text)
        ));
    }
    Ok(Secret::new(text.trim_end_matches('/')))
}

fn has_strange_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after_address
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_err())
}

#[cfg(test)]
mod tests {
    use super::{Secret, duration, mask_url, size, url};
    use std::time::Duration;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "5 parsecs",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(bad).is_err(), "{bad:?} was taken as a duration");
        }
        for bad in ["", "0", "1TB", "-1MiB", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad:?} was taken as a size");
        }
    }

    #[test]
    fn a_port_is_a_number() {
        for good in ["h", "h:1/v:x", "[::1]", "[::1]:1", "u:p@h", "u:p@h:1/a@b:c"] {
            assert!(url(&format!("amqp://{good}"), &["amqp"]).is_ok(), "{good}");
        }
        for bad in ["h:x", "u:ca/nary@h:1", "u:ca#nary@h", "[::1]:x", "h:70000"] {
            let error = url(&format!("amqp://{bad}"), &["amqp"]).unwrap_err();
            assert!(
                error.contains("%2F") && !error.contains("nary"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(***)");
        for (url, shown) in [
            ("amqp://u:canary@ss@h/v", "amqp://u:***@h/v"),
            ("amqp://u:ca/nary@h/v", "amqp://u:***@h/v"),
            ("amqp://u:ca?nary@h/v", "amqp://u:***@h/v"),
            ("u:canary@h", "u:***@h"),
            ("u:canary://x@h", "u:***@h"),
            ("http://h/write?p=canary", "http://h/write?***"),
            ("http://u:a@h?p=canary", "http://u:***@h?***"),
            ("amqp://u@h:1/v", "amqp://u@h:1/v"),
            ("http://h:1/a", "http://h:1/a"),
        ] {
            assert_eq!(mask_url(url), shown);
        }
        let error = url("mqtt://u:canary@h", &["amqp"]).unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }
}
