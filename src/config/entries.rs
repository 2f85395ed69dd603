//! How a row of the table of keys is written, and values that are lists.

use std::path::PathBuf;

use super::Secret;
use super::keys::{Apply, Key, Kind, Secrecy};
use super::values::url;

pub(super) const fn text(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Text,
        env,
        secrecy: Secrecy::Open,
        apply,
    }
}

pub(super) const fn hidden(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Text,
        env,
        secrecy: Secrecy::Hidden,
        apply,
    }
}

pub(super) const fn secret_url(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Text,
        env,
        secrecy: Secrecy::Url,
        apply,
    }
}

pub(super) const fn integer(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Integer,
        env,
        secrecy: Secrecy::Open,
        apply,
    }
}

pub(super) const fn boolean(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Boolean,
        env,
        secrecy: Secrecy::Open,
        apply,
    }
}

pub(super) fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

pub(super) fn optional_url(text: &str, schemes: &[&str]) -> Result<Option<Secret>, String> {
    if text.is_empty() {
        Ok(None)
    } else {
        url(text, schemes).map(Some)
    }
}

pub(super) fn url_list(text: &str) -> Result<Vec<Secret>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| url(item, &["http", "https"]))
        .collect()
}

pub(super) fn header_list(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let pair = |item: &str| {
        let (name, value) = item
            .split_once('=')
            .ok_or("a header is not of the form name=value")?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy();
        Ok((name.trim().to_ascii_lowercase(), Secret::new(value)))
    };
    text.split(',')
        .filter(|item| !item.trim().is_empty())
        .map(pair)
        .collect()
}

/// Names with commas between.
pub(super) fn name_list(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// The path of a file; none if it is empty.
pub(super) fn file(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}
