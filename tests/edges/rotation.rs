//! Certificates that are replaced while requests come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::agent::{Agent, WITHIN, client, log_lines, span};
use crate::authority::{Authority, write};
use crate::support::eventually;

/// Seconds since 1970 at the beginning of a year, as the metric has it.
fn expiry(year: i32) -> String {
    let days = rcgen::date_time_ymd(year, 1, 1).unix_timestamp();
    format!("rabtrace_tls_certificate_expiry_timestamp_seconds {days}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_new_certificates_and_no_request_fails() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let pair = authority.issue_until("server", "localhost", 3000);
    let sets = [
        format!("tls.certificate_file={}", pair.certificate),
        format!("tls.key_file={}", pair.key),
    ];
    let agent = Agent::start(folder.path(), "", &sets).await;
    let local =
        |address: &str| format!("https://localhost:{}", address.rsplit_once(':').unwrap().1);
    let (otlp, api) = (local(&agent.http), local(&agent.api));
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let load = {
        let (stop, sent, file) = (stop.clone(), sent.clone(), authority.file.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                // A new client makes a new handshake.
                let url = format!("{otlp}/v1/traces");
                let request = client(Some(&file))
                    .post(url)
                    .json(&span(sent.load(Ordering::SeqCst)));
                match request.send().await.unwrap().status().as_u16() {
                    200 => drop(sent.fetch_add(1, Ordering::SeqCst)),
                    // The store of a busy machine is behind; that has nothing to do with TLS.
                    503 => tokio::time::sleep(Duration::from_millis(100)).await,
                    other => panic!("answered {other}"),
                }
            }
        })
    };
    let has = async |text: String| {
        let answer = client(Some(&authority.file)).get(format!("{api}/metrics"));
        let metrics = answer.send().await.unwrap().text().await.unwrap();
        metrics.lines().any(|line| line == text).then_some(())
    };
    let mut slowest = Duration::ZERO;
    for year in 3001..=3020 {
        let (certificate, key) = authority.pems("localhost", year);
        write(folder.path(), "server.pem", &certificate);
        write(folder.path(), "server.key", &key);
        let begun = Instant::now();
        let what = format!("the certificate until {year}");
        eventually(&what, WITHIN, || has(expiry(year))).await;
        // It is the one that is served: this client takes no other.
        let tls = rabtrace::config::Tls {
            certificate_file: Some(folder.path().join("server.pem")),
            key_file: Some(folder.path().join("server.key")),
            ..rabtrace::config::Tls::default()
        };
        let only_this = rabtrace::tls::ours(&tls).unwrap();
        let answer = only_this.get(format!("{api}/health/live")).send().await;
        assert_eq!(answer.unwrap().status(), 200);
        slowest = slowest.max(begun.elapsed());
    }
    // A key that is not the certificate's: the pair before stays, and it is said why.
    let (_, key) = authority.pems("localhost", 3021);
    write(folder.path(), "server.key", &key);
    let refused = "rabtrace_config_reloads_total{outcome=\"refused\"} 1".to_owned();
    eventually("the refusal", WITHIN, || has(refused.clone())).await;
    assert!(has(expiry(3020)).await.is_some());
    let told = log_lines(&folder.path().join("log"));
    let told = told
        .iter()
        .find(|line| line["message"].as_str().unwrap().contains("refused"));
    let told = told.unwrap()["mistakes"].to_string();
    assert!(
        told.contains("tls.key_file") && told.contains("not the key of"),
        "{told}"
    );
    stop.store(true, Ordering::SeqCst);
    load.await.unwrap();
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent > 20, "only {sent} requests");
    println!(
        "{sent} requests, each with a handshake; a new certificate served after {slowest:.1?} at most"
    );
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let pair = authority.issue_until("server", "localhost", 2001);
    let sets = [
        format!("tls.certificate_file={}", pair.certificate),
        format!("tls.key_file={}", pair.key),
    ];
    let agent = Agent::start(folder.path(), "", &sets).await;
    let log = folder.path().join("log");
    eventually("it is told", WITHIN, async || {
        let lines = log_lines(&log);
        let line = lines
            .iter()
            .find(|line| line["component"] == "certificate")?;
        line["reason"]
            .as_str()?
            .contains("has expired")
            .then_some(())
    })
    .await;
    drop(agent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_authorities_on_both_sides_and_all_that_was_acknowledged_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let place = folder.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        place
    };
    let (to, from) = (place("to"), place("from"));
    // Files that both agents read, each of an authority that is new in each round.
    let renew = |round: i32| {
        let authority = Authority::new(&place("made"), &format!("authority{round}"));
        let (certificate, key) = authority.pems("localhost", 3000);
        let (shown, shown_key) = authority.pems("sender", 3000);
        let authority = std::fs::read_to_string(&authority.file).unwrap();
        write(&to, "server.pem", &certificate);
        write(&to, "server.key", &key);
        write(&to, "clients.pem", &authority);
        write(&from, "client.pem", &shown);
        write(&from, "client.key", &shown_key);
        write(&from, "authority.pem", &authority);
    };
    renew(0);
    let file = |place: &std::path::Path, name: &str| place.join(name).display().to_string();
    let receives = [
        format!("tls.certificate_file={}", file(&to, "server.pem")),
        format!("tls.key_file={}", file(&to, "server.key")),
        format!("tls.client_ca_file={}", file(&to, "clients.pem")),
    ];
    let receiver = Agent::start(&to, "", &receives).await;
    let port = receiver.grpc.rsplit_once(':').unwrap().1;
    let sends = [
        format!("forward.endpoint=https://localhost:{port}"),
        format!("forward.ca_file={}", file(&from, "authority.pem")),
        format!(
            "forward.client_certificate_file={}",
            file(&from, "client.pem")
        ),
        format!("forward.client_key_file={}", file(&from, "client.key")),
        "broker.amqp_url=amqp://127.0.0.1:1".to_owned(),
    ];
    let sender = Agent::start(&from, "", &sends).await;
    let plain = client(None);
    let received = async || {
        let tls = rabtrace::config::Tls {
            certificate_file: Some(to.join("server.pem")),
            key_file: Some(to.join("server.key")),
            client_ca_file: Some(to.join("clients.pem")),
            ..rabtrace::config::Tls::default()
        };
        // In the moment in which the files are new and the agent has the old ones it is none of ours.
        let client = rabtrace::tls::ours(&tls).ok()?;
        let answer = client
            .get(format!("https://{}/status", receiver.api))
            .send()
            .await
            .ok()?;
        let status: serde_json::Value = answer.json().await.unwrap();
        status["spans_received"].as_u64()
    };
    let reloads = async || {
        let answer = plain
            .get(format!("http://{}/status", sender.api))
            .send()
            .await
            .unwrap();
        let status: serde_json::Value = answer.json().await.unwrap();
        status["reloads"]["applied"].as_u64().unwrap()
    };
    let mut acknowledged = 0;
    for round in 1..=3 {
        for _ in 0..20 {
            let url = format!("http://{}/v1/traces", sender.http);
            let request = plain.post(url).json(&span(acknowledged));
            assert_eq!(request.send().await.unwrap().status(), 200);
            acknowledged += 1;
        }
        let wanted = acknowledged;
        eventually("what was acknowledged is there", WITHIN, async || {
            (received().await? >= wanted).then_some(())
        })
        .await;
        let before = reloads().await;
        renew(round);
        eventually("the sender has the new files", WITHIN, async || {
            (reloads().await > before).then_some(())
        })
        .await;
    }
}
