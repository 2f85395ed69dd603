//! What the polls of a monitor cost, by what was asked for in them.

use std::time::{Duration, Instant};

use super::account::{mean, median, memory, until, usage};
use super::roles::Role;
use super::{Bench, Cost, PHASE, Span, WINDOW, row};

/// Polls that are measured.
const POLLS: usize = 24;
/// Polls one right behind the other.
const BURST: u32 = 120;
/// What a poll with consumers has to read, of one without, at least.
const WITH_CONSUMERS: f64 = 1.05;

/// One poll: CPU of the broker less what it does by itself, time, and what was asked for.
struct Poll {
    broker_ms: f64,
    wall_ms: f64,
    bytes: f64,
    has_totals: bool,
}

/// What a monitor in a process of its own costs, and how much memory it has.
pub(crate) struct Polled {
    pub(crate) version: String,
    polls: Vec<Poll>,
    own_ms: f64,
    pub(crate) resident: f64,
    pub(crate) most: f64,
    burst: Span,
    /// The same with consumers, and bytes of an answer.
    whole: (Span, f64),
}

impl Polled {
    pub(crate) fn cost(&self) -> Cost {
        Cost {
            broker_ms: mean(self.polls.iter().map(|poll| poll.broker_ms)),
            own_ms: self.own_ms,
            wall_ms: median(self.polls.iter().map(|poll| poll.wall_ms).collect()),
        }
    }

    /// The polls by what was asked for in them, and one right behind the other, where the broker by
    /// itself uses `idle` milliseconds a second.
    pub(crate) fn show(&self, idle: f64) {
        let least = self.polls.iter().filter(|poll| !poll.has_totals);
        let least = least.map(|poll| poll.bytes).fold(f64::MAX, f64::min);
        let kind = |poll: &Poll| match poll {
            poll if poll.has_totals => 2,
            poll if poll.bytes > least * WITH_CONSUMERS => 1,
            _ => 0,
        };
        let names = [
            "of depths and counters",
            "of consumers too",
            "of totals too, some of nodes",
        ];
        for (index, name) in names.iter().enumerate() {
            let of_kind = self.polls.iter().filter(|poll| kind(poll) == index);
            let costs: Vec<f64> = of_kind.clone().map(|poll| poll.broker_ms).collect();
            if costs.is_empty() {
                continue;
            }
            if index == 1 {
                let bytes = of_kind.map(|poll| poll.bytes).fold(0.0, f64::max);
                let ratio = self.whole.1 / bytes;
                assert!((0.95..1.05).contains(&ratio), "a poll has {bytes} bytes");
            }
            println!(
                "  {name:<42} {:>7.1} ms broker CPU, {} of {} polls",
                mean(costs.iter().copied()),
                costs.len(),
                self.polls.len()
            );
        }
        row("  one right behind the other", &self.burst.cost(idle));
        row("  the same, each with consumers", &self.whole.0.cost(idle));
    }
}

/// So many calls without a pause, which `caller` makes.
async fn burst(bench: &Bench, caller: u32, mut call: impl AsyncFnMut()) -> Span {
    let (begun, own) = (usage(bench.pid), usage(caller));
    for _ in 0..BURST {
        call().await;
    }
    let ended = usage(bench.pid);
    let seconds = (ended.at - begun.at).as_secs_f64();
    Span {
        calls: BURST.into(),
        broker_ms: ended.cpu_ms - begun.cpu_ms,
        seconds,
        own_ms: usage(caller).cpu_ms - own.cpu_ms,
        wall_ms: seconds * 1e3 / f64::from(BURST),
    }
}

/// Scrapes with consumers, one right behind the other.
async fn whole(bench: &Bench) -> (Span, f64) {
    let mut bytes = 0;
    let span = burst(bench, std::process::id(), async || {
        bytes = bench.whole().await;
    });
    (
        span.await,
        f64::from(u32::try_from(bytes).expect("less than 4 GiB")),
    )
}

pub(crate) async fn polls(bench: &Bench, watch: &mut Role, number: usize) -> Polled {
    let said = watch.go().await;
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!(words[..2], ["prometheus", &*number.to_string()], "{said}");
    println!(
        "\nRabbitMQ {}: {number} classic queues, a consumer each",
        words[4]
    );
    let pid = watch.pid();
    let (mut polls, own) = (Vec::new(), usage(pid));
    while polls.len() < POLLS {
        let (begun, mut said, mut wall_ms) = (Instant::now(), String::new(), 0.0);
        let (used_ms, seconds) = bench
            .used(async || {
                said = watch.go().await;
                wall_ms = begun.elapsed().as_secs_f64() * 1e3;
            })
            .await;
        // The same phases of the broker's five seconds, one time later.
        until(begun + WINDOW).await;
        let alone = Instant::now() + Duration::from_secs_f64(seconds) - PHASE / 2;
        let (alone_ms, alone_seconds) = bench.used(async || until(alone).await).await;
        // Which the next one is by one phase behind, however long this one took.
        until(
            begun
                + if seconds < PHASE.as_secs_f64() * 1.5 {
                    WINDOW
                } else {
                    WINDOW * 2
                }
                + PHASE,
        )
        .await;
        let words: Vec<&str> = said.split(' ').collect();
        polls.push(Poll {
            broker_ms: used_ms - alone_ms * seconds / alone_seconds,
            wall_ms,
            bytes: words[6].parse().expect("bytes"),
            has_totals: words[7] == "totals",
        });
    }
    let calls = f64::from(u32::try_from(polls.len()).expect("a few"));
    let own_ms = (usage(pid).cpu_ms - own.cpu_ms) / calls;
    let (resident, most) = memory(pid);
    // Hardly one of these asks for consumers, nodes or totals.
    let span = burst(bench, pid, async || {
        watch.go().await;
    });
    let burst = span.await;
    Polled {
        version: words[4].to_owned(),
        polls,
        own_ms,
        resident,
        most,
        burst,
        whole: whole(bench).await,
    }
}
