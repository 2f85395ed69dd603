//! What a reload changes: keys that take effect at once, and keys that need a restart.

use super::derive::contradictions;
use super::load::Loaded;
use super::mistake::{ConfigErrors, Mistake};
use super::{Config, Influx};

/// Keys, or whole sections with a dot at the end, whose changes take effect without a restart.
const LIVE: &[&str] = &[
    "broker.",
    "tls.",
    "receiver.token",
    "api.token",
    "influx.url",
    "influx.org",
    "influx.bucket",
    "influx.token",
    "influx.timeout",
    "influx.ca_file",
    "influx.client_certificate_file",
    "influx.client_key_file",
    "forward.endpoint",
    "forward.protocol",
    "forward.headers",
    "forward.timeout",
    "forward.ca_file",
    "forward.client_certificate_file",
    "forward.client_key_file",
    "store.retention",
    "store.max_bytes",
    "log.level",
    "grafana.url",
];

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that take effect at once.
    pub applied: Vec<&'static str>,
    /// Keys that take effect at the next start.
    pub restart: Vec<&'static str>,
}

impl Loaded {
    /// The configuration that is in force when `self` is and `newer` is reloaded, and what differs:
    /// keys that need a restart keep their values.
    ///
    /// # Errors
    /// If what would be in force contradicts itself, such as an address off loopback, which stays,
    /// and a token, which would go.
    pub fn reload(&self, newer: &Self) -> Result<(Self, Changes), ConfigErrors> {
        let mut changes = Changes::default();
        let mut given = self.given.clone();
        for (old, (key, new)) in given.iter_mut().zip(&newer.given) {
            if old.1 == *new {
                continue;
            }
            if is_live(key) && !self.turns_a_sink(key, &newer.config) {
                changes.applied.push(key);
                old.1 = new.clone();
            } else {
                changes.restart.push(key);
            }
        }
        let config = self.merged(&newer.config);
        let wrong = contradictions(&config);
        if wrong.is_empty() {
            let values = newer.values.clone();
            let in_force = Self {
                config,
                values,
                given,
            };
            return Ok((in_force, changes));
        }
        let mistake = |(key, why): (&'static str, String)| Mistake {
            what: key.to_owned(),
            origin: newer.origin(key),
            why: format!("without a restart, which {key} needs: {why}"),
        };
        Err(ConfigErrors(wrong.into_iter().map(mistake).collect()))
    }

    /// Whether `key` turns a sink on or off.
    fn turns_a_sink(&self, key: &str, newer: &Config) -> bool {
        match key {
            "influx.url" => self.config.influx.url.is_some() != newer.influx.url.is_some(),
            "forward.endpoint" => {
                self.config.forward.endpoint.is_some() != newer.forward.endpoint.is_some()
            }
            _ => false,
        }
    }

    fn merged(&self, newer: &Config) -> Config {
        let mut config = self.config.clone();
        config.broker = newer.broker.clone();
        config.tls = newer.tls.clone();
        config.receiver.token = newer.receiver.token.clone();
        config.api.token = newer.api.token.clone();
        config.influx = Influx {
            batch_lines: config.influx.batch_lines,
            batch_bytes: config.influx.batch_bytes,
            flush_interval: config.influx.flush_interval,
            buffer_bytes: config.influx.buffer_bytes,
            ..newer.influx.clone()
        };
        if self.turns_a_sink("influx.url", newer) {
            config.influx.url = self.config.influx.url.clone();
        }
        let buffer_bytes = config.forward.buffer_bytes;
        config.forward = newer.forward.clone();
        config.forward.buffer_bytes = buffer_bytes;
        if self.turns_a_sink("forward.endpoint", newer) {
            config.forward.endpoint = self.config.forward.endpoint.clone();
        }
        config.store.retention = newer.store.retention;
        config.store.max_bytes = newer.store.max_bytes;
        config.log.level = newer.log.level.clone();
        config.grafana_url = newer.grafana_url.clone();
        config
    }
}

fn is_live(key: &str) -> bool {
    LIVE.iter()
        .any(|live| key == *live || live.ends_with('.') && key.starts_with(live))
}

#[cfg(test)]
mod tests {
    use super::{LIVE, is_live};
    use crate::config::table::KEYS;
    use crate::config::{Loaded, Sources, load};

    fn loaded(flags: &[(&str, &str)]) -> Loaded {
        let flag = |(key, value): &(&str, &str)| (key.to_string(), value.to_string(), "x".into());
        let flags = flags.iter().map(flag).collect();
        let (file, env) = (None, &|_: &str| None);
        load(&Sources { file, flags, env }).unwrap()
    }

    #[test]
    fn every_name_is_a_key_or_a_section() {
        for live in LIVE {
            let fits = |path: &str| path == *live || live.ends_with('.') && path.starts_with(live);
            assert!(KEYS.iter().any(|key| fits(key.path)), "{live}");
        }
        assert!(is_live("broker.poll_interval") && !is_live("api.listen"));
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value_and_is_named_each_time() {
        let old = loaded(&[]);
        let new = loaded(&[
            ("api.listen", "127.0.0.1:1"),
            ("influx.url", "http://u:canary@h"),
            ("forward.timeout", "1s"),
            ("broker.amqp_url", "amqp://u:canary@other"),
        ]);
        let (in_force, changes) = old.reload(&new).unwrap();
        assert_eq!(changes.applied, ["broker.amqp_url", "forward.timeout"]);
        assert_eq!(changes.restart, ["influx.url", "api.listen"]);
        assert_eq!(in_force.config.api.listen, old.config.api.listen);
        assert_eq!(in_force.config.influx.url, None);
        assert_eq!(in_force.config.forward.timeout.as_secs(), 1);
        let urls = &in_force.config.broker.prometheus_urls;
        assert_eq!(urls[0].expose(), "http://other:15692");
        let (_, again) = in_force.reload(&new).unwrap();
        assert_eq!((again.applied.len(), again.restart), (0, changes.restart));
        assert!(!format!("{in_force:?}").contains("canary"));
    }

    #[test]
    fn a_token_cannot_go_while_the_address_that_needs_it_stays() {
        let old = loaded(&[
            ("api.listen", "0.0.0.0:1"),
            ("api.token", "t"),
            ("tls.allow_plaintext", "true"),
        ]);
        let error = old.reload(&loaded(&[])).unwrap_err().to_string();
        assert!(
            error.contains("api.listen") && error.contains("restart"),
            "{error}"
        );
    }
}
