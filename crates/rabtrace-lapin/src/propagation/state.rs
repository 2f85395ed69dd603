//! The path among the members of `tracestate`.
//!
//! Input: the header's text, of any content, or the other members and a path. Output: the path and
//! the other members, or the header's text. Pure.

use opentelemetry::trace::TraceState;

use crate::path::{PathContext, TRACESTATE_KEY};

/// Before the path.
const OWN: &[u8] = b"rabtrace=";

/// The most that W3C asks everyone to hand on of `tracestate`.
pub(super) const TRACESTATE_LENGTH: usize = 512;
const TRACESTATE_MEMBERS: usize = 32;
/// W3C: members longer than this go first when `tracestate` is too long.
const TRACESTATE_LONG_MEMBER: usize = 128;

/// The path, and the other members. Those that are not well formed are left out, the others kept.
pub(super) fn trace_state(text: &[u8]) -> (Option<PathContext>, TraceState) {
    // Most often there is nothing but the path.
    let alone = text.strip_prefix(OWN).and_then(PathContext::read);
    if alone.is_some() {
        return (alone, TraceState::NONE);
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return (None, TraceState::NONE);
    };
    let well_formed = |member: &&str| {
        let named = member
            .split_once('=')
            .is_some_and(|(key, _)| !key.trim().is_empty());
        let printable = member
            .bytes()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        named && printable && member.parse::<TraceState>().is_ok()
    };
    let mut path = None;
    let mut others: Vec<&str> = Vec::new();
    for member in text.split(',') {
        match own(member) {
            Own::Path(found) => path = path.or(Some(found)),
            Own::Broken => {}
            Own::No => others.extend(Some(member).filter(well_formed)),
        }
    }
    if others.is_empty() {
        return (path, TraceState::NONE);
    }
    (path, others.join(",").parse().unwrap_or_default())
}

/// Whether a member of `tracestate` is the path.
enum Own {
    Path(PathContext),
    /// Written by nobody who knows how.
    Broken,
    /// Another member, or the path in a form of another version.
    No,
}

fn own(member: &str) -> Own {
    match member.trim().split_once('=') {
        Some((TRACESTATE_KEY, value)) => own_value(value),
        _ => Own::No,
    }
}

fn own_value(value: &str) -> Own {
    if let Some(path) = PathContext::parse(value) {
        return Own::Path(path);
    }
    match value.as_bytes() {
        [b'1', ..] => Own::Broken,
        [version, ..] if version.is_ascii_digit() => Own::No,
        _ => Own::Broken,
    }
}

/// The path in front of the other members, at most 32 members and 512 bytes. Long members go
/// first. The path of another version stays as it is, and stands for ours.
pub(super) fn tracestate(others: &TraceState, path: &PathContext) -> Option<Vec<u8>> {
    let own = path.member();
    if *others == TraceState::NONE {
        return Some(own);
    }
    let mut members = vec![String::from_utf8(own).unwrap_or_default()];
    for (key, value) in others {
        if key != TRACESTATE_KEY {
            members.push(format!("{key}={value}"));
        } else if matches!(own_value(value), Own::No) {
            members.push(format!("{key}={value}"));
            members.remove(0);
        }
    }
    members.truncate(TRACESTATE_MEMBERS);
    while length(&members) > TRACESTATE_LENGTH {
        let long = members
            .iter()
            .rposition(|member| member.len() > TRACESTATE_LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    (!members.is_empty()).then(|| members.join(",").into_bytes())
}

fn length(members: &[String]) -> usize {
    members
        .iter()
        .map(|member| member.len() + 1)
        .sum::<usize>()
        .saturating_sub(1)
}
