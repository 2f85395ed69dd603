//! One row of Prometheus text: metric, labels, value.
//!
//! Brokers from 3.13 on escape label values; older ones write names as they are, also quotes and
//! backslashes. Their rows are read by the fixed order of their keys; one that could be read in
//! two ways is refused rather than given to a queue that does not exist.

use std::borrow::Cow;

/// How a broker writes label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    /// `\\`, `\"` and `\n`, as the format asks for (3.13 and later).
    Escaped,
    /// As they are (before 3.13).
    Raw,
}

/// The virtual host, the queue and the value of a row.
#[derive(Debug, PartialEq)]
pub(super) struct QueueRow<'a> {
    pub(super) vhost: Cow<'a, str>,
    pub(super) queue: Cow<'a, str>,
    /// None if the broker had no number.
    pub(super) value: Option<u64>,
}

/// Splits a line into the metric's name and what follows it; none if it does not begin with one.
pub(super) fn split_metric(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')?;
    let (name, rest) = line.split_at(end);
    let fits = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && rest.starts_with(['{', ' ']);
    fits.then_some((name, rest))
}

/// The value of a row if it is of the queue that is expected, whose names are written as they are.
/// What follows has no quote, so that the row cannot be read in another way.
pub(super) fn expected_row(text: &str, names: (&str, &str), has_exchange: bool) -> Option<u64> {
    let rest = behind_names(text, names, has_exchange)?;
    plain_count(rest.strip_prefix("\"} ")?)
}

/// The type that a row of [`queue_info`] tells, if it is of the queue that is expected and the node
/// leads it.
pub(super) fn expected_info(text: &str, names: (&str, &str)) -> Option<&'static str> {
    let rest = behind_names(text, names, false)?.strip_prefix("\",")?;
    let mut info = Info::default();
    labels_in(rest, |key, value| info.take(key, &value))?;
    info.led()
}

/// What follows the names that are expected, if they are there.
fn behind_names<'a>(
    text: &'a str,
    (vhost, queue): (&str, &str),
    has_exchange: bool,
) -> Option<&'a str> {
    let rest = text.strip_prefix("{vhost=\"")?.strip_prefix(vhost)?;
    let rest = behind_exchange(rest, has_exchange)?;
    rest.strip_prefix("\",queue=\"")?.strip_prefix(queue)
}

/// Virtual host, queue and value of a row that is the same escaped or not.
pub(super) fn plain_row(text: &str, has_exchange: bool) -> Option<(&str, &str, u64)> {
    let (vhost, rest) = until_quote(text.strip_prefix("{vhost=\"")?)?;
    let rest = behind_exchange(rest, has_exchange)?;
    let (queue, rest) = until_quote(rest.strip_prefix("\",queue=\"")?)?;
    Some((vhost, queue, plain_count(rest.strip_prefix("\"} ")?)?))
}

/// Skips the name of an exchange, where the rows of a metric have one.
fn behind_exchange(text: &str, has_exchange: bool) -> Option<&str> {
    if !has_exchange {
        return Some(text);
    }
    let (_, rest) = until_quote(text.strip_prefix("\",exchange=\"")?)?;
    Some(rest)
}

/// What stands before the next quote or backslash, and the rest with it.
fn until_quote(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    text.split_at_checked(end)
}

/// A count that is written in digits alone.
fn plain_count(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Reads `{vhost="…",queue="…"} value`, also with other labels if they are escaped.
pub(super) fn queue_row(text: &str, escaping: Escaping) -> Option<QueueRow<'_>> {
    let row = match escaping {
        Escaping::Escaped => escaped_row(text),
        Escaping::Raw => None,
    };
    row.or_else(|| raw_row(text))
}

fn escaped_row(text: &str) -> Option<QueueRow<'_>> {
    let (mut vhost, mut queue) = (None, None);
    let rest = labels(text, |key, value| match key {
        "vhost" => vhost = Some(value),
        "queue" => queue = Some(value),
        _ => {}
    })?;
    Some(QueueRow {
        vhost: vhost?,
        queue: queue?,
        value: count(rest)?,
    })
}

/// Reads `{vhost="…",exchange="…"} value`; only brokers that escape have such rows.
pub(super) fn exchange_row(text: &str) -> Option<(Cow<'_, str>, Cow<'_, str>, Option<u64>)> {
    let (mut vhost, mut exchange) = (None, None);
    let rest = labels(text, |key, value| match key {
        "vhost" => vhost = Some(value),
        "exchange" => exchange = Some(value),
        _ => {}
    })?;
    Some((vhost?, exchange?, count(rest)?))
}

/// Reads `{vhost="…",queue="…",queue_type="…",membership="…"} 1`: the queue and, if the node leads
/// it, its type. Only brokers that escape have such rows.
pub(super) fn queue_info(text: &str) -> Option<(Cow<'_, str>, Cow<'_, str>, Option<&'static str>)> {
    let (mut vhost, mut queue, mut info) = (None, None, Info::default());
    labels(text, |key, value| match key {
        "vhost" => vhost = Some(value),
        "queue" => queue = Some(value),
        _ => info.take(key, &value),
    })?;
    Some((vhost?, queue?, info.led()))
}

/// What a row of [`queue_info`] says beside the names.
#[derive(Default)]
struct Info {
    kind: Option<&'static str>,
    is_follower: bool,
}

impl Info {
    fn take(&mut self, key: &str, value: &str) {
        match key {
            "queue_type" => {
                self.kind = match value {
                    "rabbit_classic_queue" => Some("classic"),
                    "rabbit_quorum_queue" => Some("quorum"),
                    "rabbit_stream_queue" => Some("stream"),
                    _ => None,
                }
            }
            "membership" => self.is_follower = value != "leader",
            _ => {}
        }
    }

    /// The type of a queue that the node leads.
    fn led(self) -> Option<&'static str> {
        self.kind.filter(|_| !self.is_follower)
    }
}

fn raw_row(text: &str) -> Option<QueueRow<'_>> {
    const BETWEEN: &str = "\",queue=\"";
    let (names, value) = text.strip_prefix("{vhost=\"")?.rsplit_once("\"} ")?;
    let (vhost, queue) = names.split_once(BETWEEN)?;
    // Overlapping ones count too: the queue `",queue="a` looks like a virtual host of that name.
    let ambiguous = names.get(vhost.len() + 1..)?.contains(BETWEEN);
    if ambiguous || vhost.contains("\",exchange=\"") {
        return None;
    }
    Some(QueueRow {
        vhost: Cow::Borrowed(vhost),
        queue: Cow::Borrowed(queue),
        value: count(value)?,
    })
}

/// Gives each label of `{key="value",…}` to `take`, unescaped, and what follows the brace.
pub(super) fn labels<'a>(
    text: &'a str,
    take: impl FnMut(&'a str, Cow<'a, str>),
) -> Option<&'a str> {
    labels_in(text.strip_prefix('{')?, take)
}

/// The same of what is behind the brace or a comma.
fn labels_in<'a>(text: &'a str, mut take: impl FnMut(&'a str, Cow<'a, str>)) -> Option<&'a str> {
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        take(key, value);
        rest = match after.strip_prefix(',') {
            Some(next) => next,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// Reads up to the closing quote; gives the value and what follows the quote.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let stop = text.find(['"', '\\'])?;
    if text[stop..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..stop]), &text[stop + 1..]));
    }
    let mut value = String::with_capacity(stop + 16);
    let mut rest = text;
    loop {
        let stop = rest.find(['"', '\\'])?;
        value.push_str(&rest[..stop]);
        let mut after = rest[stop..].chars();
        if after.next() == Some('"') {
            return Some((Cow::Owned(value), after.as_str()));
        }
        match after.next()? {
            'n' => value.push('\n'),
            other @ ('"' | '\\') => value.push(other),
            other => value.extend(['\\', other]),
        }
        rest = after.as_str();
    }
}

/// The value as a number; exponents are read, a sign or a text is refused.
pub(super) fn number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The value as a count: `Some(None)` for "not a number", which is no count but no mistake either.
#[expect(clippy::option_option, reason = "unreadable, no number, number")]
fn count(text: &str) -> Option<Option<u64>> {
    let word = text.split_ascii_whitespace().next()?;
    if let Ok(count) = word.parse() {
        return Some(Some(count));
    }
    match word.parse::<f64>() {
        Ok(number) if number.is_nan() => Some(None),
        Ok(number) => whole(number).map(Some),
        Err(_) if word == "undefined" => Some(None),
        Err(_) => None,
    }
}

/// A float that is a count.
pub(super) fn whole(number: f64) -> Option<u64> {
    // 2^64: the first float that does not fit.
    let fits = (0.0..18_446_744_073_709_551_616.0).contains(&number);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was just checked"
    )]
    let count = number as u64;
    fits.then_some(count)
}

#[cfg(test)]
mod tests;
