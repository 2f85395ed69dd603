//! Reads file, environment and flags into one tree, and reports every mistake at once.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::keys::{Input, KEYS, Key, Kind, defaults};
use super::{Config, Secret, mask_url};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of defaults.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
    /// It follows from another key.
    Derived(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("the default"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Env(name) => formatter.write_str(name),
            Self::Flag(name) => formatter.write_str(name),
            Self::Derived(key) => write!(formatter, "{key}"),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Key, file or variable.
    pub what: String,
    /// Where the value came from.
    pub origin: Origin,
    /// Why it cannot be taken.
    pub why: String,
}

/// All that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Mistake>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.len();
        write!(
            formatter,
            "the configuration has {number} mistake{}",
            if number == 1 { "" } else { "s" }
        )?;
        for mistake in &self.0 {
            write!(
                formatter,
                "\n  {}  from {}\n      {}",
                mistake.what, mistake.origin, mistake.why
            )?;
        }
        formatter.write_str("\n  fix   `rabtrace config example` prints every key with its default")
    }
}

/// What [`load`] reads from.
pub struct Sources<'a> {
    /// The configuration file; it must be there if it is named.
    pub file: Option<PathBuf>,
    /// Key, value and name of each flag that was given.
    pub flags: Vec<(String, String, String)>,
    /// Looks a variable up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// A configuration and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The tree.
    pub config: Config,
    /// Key, value as it may be shown, and origin, in the order of the example file.
    pub values: Vec<(&'static str, String, Origin)>,
}

impl Loaded {
    /// Where the value of `key` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        let found = self.values.iter().find(|(path, _, _)| *path == key);
        found.map_or(Origin::Default, |(_, _, origin)| origin.clone())
    }
}

/// Reads the configuration.
///
/// # Errors
/// Every mistake that there is: an unreadable file, malformed TOML, unknown keys, wrong types,
/// values that cannot be.
///
/// ```
/// use rabtrace::config::{Sources, load};
/// let flags = vec![("broker.poll_interval".into(), "2s".into(), "--poll-interval".into())];
/// let loaded = load(&Sources { file: None, flags, env: &|_| None })?;
/// assert_eq!(loaded.config.broker.poll_interval.as_secs(), 2);
/// # Ok::<(), rabtrace::config::ConfigErrors>(())
/// ```
pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigErrors> {
    let mut mistakes = Vec::new();
    let table = read_file(sources.file.as_deref(), &mut mistakes);
    let mut config = defaults();
    let mut values = Vec::new();
    for key in KEYS {
        let (value, origin) = match choose(key, &table, sources) {
            Ok(chosen) => chosen,
            Err(mistake) => {
                mistakes.push(mistake);
                continue;
            }
        };
        if let Err(why) = apply(key, &value, &mut config) {
            mistakes.push(Mistake {
                what: key.path.to_owned(),
                origin: origin.clone(),
                why,
            });
        }
        values.push((key.path, shown(key, &value), origin));
    }
    unknown_flags(sources, &mut mistakes);
    if mistakes.is_empty() {
        derive(&mut config, &mut values, sources.env);
        contradictions(&config, &values, &mut mistakes);
    }
    if mistakes.is_empty() {
        Ok(Loaded { config, values })
    } else {
        Err(ConfigErrors(mistakes))
    }
}

/// The file's values by key, with unknown keys reported.
fn read_file(
    path: Option<&Path>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(&'static str, toml::Value, PathBuf)> {
    let Some(path) = path else { return Vec::new() };
    let origin = || Origin::File(path.to_owned());
    let mut wrong = |what: &str, why: String| {
        mistakes.push(Mistake {
            what: what.to_owned(),
            origin: origin(),
            why,
        });
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            wrong("the file", format!("it cannot be read: {error}"));
            return Vec::new();
        }
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            wrong(
                "the file",
                format!(
                    "it is not TOML: {}",
                    error.to_string().trim_end().replace('\n', "\n      ")
                ),
            );
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (section, value) in table {
        let toml::Value::Table(entries) = value else {
            wrong(&section, "it stands outside of a [section]".to_owned());
            continue;
        };
        for (name, value) in entries {
            let full = format!("{section}.{name}");
            match KEYS.iter().find(|key| key.path == full) {
                Some(key) => found.push((key.path, value, path.to_owned())),
                None => wrong(&full, unknown(&full)),
            }
        }
    }
    found
}

fn unknown(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let near = KEYS.iter().find(|key| {
        key.path.rsplit('.').next() == Some(name)
            || key.path.starts_with(path)
            || close(key.path, path)
    });
    match near {
        Some(key) => format!("there is no such key; did you mean {}?", key.path),
        None => "there is no such key".to_owned(),
    }
}

/// Whether two keys differ by one or two letters at the same place.
fn close(one: &str, other: &str) -> bool {
    let same_start = one
        .bytes()
        .zip(other.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let same_end = one
        .bytes()
        .rev()
        .zip(other.bytes().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let longest = one.len().max(other.len());
    same_start + same_end + 2 >= longest && one.len().abs_diff(other.len()) <= 2
}

enum Value {
    Text(String),
    Integer(i64),
}

type FileValues = [(&'static str, toml::Value, PathBuf)];

/// The value of `key` from the strongest source that has one.
fn choose(key: &Key, file: &FileValues, sources: &Sources<'_>) -> Result<(Value, Origin), Mistake> {
    if let Some((_, value, flag)) = sources
        .flags
        .iter()
        .rev()
        .find(|(path, _, _)| path == key.path)
    {
        let origin = Origin::Flag(flag.clone());
        return Ok((from_text(key, value, &origin)?, origin));
    }
    for name in key.env {
        if let Some(value) = (sources.env)(name) {
            let origin = Origin::Env((*name).to_owned());
            return Ok((from_text(key, &value, &origin)?, origin));
        }
        let name = format!("{name}_FILE");
        if key.secret
            && let Some(path) = (sources.env)(&name)
        {
            let origin = Origin::Env(name);
            return match std::fs::read_to_string(&path) {
                Ok(value) => Ok((from_text(key, value.trim_end(), &origin)?, origin)),
                Err(error) => Err(mistake(
                    key,
                    &origin,
                    format!("{path} cannot be read: {error}"),
                )),
            };
        }
    }
    if let Some((_, value, path)) = file.iter().find(|(path, _, _)| *path == key.path) {
        let origin = Origin::File(path.clone());
        return match (value, key.kind) {
            (toml::Value::String(text), Kind::Text) => Ok((Value::Text(text.clone()), origin)),
            (toml::Value::Integer(number), Kind::Integer) => Ok((Value::Integer(*number), origin)),
            (other, kind) => {
                let wanted = if kind == Kind::Text {
                    "a string"
                } else {
                    "an integer"
                };
                Err(mistake(
                    key,
                    &origin,
                    format!("it is {} where {wanted} is asked for", article(other)),
                ))
            }
        };
    }
    Ok((
        from_text(key, key.default, &Origin::Default)?,
        Origin::Default,
    ))
}

fn article(value: &toml::Value) -> String {
    match value.type_str() {
        kind @ ("integer" | "array") => format!("an {kind}"),
        kind => format!("a {kind}"),
    }
}

fn mistake(key: &Key, origin: &Origin, why: String) -> Mistake {
    Mistake {
        what: key.path.to_owned(),
        origin: origin.clone(),
        why,
    }
}

fn from_text(key: &Key, text: &str, origin: &Origin) -> Result<Value, Mistake> {
    match key.kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Integer => text
            .trim()
            .parse()
            .map(Value::Integer)
            .map_err(|_| mistake(key, origin, format!("{text:?} is not an integer"))),
    }
}

fn apply(key: &Key, value: &Value, config: &mut Config) -> Result<(), String> {
    let input = match value {
        Value::Text(text) => Input::Text(text),
        Value::Integer(number) => Input::Integer(*number),
    };
    (key.apply)(config, &input)
}

/// A value as it may be shown: URLs without their password, other secrets not at all.
fn shown(key: &Key, value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) if !key.secret || text.is_empty() => text.clone(),
        Value::Text(text) if text.contains("://") => {
            text.split(',').map(mask_url).collect::<Vec<_>>().join(",")
        }
        Value::Text(_) => "***".to_owned(),
    }
}

fn unknown_flags(sources: &Sources<'_>, mistakes: &mut Vec<Mistake>) {
    for (path, _, flag) in &sources.flags {
        if !KEYS.iter().any(|key| key.path == path) {
            mistakes.push(Mistake {
                what: path.clone(),
                origin: Origin::Flag(flag.clone()),
                why: unknown(path),
            });
        }
    }
}

/// Fills in what follows from other keys: the broker's other ports, the store's folder.
fn derive(
    config: &mut Config,
    values: &mut [(&'static str, String, Origin)],
    env: &dyn Fn(&str) -> Option<String>,
) {
    let mut note = |key: &str, shown: String, from: &'static str| {
        if let Some(entry) = values.iter_mut().find(|(path, _, _)| *path == key) {
            entry.1 = shown;
            entry.2 = Origin::Derived(from);
        }
    };
    let host = amqp_host(config.broker.amqp_url.expose());
    if config.broker.management_url.is_empty() {
        config.broker.management_url = Secret::new(format!("http://{host}:15672"));
        note(
            "broker.management_url",
            format!("http://{host}:15672"),
            "broker.amqp_url",
        );
    }
    if config.broker.prometheus_urls.is_empty() {
        config.broker.prometheus_urls = vec![Secret::new(format!("http://{host}:15692"))];
        note(
            "broker.prometheus_urls",
            format!("http://{host}:15692"),
            "broker.amqp_url",
        );
    }
    if config.store.folder.as_os_str().is_empty() {
        let state = env("XDG_STATE_HOME")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let home = || env("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        config.store.folder = state
            .or_else(home)
            .unwrap_or_else(|| PathBuf::from("."))
            .join("rabtrace");
        note(
            "store.folder",
            config.store.folder.display().to_string(),
            "XDG_STATE_HOME or HOME",
        );
    }
}

/// Host of an AMQP URL, with brackets if it is an IPv6 address.
fn amqp_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.rfind(':').unwrap_or(host.len()),
    };
    if end == 0 { "127.0.0.1" } else { &host[..end] }
}

/// Values that are well formed each, and cannot stand together.
fn contradictions(
    config: &Config,
    values: &[(&'static str, String, Origin)],
    mistakes: &mut Vec<Mistake>,
) {
    let mut wrong = |key: &str, why: String| {
        let origin = values
            .iter()
            .find(|(path, _, _)| *path == key)
            .map_or(Origin::Default, |(_, _, origin)| origin.clone());
        mistakes.push(Mistake {
            what: key.to_owned(),
            origin,
            why,
        });
    };
    let api = config.api.listen;
    if !api.ip().is_loopback() && config.api.token.is_empty() {
        wrong(
            "api.listen",
            format!(
                "{api} is off loopback, where everybody can read: set api.token, or listen on 127.0.0.1"
            ),
        );
    }
    if let Some(endpoint) = &config.forward.endpoint {
        let own = [config.receiver.grpc_listen, config.receiver.http_listen];
        if own
            .iter()
            .any(|address| points_at(endpoint.expose(), *address))
        {
            wrong(
                "forward.endpoint",
                "it is the agent's own receiver: every request would come back for ever".to_owned(),
            );
        }
    }
}

fn points_at(url: &str, address: SocketAddr) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let Some((host, port)) = authority.rsplit_once(':') else {
        return false;
    };
    let local = host == "localhost" || host == address.ip().to_string();
    local && port == address.port().to_string() && address.port() != 0
}

#[cfg(test)]
mod tests;
