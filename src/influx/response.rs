//! What a server's answer to a write means. Pure.
//!
//! Input: status, `Retry-After` and `Date`, body and the lines that were sent. Output: a [`Verdict`].
//!
//! | answer | 1.x | 2.x | 3.x |
//! |---|---|---|---|
//! | 400, a line that cannot be read | rest written | nothing written, all bad lines quoted | rest written, bad lines listed |
//! | type conflict, out of retention | 400, rest written | 422, rest written | 400, rest written, listed |

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use self::suspects::suspects;
use super::line_protocol::cut;
use crate::retry::retry_after;

mod suspects;
#[cfg(test)]
mod tests;

/// Longest reason or line that is logged, in bytes.
const SHOWN: usize = 300;

/// A server's answer to a write.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) date: Option<String>,
    pub(super) version: Option<String>,
    pub(super) body: String,
}

/// Lines that the server will never take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// How many.
    pub(super) lines: u64,
    /// The first, where the server names it; cut to 300 bytes.
    pub(super) first: String,
    /// What the server says about it; cut to 300 bytes.
    pub(super) reason: String,
    /// All of them, each with its newline; with others where the server does not tell them apart.
    pub(super) text: String,
}

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything is written.
    Taken,
    /// The refused lines are lost, the rest is written.
    Partial(Refused),
    /// Nothing is written; `rest` are the lines without the refused ones, to be sent again.
    Without { refused: Refused, rest: String },
    /// Nothing is written because of lines that the server does not name: send parts of it.
    Split { reason: String },
    /// The body is larger than the server takes: send parts of it.
    TooLarge { reason: String },
    /// Send the same again later.
    Retry {
        why: String,
        after: Option<Duration>,
    },
    /// A person must mend it: token, bucket, database, address.
    Park { reason: String },
}

/// What `answer` to a write of the lines `sent` means.
pub(super) fn judge(answer: &Answer, sent: &str) -> Verdict {
    match answer.status {
        204 => Verdict::Taken,
        // A page with 200 is a login or a proxy before the server, not a write that succeeded.
        200..=299 if answer.body.trim().is_empty() => Verdict::Taken,
        400 | 422 => judge_lines(answer, sent),
        413 => Verdict::TooLarge {
            reason: reason(answer),
        },
        408 | 425 | 429 | 500.. => Verdict::Retry {
            why: reason(answer),
            after: answer
                .retry_after
                .as_deref()
                .and_then(|value| retry_after(value, answer.date.as_deref())),
        },
        _ => Verdict::Park {
            reason: reason(answer),
        },
    }
}

/// The status and what the server says of itself, in at most 300 bytes.
pub(super) fn reason(answer: &Answer) -> String {
    let message = message(&parse(&answer.body), &answer.body);
    let text = format!("{} {}", answer.status, message.trim());
    cut(text.trim_end(), SHOWN).to_owned()
}

fn parse(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or(Value::Null)
}

/// The text of the error: `error` on 1.x and 3.x, `message` on 2.x, else the body as it is.
fn message(reply: &Value, body: &str) -> String {
    let field = |name: &str| reply.get(name).and_then(Value::as_str);
    let text = field("message").or_else(|| field("error"));
    text.unwrap_or(body).to_owned()
}

fn judge_lines(answer: &Answer, sent: &str) -> Verdict {
    let reply = parse(&answer.body);
    let message = message(&reply, &answer.body);
    if let Some(refused) = listed(&reply, &message, sent) {
        return Verdict::Partial(refused);
    }
    let bad = quoted(&message, sent);
    // The quoted lines may hold any text, so only what stands before them is the server's own.
    let own = message
        .split("unable to parse '")
        .next()
        .unwrap_or_default();
    if let Some((_, why)) = own.split_once("partial write: ") {
        return Verdict::Partial(partial(&message, why, &bad, sent));
    }
    if !bad.lines.is_empty() {
        let rest = sent.split_inclusive('\n');
        let rest = rest.filter(|line| !bad.lines.contains(line.trim_end_matches('\n')));
        return Verdict::Without {
            refused: bad.refused(sent),
            rest: rest.collect(),
        };
    }
    let own = own.to_ascii_lowercase();
    let places = ["database", "bucket", "organization"];
    if places.iter().any(|place| own.contains(place)) {
        return Verdict::Park {
            reason: reason(answer),
        };
    }
    Verdict::Split {
        reason: reason(answer),
    }
}

/// The refused lines of 3.x: `{"error": "partial write ..", "data": [{"original_line", ..}]}`.
fn listed(reply: &Value, message: &str, sent: &str) -> Option<Refused> {
    let entries = reply.get("data")?.as_array()?;
    let first = entries.first()?;
    if !message.starts_with("partial write") {
        return None;
    }
    let field = |name: &str| first.get(name).and_then(Value::as_str).unwrap_or_default();
    let sent: Vec<&str> = sent.lines().collect();
    let text = entries.iter().filter_map(|entry| {
        let number = entry.get("line_number").and_then(Value::as_u64);
        let place = number.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
        let line = place.and_then(|place| sent.get(place).copied());
        let line = line.or_else(|| entry.get("original_line").and_then(Value::as_str));
        Some(format!("{}\n", line?))
    });
    Some(Refused {
        text: text.collect(),
        lines: entries.len() as u64,
        first: cut(field("original_line"), SHOWN).to_owned(),
        reason: cut(field("error_message"), SHOWN).to_owned(),
    })
}

/// The refused lines of a partial write on 1.x and 2.x: those quoted, and the number at the end.
fn partial(message: &str, why: &str, bad: &Quoted<'_>, sent: &str) -> Refused {
    let number = message
        .rsplit_once("dropped=")
        .and_then(|(_, number)| number.trim().parse::<u64>().ok());
    let why = if bad.reason.is_empty() {
        why
    } else {
        bad.reason
    };
    let why = why.split(" dropped=").next().unwrap_or(why);
    let text = match number.unwrap_or(0) {
        0 if !bad.lines.is_empty() => bad.text(sent),
        number if bad.lines.is_empty() => suspects(why, number, sent),
        _ => sent.to_owned(),
    };
    Refused {
        text,
        lines: (bad.lines.len() as u64 + number.unwrap_or(0)).max(1),
        first: cut(bad.first, SHOWN).to_owned(),
        reason: cut(why, SHOWN).to_owned(),
    }
}

/// The lines that a message quotes as `unable to parse '<line>': <reason>`.
#[derive(Default)]
struct Quoted<'a> {
    lines: HashSet<&'a str>,
    first: &'a str,
    reason: &'a str,
}

impl Quoted<'_> {
    fn refused(&self, sent: &str) -> Refused {
        let text = self.text(sent);
        Refused {
            lines: text.lines().count() as u64,
            first: cut(self.first, SHOWN).to_owned(),
            reason: cut(self.reason, SHOWN).to_owned(),
            text,
        }
    }

    fn text(&self, sent: &str) -> String {
        let lines = sent.split_inclusive('\n');
        let is_bad = |line: &&str| self.lines.contains(line.trim_end_matches('\n'));
        lines.filter(is_bad).collect()
    }
}

/// Finds those lines of `sent` that `message` quotes. A line may itself contain what ends a
/// quotation, so each possible end is compared with what was sent.
fn quoted<'a>(message: &'a str, sent: &str) -> Quoted<'a> {
    const BEGIN: &str = "unable to parse '";
    const END: &str = "': ";
    /// Ends that are tried for one quotation.
    const ENDS: usize = 64;
    let sent: HashSet<&str> = sent.lines().collect();
    let mut found = Quoted::default();
    for (at, begin) in message.match_indices(BEGIN) {
        let after = message.get(at + begin.len()..).unwrap_or_default();
        let mut ends = after.match_indices(END).take(ENDS);
        let line = ends.find_map(|(end, _)| after.get(..end).filter(|line| sent.contains(line)));
        let Some(line) = line else { continue };
        if found.lines.is_empty() {
            let reason = after.get(line.len() + END.len()..).unwrap_or_default();
            found.first = line;
            found.reason = reason.lines().next().unwrap_or_default();
        }
        found.lines.insert(line);
    }
    found
}
