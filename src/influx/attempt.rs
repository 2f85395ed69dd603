//! One attempt to write one group of lines, down to its single lines where that must be.
//!
//! Input: a group and the server, if that is known. Output: [`Written`]: how many lines are
//! written, how many the server will never take, what is left, and why. Its lines =
//! taken + refused + left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};

use super::batch::{Batch, Group};
use super::exchange::exchange;
use super::failure::Trouble;
use super::identify::identify;
use super::response::{Answer, Refused, Verdict, judge};
use super::server::{Server, refusal, shown};
use crate::config;
use crate::health::Failure;

/// Requests of one attempt at most. Where the server takes none of a group within them, and refuses
/// line after line without naming them, it is asked again later, from another line on: it may be
/// that not the lines are wrong. Where it takes some, the rest goes on at once. A group that is asked
/// about down to each line within them, up to 43 lines, is given up where all are refused.
const REQUESTS: usize = 64;
/// Lines refused by themselves one after the other, before the search goes on in the largest piece
/// that is left: good ones may be among them, or far behind them.
const NEIGHBOURS: usize = 4;
/// Parts of a piece in which a line is searched for. One line is found with as many requests as by
/// halves, and more places are looked at within [`REQUESTS`].
const PARTS: u64 = 4;

/// What every attempt needs.
pub(super) struct Session {
    pub(super) config: config::Influx,
    pub(super) client: reqwest::Client,
}

/// What came of an attempt.
pub(super) struct Written {
    /// The server, where it is known to be there.
    pub(super) server: Option<Arc<Server>>,
    /// Bytes of the group as it was taken from the buffer.
    pub(super) size: usize,
    /// Lines that the server took.
    pub(super) taken: u64,
    /// Lines that the server will never take.
    pub(super) rejected: u64,
    /// Lines that are larger than the server takes.
    pub(super) too_large: u64,
    /// What the server said of these lines, and the lines.
    pub(super) refused: Vec<Refused>,
    /// What is left, and the records of all of it.
    pub(super) rest: Group,
    /// How long the last request took, or why the attempt ended early.
    pub(super) end: Result<Duration, Trouble>,
}

/// Writes `group`; asks the server what it is when `server` is none.
pub(super) async fn write(
    session: Arc<Session>,
    server: Option<Arc<Server>>,
    group: Group,
) -> Written {
    let whole = group.pieces.clone();
    let mut attempt = Attempt::new(group);
    let end = match server {
        Some(server) => attempt.send_all(&session, server).await,
        None => match identify(&session.config, &session.client).await {
            Ok(server) => attempt.send_all(&session, Arc::new(server)).await,
            Err(trouble) => Err(trouble),
        },
    };
    if end.is_err() && attempt.written.is_untouched() && !attempt.written.rest.is_proven {
        // Where nothing at all is taken, it may be that not the lines are wrong: they are kept.
        let is_searched = !attempt.alone.is_empty();
        attempt.alone.clear();
        attempt.pieces = whole.into_iter().rev().collect();
        if is_searched {
            attempt.begin_elsewhere();
        }
    }
    attempt.refuse_those_alone();
    attempt.report(&session.config);
    let mut written = attempt.written;
    attempt.pieces.reverse();
    written.rest.pieces = attempt.pieces;
    written.rest.is_proven |= written.taken > 0;
    written.end = end;
    written
}

impl Written {
    /// Whether the server neither took a line nor said of one that it never will.
    fn is_untouched(&self) -> bool {
        self.taken + self.rejected + self.too_large == 0
    }
}

struct Attempt {
    written: Written,
    /// What is still to be sent, the next piece last.
    pieces: Vec<Batch>,
    /// Single lines that were refused without being named.
    alone: Vec<Batch>,
    /// What the server said of the last piece that it refused without naming a line.
    unexplained: String,
}

impl Attempt {
    fn new(mut group: Group) -> Self {
        let size = group.size();
        let mut pieces = std::mem::take(&mut group.pieces);
        pieces.reverse();
        let written = Written {
            server: None,
            size,
            taken: 0,
            rejected: 0,
            too_large: 0,
            refused: Vec::new(),
            rest: group,
            end: Ok(Duration::ZERO),
        };
        Self {
            written,
            pieces,
            alone: Vec::new(),
            unexplained: String::new(),
        }
    }

    async fn send_all(
        &mut self,
        session: &Session,
        server: Arc<Server>,
    ) -> Result<Duration, Trouble> {
        self.written.server = Some(server.clone());
        let mut latency = Duration::ZERO;
        for _ in 0..REQUESTS {
            let Some(piece) = self.pieces.last() else {
                return Ok(latency);
            };
            let began = Instant::now();
            let answer = send(session, &server, piece).await?;
            latency = began.elapsed();
            let sent = match answer.status {
                400 | 422 => piece.text().unwrap_or_default(),
                _ => String::new(),
            };
            match judge(&answer, &sent) {
                Verdict::Retry { why, after } => {
                    let why = format!("{}: {why}", shown(&session.config));
                    return Err(Trouble::Passing { why, after });
                }
                Verdict::Park { reason } => {
                    return Err(refusal(&session.config, server.api, &reason).into());
                }
                verdict => self.settle(verdict),
            }
        }
        if self.pieces.is_empty() || self.is_proven() {
            return Ok(latency);
        }
        let (url, reason) = (shown(&session.config), &self.unexplained);
        Err(Trouble::Lasting(Failure {
            why: format!("{url} refuses line after line: {reason}"),
            fix: "see the log of InfluxDB for what is wrong with the request".to_owned(),
        }))
    }

    /// Takes the last piece away, and puts back what of it must be sent again.
    fn settle(&mut self, verdict: Verdict) {
        let Some(piece) = self.pieces.pop() else {
            return;
        };
        match verdict {
            Verdict::Taken => self.written.taken += piece.lines(),
            Verdict::Partial(refused) => {
                let lines = refused.lines.min(piece.lines());
                self.written.taken += piece.lines() - lines;
                self.written.rejected += lines;
                self.written.refused.push(refused);
            }
            Verdict::Without { refused, rest } => {
                let lines = refused.lines.min(piece.lines());
                self.written.rejected += lines;
                if lines < piece.lines() {
                    let rest = Batch::seal(rest.as_bytes(), piece.lines() - lines);
                    self.pieces.push(rest);
                }
                self.written.refused.push(refused);
            }
            Verdict::Split { reason } if piece.lines() > 1 => self.cut(&piece, PARTS, reason),
            Verdict::TooLarge { reason } if piece.lines() > 1 => self.cut(&piece, 2, reason),
            Verdict::TooLarge { reason } => {
                self.written.too_large += piece.lines();
                self.refuse_alone(&piece, reason);
            }
            Verdict::Split { reason } => {
                self.unexplained = reason;
                self.alone.push(piece);
                if !self.is_proven() && self.alone.len().is_multiple_of(NEIGHBOURS) {
                    self.largest_next();
                }
            }
            Verdict::Retry { .. } | Verdict::Park { .. } => self.pieces.push(piece),
        }
    }

    /// Puts `parts` of a piece back.
    fn cut(&mut self, piece: &Batch, parts: u64, reason: String) {
        self.unexplained = reason;
        let cut = piece.cut(parts);
        if cut.is_empty() {
            // Only a body that cannot be inflated has no parts: memory has gone bad.
            self.written.rejected += piece.lines();
        }
        self.pieces.extend(cut.into_iter().rev());
    }

    /// Whether the server takes lines of this group: then what it refuses is to blame.
    fn is_proven(&self) -> bool {
        self.written.rest.is_proven || self.written.taken > 0
    }

    /// Goes on with the largest piece.
    fn largest_next(&mut self) {
        let pieces = self.pieces.iter().enumerate();
        if let Some((place, _)) = pieces.max_by_key(|(_, piece)| piece.lines()) {
            let piece = self.pieces.remove(place);
            self.pieces.push(piece);
        }
    }

    /// Sends another line first the next time, any of them: many lines that are refused may stand
    /// before the first that is taken.
    fn begin_elsewhere(&mut self) {
        let lines = self.pieces.iter().map(Batch::lines).sum::<u64>();
        let mut line = fastrand::u64(..lines.max(1));
        let held = self.pieces.iter().position(|piece| {
            let is_here = line < piece.lines();
            line -= if is_here { 0 } else { piece.lines() };
            is_here
        });
        let Some(place) = held else {
            return;
        };
        let piece = self.pieces.remove(place);
        let is_cut = self.pieces.len() < REQUESTS;
        let parts = is_cut.then(|| piece.parts(line));
        match parts.flatten() {
            Some((head, tail)) => self.pieces.extend([head, tail]),
            None => self.pieces.push(piece),
        }
    }

    /// What was refused by itself, and not kept, is lost.
    fn refuse_those_alone(&mut self) {
        for piece in std::mem::take(&mut self.alone) {
            self.written.rejected += piece.lines();
            self.refuse_alone(&piece, self.unexplained.clone());
        }
    }

    fn refuse_alone(&mut self, piece: &Batch, reason: String) {
        let text = piece.text().unwrap_or_default();
        self.written.refused.push(Refused {
            lines: piece.lines(),
            first: super::line_protocol::cut(text.trim_end(), 300).to_owned(),
            reason,
            text,
        });
    }

    /// Logs the refused lines, once for the whole batch.
    fn report(&self, config: &config::Influx) {
        let lines = self.written.rejected + self.written.too_large;
        if let Some(first) = self.written.refused.first().filter(|_| lines > 0) {
            tracing::error!(
                url = shown(config),
                lines,
                first_line = first.first,
                reason = first.reason,
                "influxdb refused lines for good"
            );
        }
    }
}

async fn send(session: &Session, server: &Server, piece: &Batch) -> Result<Answer, Trouble> {
    let mut request = session
        .client
        .post(server.write_url.clone())
        .header(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        )
        .body(piece.body());
    if piece.is_gzip() {
        request = request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(authorization) = &server.authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    exchange(&session.config, request).await
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Batch, Group, REQUESTS, Verdict};
    use std::collections::BTreeSet;

    fn attempt(pieces: &[(String, u64)]) -> Attempt {
        let seal = |(text, lines): &(String, u64)| Batch::seal(text.as_bytes(), *lines);
        Attempt::new(Group {
            pieces: pieces.iter().map(seal).collect(),
            records: Vec::new(),
            is_proven: false,
            is_rest: false,
            settled: 0,
        })
    }

    /// Requests until the server takes something of `lines` lines; none if it took nothing.
    fn until_taken(lines: u64, is_bad: impl Fn(u64) -> bool) -> Option<usize> {
        let text: String = (0..lines).map(|n| format!("m f=0i {n}\n")).collect();
        let mut attempt = attempt(&[(text, lines)]);
        for asked in 1..=REQUESTS {
            let sent = attempt.pieces.last()?.text().ok()?;
            let mut numbers = sent.lines().filter_map(|line| line[7..].parse().ok());
            attempt.settle(if numbers.any(&is_bad) {
                let reason = String::new();
                Verdict::Split { reason }
            } else {
                Verdict::Taken
            });
            if attempt.is_proven() {
                return Some(asked);
            }
        }
        None
    }

    #[test]
    fn any_line_may_be_the_first_of_the_next_attempt_and_none_is_lost() {
        let line = |n: u64| format!("m f=0i {n}\n");
        let text = |lines: std::ops::Range<u64>| lines.map(line).collect::<String>();
        let mut first: BTreeSet<String> = BTreeSet::new();
        for _ in 0..1_000 {
            let mut attempt = attempt(&[(text(0..5), 5), (text(5..6), 1), (text(6..10), 4)]);
            attempt.begin_elsewhere();
            let pieces = attempt.pieces.iter();
            let sent: Vec<String> = pieces.map(|piece| piece.text().unwrap()).collect();
            let mut all: Vec<&str> = sent.iter().flat_map(|text| text.lines()).collect();
            all.sort_unstable();
            assert_eq!(all, text(0..10).lines().collect::<Vec<_>>());
            let counted: u64 = attempt.pieces.iter().map(Batch::lines).sum();
            assert_eq!(counted, 10);
            first.extend(
                sent.last()
                    .and_then(|text| text.lines().next())
                    .map(str::to_owned),
            );
        }
        assert_eq!(first.len(), 10, "each comes first sometimes: {first:?}");
    }

    #[test]
    fn a_good_line_is_met_within_one_attempt() {
        type IsBad = fn(u64) -> bool;
        let shapes: [(&str, IsBad); 7] = [
            ("the first", |n| n < 200),
            ("the first 4,000", |n| n < 4000),
            ("the last 4,000", |n| n >= 1000),
            ("those in the middle", |n| (500..4500).contains(&n)),
            ("each second one", |n| n % 2 == 0),
            ("nine of ten", |n| n % 10 != 3),
            ("all but a fifth", |n| !(1700..2700).contains(&n)),
        ];
        for (name, is_bad) in shapes {
            let asked = until_taken(5000, is_bad);
            assert!(asked.is_some(), "{name} are refused: nothing was found");
        }
        assert_eq!(until_taken(5000, |_| true), None, "the control");
    }

    #[test]
    fn as_many_lines_are_given_up_as_one_attempt_asks_about_one_by_one() {
        let is_given_up = |lines: usize| {
            let mut attempt = attempt(&[("m f=0i\n".repeat(lines), lines as u64)]);
            for _ in 0..REQUESTS {
                let reason = String::new();
                attempt.settle(Verdict::Split { reason });
            }
            attempt.pieces.is_empty()
        };
        assert_eq!([43, 44].map(is_given_up), [true, false]);
    }
}
