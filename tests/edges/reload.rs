//! SIGHUP under load: valid ones take effect, invalid ones change nothing, and nothing is lost.
//!
//! `RABTRACE_RELOADS` says how many, half of them invalid.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::agent::{Agent, WITHIN, client, log_lines, span};
use crate::support::eventually;
use crate::upstream::Upstream;

fn config(upstream: &str, number: u64) -> String {
    let key = if number.is_multiple_of(4) {
        "even"
    } else {
        "odd"
    };
    let mut text = format!(
        "[forward]\nendpoint = \"{upstream}\"\nprotocol = \"http/protobuf\"\n\
         headers = \"x-key={key}{number}\"\n\
         [receiver]\ntoken = \"token{number}\"\n\
         [broker]\namqp_url = \"amqp://127.0.0.1:1\"\npoll_interval = \"{}ms\"\n",
        500 + number
    );
    if number % 2 == 1 {
        let _ = write!(
            text,
            "[store]\nretention = \"nonsense\"\n[nowhere]\nkey = 1\n"
        );
    }
    text
}

async fn status(agent: &Agent) -> Value {
    let answer = client(None)
        .get(format!("http://{}/status", agent.api))
        .send();
    answer.await.unwrap().json().await.unwrap()
}

/// Sends spans until `stop`; the numbers of those that were acknowledged.
async fn load(
    url: String,
    stop: Arc<AtomicBool>,
    token: Arc<std::sync::Mutex<u64>>,
) -> BTreeSet<u64> {
    let client = client(None);
    let mut acknowledged = BTreeSet::new();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let bearer = format!("token{}", *token.lock().unwrap());
        let request = client.post(&url).bearer_auth(bearer).json(&span(number));
        match request.send().await.unwrap().status().as_u16() {
            200 => {
                acknowledged.insert(number);
            }
            // The token was changed between.
            401 => {}
            other => panic!("answered {other}"),
        }
        number += 1;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_lose_nothing() {
    let reloads: u64 =
        std::env::var("RABTRACE_RELOADS").map_or(24, |number| number.parse().unwrap());
    let upstreams = [Upstream::default(), Upstream::default()];
    let urls = [upstreams[0].start().await, upstreams[1].start().await];
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &config(&urls[0], 0), &[]).await;
    let (stop, token) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(std::sync::Mutex::new(0)),
    );
    let url = format!("http://{}/v1/traces", agent.http);
    let loading = tokio::spawn(load(url, stop.clone(), token.clone()));
    let file = folder.path().join("rabtrace.toml");
    let (mut slowest, mut descriptors) = (Duration::ZERO, 0);
    for number in 1..=reloads {
        // A half-written file must not be read: it is replaced.
        let place = usize::try_from(number / 2 % 2).unwrap();
        let text = config(&urls[place], number);
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), &file).unwrap();
        let begun = Instant::now();
        agent.signal(Signal::HUP);
        let is_valid = number.is_multiple_of(2);
        eventually("the reload", WITHIN, async || {
            let told = status(&agent).await["reloads"].take();
            let (applied, refused) = (told["applied"].as_u64()?, told["refused"].as_u64()?);
            if applied + refused < number {
                return None;
            }
            assert_eq!((applied, refused), (number / 2, number.div_ceil(2)));
            let mistakes = told["mistakes"].to_string();
            let all = mistakes.contains("store.retention") && mistakes.contains("nowhere.key");
            assert_eq!(all, !is_valid, "{mistakes}");
            Some(())
        })
        .await;
        slowest = slowest.max(begun.elapsed());
        if is_valid {
            *token.lock().unwrap() = number;
            let wanted = config("", number);
            eventually("a span with the new header", WITHIN, async || {
                wanted
                    .contains(&*upstreams[place].key.lock().unwrap())
                    .then_some(())
            })
            .await;
        }
        if number == 4 {
            descriptors = agent.descriptors();
        }
    }
    let after = agent.descriptors();
    stop.store(true, Ordering::SeqCst);
    let acknowledged = loading.await.unwrap();
    assert!(
        acknowledged.len() as u64 > reloads,
        "{}",
        acknowledged.len()
    );
    let taken = || {
        let taken = [upstreams[0].taken(), upstreams[1].taken()];
        (taken[0].0 + taken[1].0, taken[0].1 + taken[1].1)
    };
    eventually("all that was acknowledged", WITHIN, async || {
        (taken().0 >= acknowledged.len()).then_some(())
    })
    .await;
    assert_eq!(taken(), (acknowledged.len(), 0), "and nothing twice");
    assert!(
        after <= descriptors + 4,
        "{descriptors} descriptors became {after}"
    );
    println!(
        "{reloads} reloads, {} requests, {descriptors} descriptors became {after}, a reload was \
         told after {slowest:.1?} at most",
        acknowledged.len()
    );
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_level_of_the_log_changes() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "[log]\nlevel = \"error\"\n", &[]);
    let agent = tokio::time::timeout(Duration::from_secs(2), agent).await;
    assert!(
        agent.is_err(),
        "an agent that logs errors alone says where it listens"
    );
    let agent = Agent::start(folder.path(), "", &[]).await;
    let log = folder.path().join("log");
    let text = "[log]\nlevel = \"debug\"\n[spool]\nfolder = \"/elsewhere\"\n[influx]\nurl = \"http://127.0.0.1:1\"\n";
    std::fs::write(folder.path().join("rabtrace.toml"), text).unwrap();
    agent.signal(Signal::HUP);
    eventually("the keys", WITHIN, async || {
        let told = status(&agent).await["reloads"]["restart_needed"].take();
        (told == serde_json::json!(["influx.url", "spool.folder"])).then_some(())
    })
    .await;
    let named = |text: &str| {
        log_lines(&log)
            .iter()
            .any(|line| line.to_string().contains(text))
    };
    assert!(named("take effect at the next start") && named("spool.folder"));
    // And an address that stays keeps its token.
    std::fs::write(folder.path().join("rabtrace.toml"), "").unwrap();
    agent.signal(Signal::HUP);
    eventually("all is as it was", WITHIN, async || {
        let told = status(&agent).await["reloads"].take();
        (told["applied"] == 2 && told["restart_needed"] == serde_json::json!([])).then_some(())
    })
    .await;
}
