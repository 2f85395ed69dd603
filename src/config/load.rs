//! Reads file, environment and flags into one tree, and reports every mistake at once.

use std::path::PathBuf;

use super::defaults::defaults;
use super::derive::{contradictions, derive};
use super::file::{FileValue, read_file, unknown};
use super::keys::{Input, Key, Kind, Secrecy};
use super::mistake::{ConfigErrors, Mistake, Origin};
use super::table::KEYS;
use super::{Config, Secret, mask_url};

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
    /// Each value as it was given, to find out what a reload changes.
    pub(super) given: Vec<(&'static str, Secret)>,
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
    let (mut values, mut given) = (Vec::new(), Vec::new());
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
        given.push((key.path, Secret::new(value.into_text())));
    }
    unknown_flags(sources, &mut mistakes);
    if mistakes.is_empty() {
        derive(&mut config, &mut values, sources.env);
        for (key, why) in contradictions(&config) {
            let value = values.iter().find(|(path, _, _)| *path == key);
            mistakes.push(Mistake {
                what: key.to_owned(),
                origin: value.map_or(Origin::Default, |(_, _, origin)| origin.clone()),
                why,
            });
        }
    }
    if mistakes.is_empty() {
        Ok(Loaded {
            config,
            values,
            given,
        })
    } else {
        Err(ConfigErrors(mistakes))
    }
}

enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl Value {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
        }
    }
}

/// The value of `key` from the strongest source that has one.
fn choose(
    key: &Key,
    file: &[FileValue],
    sources: &Sources<'_>,
) -> Result<(Value, Origin), Mistake> {
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
        if key.secrecy != Secrecy::Open
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
            (toml::Value::Boolean(value), Kind::Boolean) => Ok((Value::Boolean(*value), origin)),
            (other, kind) => {
                let wanted = match kind {
                    Kind::Text => "a string",
                    Kind::Integer => "an integer",
                    Kind::Boolean => "true or false",
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
        Kind::Boolean => text
            .trim()
            .parse()
            .map(Value::Boolean)
            .map_err(|_| mistake(key, origin, format!("{text:?} is neither true nor false"))),
    }
}

fn apply(key: &Key, value: &Value, config: &mut Config) -> Result<(), String> {
    let input = match value {
        Value::Text(text) => Input::Text(text),
        Value::Integer(number) => Input::Integer(*number),
        Value::Boolean(value) => Input::Boolean(*value),
    };
    (key.apply)(config, &input)
}

/// A value as it may be shown.
fn shown(key: &Key, value: &Value) -> String {
    match (value, key.secrecy) {
        (Value::Integer(number), _) => number.to_string(),
        (Value::Boolean(value), _) => value.to_string(),
        (Value::Text(text), Secrecy::Open) => text.clone(),
        (Value::Text(text), _) if text.is_empty() => String::new(),
        (Value::Text(_), Secrecy::Hidden) => "***".to_owned(),
        (Value::Text(text), Secrecy::Url) => {
            // Only a comma before a scheme parts two URLs: others may be within a password.
            let parted = text.replace(",http", "\nhttp");
            let masked: Vec<String> = parted.split('\n').map(mask_url).collect();
            masked.join(",")
        }
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

#[cfg(test)]
mod tests;
