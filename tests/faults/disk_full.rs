//! A disk that is full and has room again, under the whole agent: store and spools.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Agent, Length, Load, Mode, Setup, Sink, eventually, judge, report};

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a file system of one's own may be mounted here. Where not, the short form says so and
/// does without; the longer ones have to show it.
fn may_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    let output = command.arg(folder.path()).output();
    let may = output.is_ok_and(|output| output.status.success());
    if !may {
        let length = Length::chosen();
        assert_eq!(length, Length::Short, "nothing may be mounted here");
        println!("skipped: nothing may be mounted here; tests/spool has a virtual disk");
    }
    may
}

/// Fills the disk to its last byte; somebody else's file.
fn fill(agent: &Agent) {
    let mut file = std::fs::File::create(agent.path("filler")).unwrap();
    let block = vec![1; 64 << 10];
    let mut size = block.len();
    while size > 0 {
        if file.write_all(&block[..size]).is_err() {
            size /= 2;
        }
    }
}

/// Sends until it is refused; the agent goes on.
async fn until_refused(agent: &mut Agent, load: &Load) {
    let begun = Instant::now();
    loop {
        let status = load.send_one(&agent.otlp).await;
        assert!(agent.runs(), "the agent ended: {}", agent.log());
        match status {
            Some(503) => return,
            Some(200) => {}
            status => panic!("{status:?}"),
        }
        assert!(begun.elapsed() < PATIENCE, "the disk is endless");
    }
}

/// An agent with InfluxDB and an upstream.
fn with_sinks(folder: &Path, [influx, forward]: [&Sink; 2]) -> Setup {
    Setup::new(folder)
        .set("influx.url", influx.url())
        .set("forward.endpoint", forward.url())
        .set("forward.protocol", "http/protobuf")
        // What it tells is none of the load's.
        .set("broker.poll_interval", "1h")
}

/// The same, on a disk of that size.
async fn on_a_disk(folder: &Path, size: &str, sinks: [&Sink; 2]) -> Agent {
    let setup = with_sinks(folder, sinks).on_small_disk(size);
    let agent = setup.start().await;
    agent.until_polled().await;
    for sink in ["influx", "forward"] {
        agent.until_drained(sink, PATIENCE).await;
    }
    agent
}

/// Waits until a request is taken again.
async fn until_taken(agent: &Agent, load: &Load, within: Duration) {
    eventually("a request is taken again", within, || async {
        (load.send_one(&agent.otlp).await == Some(200)).then_some(())
    })
    .await;
}

/// Lets the sinks take what waits: what was acknowledged is delivered, or counted as dropped.
async fn deliver(agent: &Agent, load: &Load, [influx, forward]: [&Sink; 2]) {
    for (name, sink) in [("influx", influx), ("forward", forward)] {
        sink.answer_by(Mode::Take);
        agent.until_drained(name, PATIENCE).await;
        let verdict = judge(&load.oracle, sink);
        let dropped = agent.dropped(name).await;
        assert_eq!(verdict.lost, dropped, "{name}: {verdict:?}");
        assert!(verdict.delivered > 0, "{name}: {verdict:?}");
    }
}

/// Fills the disk while the sinks refuse, until the agent does too.
async fn fill_up(agent: &mut Agent, load: &Load, sinks: [&Sink; 2]) {
    for sink in sinks {
        sink.answer_by(Mode::Refuse(503));
    }
    load.run_for(&agent.otlp, 4, Some(5_000), Duration::from_millis(500))
        .await;
    fill(agent);
    until_refused(agent, load).await;
}

/// The same until the store too has rows that it cannot write: what finds room in its log, it writes.
async fn fill_up_the_store(agent: &mut Agent, load: &Load, sinks: [&Sink; 2]) {
    for _ in 0..5 {
        fill_up(agent, load, sinks).await;
        let begun = Instant::now();
        // Windows end meanwhile, and are on their way to the store then.
        while begun.elapsed() < Duration::from_secs(12) {
            let health = agent.get("/health").await.unwrap_or_default();
            let health: Value = serde_json::from_str(&health).unwrap_or_default();
            if health["components"]["store"]["status"] == "unhealthy" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::fs::remove_file(agent.path("filler")).unwrap();
        until_taken(agent, load, PATIENCE).await;
    }
    panic!("there was always room for what came to the store");
}

/// Fills and frees so often, the first two times for so long; the slowest recovery, and by how much
/// what was acknowledged differs from what was delivered and counted.
async fn rounds(number: u32, full_for: Duration, mode: Mode) -> (Duration, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (influx, forward) = (Sink::start(), Sink::start());
    let mut agent = on_a_disk(folder.path(), "32m", [&influx, &forward]).await;
    let load = Load::new(100);
    let mut slowest = Duration::ZERO;
    for round in 0..number {
        fill_up(&mut agent, &load, [&influx, &forward]).await;
        if round < 2 {
            // Long enough for the longest pause between the agent's attempts.
            tokio::time::sleep(full_for).await;
        }
        std::fs::remove_file(agent.path("filler")).unwrap();
        let begun = Instant::now();
        until_taken(&agent, &load, PATIENCE).await;
        slowest = slowest.max(begun.elapsed());
        println!("round {round}: took again after {:?}", begun.elapsed());
        load.run_for(&agent.otlp, 4, Some(5_000), Duration::from_millis(500))
            .await;
        for sink in [&influx, &forward] {
            sink.answer_by(mode);
        }
        for sink in ["influx", "forward"] {
            agent.until_drained(sink, PATIENCE).await;
        }
    }
    assert!(load.refused() >= u64::from(number));
    agent.balanced(PATIENCE).await;
    let mut missing = 0;
    for (name, sink) in [("influx", &influx), ("forward", &forward)] {
        let verdict = judge(&load.oracle, sink);
        let dropped = agent.dropped(name).await;
        println!("{name}: {verdict:?}, dropped {dropped}");
        // Too many that are counted are as wrong as too few.
        missing += verdict.lost.abs_diff(dropped);
    }
    (slowest, missing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_filled_and_freed() {
    if !may_mount() {
        return;
    }
    let length = Length::chosen();
    let number = length.of(2, 20, 100);
    let full_for = Duration::from_secs(length.of(1, 15, 60));
    let (slowest, missing) = rounds(number, full_for, Mode::Take).await;
    let figures = json!({
        "rounds": number,
        "missing": missing,
        "slowest_recovery_ms": u64::try_from(slowest.as_millis()).unwrap(),
    });
    report("disk_full", length, &figures);
    assert_eq!(missing, 0, "acknowledged = delivered + counted, exactly");
    if length != Length::Short {
        assert!(slowest <= Duration::from_secs(5), "{figures}");
    }
}

/// The control: a sink that only says that it took them; the judge misses them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_thrown_away_is_found_out() {
    if !may_mount() {
        return;
    }
    let (_, missing) = rounds(1, Duration::ZERO, Mode::Lie).await;
    assert!(missing > 0);
}

/// How long an agent at most takes nothing whose store is larger than it may be, on a disk that
/// somebody else fills and does not free; with the room that it keeps for that, or without.
async fn longest_refusal(keeps_room: bool, looks: Duration) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(folder.path())
        .on_small_disk("64m")
        .set("store.max_bytes", "4MiB")
        .set("broker.poll_interval", "1h");
    let agent = setup.start().await;
    let reserve = agent.path("store/rabtrace.reserve");
    eventually("room is kept", PATIENCE, || async {
        reserve.exists().then_some(())
    })
    .await;
    let (before, begun) = (Load::new(100), Instant::now());
    while before.oracle.spans() < 40_000 {
        assert!(begun.elapsed() < PATIENCE, "{}", agent.log());
        before
            .run_for(&agent.otlp, 4, Some(10_000), Duration::from_millis(500))
            .await;
    }
    if !keeps_room {
        std::fs::remove_file(&reserve).unwrap();
    }
    fill(&agent);
    // So small that what retention needs finds no room in what these leave.
    let load = Load::new(1);
    let (begun, mut taken, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while begun.elapsed() < looks {
        if load.send_one(&agent.otlp).await == Some(200) {
            longest = longest.max(taken.elapsed());
            taken = Instant::now();
        }
    }
    if keeps_room {
        let log = agent.log();
        assert!(log.contains("retention dropped hours"), "{log}");
    }
    longest.max(taken.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_too_large_is_cut_on_a_disk_that_stays_full() {
    if !may_mount() {
        return;
    }
    let (length, looks) = (Length::chosen(), Duration::from_secs(15));
    let longest = longest_refusal(true, looks).await;
    let figures = json!({"longest_refusal_ms": u64::try_from(longest.as_millis()).unwrap()});
    report("disk_stays_full", length, &figures);
    let within = Duration::from_secs(length.of(14, 10, 10));
    assert!(longest < within, "{figures}");
}

/// The control: the room is taken away. What is left in the log may be enough for once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_retention_it_is_stuck() {
    if !may_mount() {
        return;
    }
    let looks = Duration::from_secs(20);
    for _ in 0..3 {
        if longest_refusal(false, looks).await > Duration::from_secs(15) {
            return;
        }
    }
    panic!("it went on each time");
}

/// A disk that is smaller than the store may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_cut_to_its_disk() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(folder.path())
        .on_small_disk("32m")
        .set("broker.poll_interval", "1h");
    let agent = setup.start().await;
    let (load, stop) = (Load::new(100), AtomicBool::new(false));
    let cut = async {
        eventually("the store is cut", PATIENCE, || async {
            agent
                .log()
                .contains("retention dropped hours")
                .then_some(())
        })
        .await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(load.run(&agent.otlp, 4, None, &stop), cut);
    until_taken(&agent, &load, Duration::from_secs(10)).await;
}

/// What waits for the sinks goes out of a disk that others fill, and makes room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spools_are_emptied_on_a_disk_that_others_fill() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (influx, forward) = (Sink::start(), Sink::start());
    let mut agent = on_a_disk(folder.path(), "48m", [&influx, &forward]).await;
    let load = Load::new(100);
    fill_up(&mut agent, &load, [&influx, &forward]).await;
    deliver(&agent, &load, [&influx, &forward]).await;
}

/// Nobody frees it, and the agent is told to stop while senders still try and neither sink answers in
/// time: what it cannot keep was not acknowledged, or is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_stops_on_a_full_disk() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (influx, forward) = (Sink::start(), Sink::start());
    let mut agent = on_a_disk(folder.path(), "32m", [&influx, &forward]).await;
    let (load, stop) = (Load::new(100), AtomicBool::new(false));
    fill_up_the_store(&mut agent, &load, [&influx, &forward]).await;
    for sink in [&influx, &forward] {
        sink.answer_by(Mode::Late(60_000));
    }
    let otlp = agent.otlp.clone();
    let stopping = async {
        let begun = Instant::now();
        agent.signal(Signal::TERM);
        while agent.runs() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.store(true, Ordering::SeqCst);
        begun.elapsed()
    };
    let (within, ()) = tokio::join!(stopping, load.run(&otlp, 4, None, &stop));
    let log = agent.log();
    let told = agent.told_drops();
    let lost = told.get(r#"rabtrace_dropped_total{reason="stop",stage="store"}"#);
    let lost = lost.copied().unwrap_or_default();
    let figures = json!({
        "stopped_after_ms": u64::try_from(within.as_millis()).unwrap(),
        "rows_not_stored": lost,
    });
    report("disk_full_stop", Length::chosen(), &figures);
    assert!(log.ends_with("\"message\":\"stopped\"}}\n"), "{log}");
    assert!(within < Duration::from_secs(5), "{figures}");
    assert!(lost > 0.0, "{figures} {log}");
    assert!(log.contains(&format!("\"rows\":{lost}")), "{figures} {log}");
}

/// What an agent left, with requests in its spools: how it was set up, and what it was sent.
async fn left_behind(folder: &Path, sinks: [&Sink; 2]) -> (Setup, Load) {
    for sink in sinks {
        sink.answer_by(Mode::Refuse(503));
    }
    let setup = with_sinks(folder, sinks);
    let load = Load::new(100);
    let agent = setup.start().await;
    load.run_for(&agent.otlp, 4, Some(5_000), Duration::from_secs(1))
        .await;
    assert_eq!(agent.stop().0, Some(0));
    (setup, load)
}

/// A disk that is full already when the agent starts again, and is freed later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_starts_on_a_full_disk() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (influx, forward) = (Sink::start(), Sink::start());
    let (setup, load) = left_behind(folder.path(), [&influx, &forward]).await;
    let mut agent = setup.on_full_disk("32m").start().await;
    until_refused(&mut agent, &load).await;
    eventually("it says so", PATIENCE, || async {
        agent.log().contains("disk is full").then_some(())
    })
    .await;
    std::fs::remove_file(agent.path("filler")).unwrap();
    until_taken(&agent, &load, PATIENCE).await;
    deliver(&agent, &load, [&influx, &forward]).await;
    agent.balanced(PATIENCE).await;
}

/// The control: without the room in reserve it ends, and says what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_it_does_not_start_and_says_so() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (influx, forward) = (Sink::start(), Sink::start());
    let (setup, _) = left_behind(folder.path(), [&influx, &forward]).await;
    let state = folder.path().join("state/store");
    std::fs::remove_file(state.join("rabtrace.reserve")).unwrap();
    let (code, told) = setup.on_full_disk("32m").run().await;
    assert_eq!(code, Some(1), "{told}");
    let error = told.split_once("error: ").unwrap().1;
    // SQLite says why in one of two ways, by what it had no room for.
    let (what, rest) = error.split_once("  why").unwrap();
    let path = state.join("rabtrace.db");
    let expect = format!(
        "there is no room for the store\n  path  {}\n",
        path.display()
    );
    assert_eq!(what, expect);
    let fix = "  fix   make room on its disk, or move it to another one: store.folder \
               (RABTRACE_STORE_FOLDER)\n";
    assert!(rest.ends_with(fix), "{error}");
}
