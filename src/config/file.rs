//! The configuration file: its values by key, with unknown keys reported.

use std::path::{Path, PathBuf};

use super::mistake::{Mistake, Origin};
use super::table::KEYS;

/// A key, its value, and the file that it stands in.
pub(super) type FileValue = (&'static str, toml::Value, PathBuf);

/// The file's values by key, with unknown keys reported.
pub(super) fn read_file(path: Option<&Path>, mistakes: &mut Vec<Mistake>) -> Vec<FileValue> {
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
            wrong("the file", not_toml(&text, &error));
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

/// Where and why a text is not TOML. The error's own text quotes the line, which may hold a password.
fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    let why = error.message().trim_end().replace('\n', "\n      ");
    format!("it is not TOML: line {line}: {why}")
}

pub(super) fn unknown(path: &str) -> String {
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
