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

/// A URL without its password: `amqp://guest:guest@host` becomes `amqp://guest:***@host`.
///
/// ```
/// assert_eq!(rabtrace::config::mask_url("amqp://a:b@h:1/v"), "amqp://a:***@h:1/v");
/// ```
#[must_use]
pub fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else {
        return url.to_owned();
    };
    let user = rest[..at].split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:***@{}", &rest[at + 1..])
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
    if known {
        Ok(Secret::new(text.trim_end_matches('/')))
    } else {
        Err(format!(
            "{:?} is not a URL that begins with {}://",
            mask_url(text),
            schemes.join(":// or ")
        ))
    }
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
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(***)");
        assert_eq!(mask_url("amqp://u:p@ss@h/v"), "amqp://u:***@h/v");
        let error = url("mqtt://u:canary@h", &["amqp"]).unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }
}
