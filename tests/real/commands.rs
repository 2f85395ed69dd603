//! The commands beside a running agent, without one, and with a configuration that cannot work.

use crate::agent::Agent;
use crate::support::{output, rabtrace};

#[tokio::test]
async fn the_commands_ask_the_agent_or_the_file_and_cannot_write() {
    let agent = Agent::start(&[("broker.poll_interval", "1h")]).await;
    assert_eq!(
        agent.get("/health/ready").await.0,
        200,
        "ready without waiting for data"
    );
    agent.send_span(7).await;
    agent.until("the span is stored", "spans_stored", 1).await;
    let address = agent.api.trim_start_matches("http://").to_owned();
    let folder = agent.folder.path().join("store");
    let ask = |words: &[&str]| {
        let mut command = rabtrace();
        command
            .env("RABTRACE_STORE_FOLDER", &folder)
            .env("RABTRACE_API_LISTEN", &address)
            .args(words);
        output(&mut command)
    };
    let count = [
        "sql",
        "SELECT count(*) AS n FROM spans",
        "--output",
        "ndjson",
    ];
    assert_eq!(ask(&count), (0, "{\"n\":1}\n".to_owned(), String::new()));
    let (code, text, _) = ask(&["trace", "00000000"]);
    assert!(code == 0 && text.contains("sender  work"), "{code} {text}");
    assert_eq!(ask(&["trace", "ffffffff"]).0, 3);
    let (_, text, _) = ask(&["sql", "SELECT 1 AS n", "--output", "json"]);
    assert_eq!(text, "{\"rows\":[{\"n\":1}],\"schema_version\":1}\n");
    let (_, _, remark) = ask(&["sql", "SELECT 1 UNION SELECT 2", "--limit", "1"]);
    assert!(remark.contains("there are more rows"), "{remark}");
    for statement in [
        "DELETE FROM spans",
        "DROP VIEW spans",
        "ATTACH '/etc/passwd' AS x",
        "SELECT 1; SELECT 2",
    ] {
        let (code, printed, complaint) = ask(&["sql", statement]);
        assert!(
            code == 1 && printed.is_empty() && complaint.starts_with("error: "),
            "{statement}: {code} {complaint}"
        );
    }
    let Agent {
        process,
        folder: kept,
        ..
    } = agent;
    drop(process);
    let (code, text, remark) = ask(&count);
    assert_eq!((code, text.as_str()), (0, "{\"n\":1}\n"), "{remark}");
    assert!(remark.contains("reading the store's file"), "{remark}");
    drop(kept);
    assert_eq!(ask(&count).0, 4, "neither agent nor file");
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let run = |set: &[(&str, &str)]| {
        let mut command = rabtrace();
        command
            .env("RABTRACE_OTLP_GRPC_LISTEN", "127.0.0.1:0")
            .env("RABTRACE_OTLP_HTTP_LISTEN", "127.0.0.1:0");
        command
            .env("RABTRACE_API_LISTEN", "127.0.0.1:0")
            .env("RABTRACE_STORE_FOLDER", folder.path().join("store"));
        command.arg("agent");
        for (key, value) in set {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let (code, _, complaint) = output(&mut command);
        (code, complaint)
    };
    let (code, complaint) = run(&[("receiver.http_listen", &address)]);
    assert!(
        code == 1
            && complaint.contains(&address)
            && complaint.contains("receiver.http_listen")
            && complaint.contains("fix"),
        "{complaint}"
    );
    let (code, complaint) = run(&[("store.folder", file.to_str().unwrap())]);
    assert!(code == 1 && complaint.contains("fix"), "{code} {complaint}");
    let (code, complaint) = run(&[("broker.pol_interval", "1s")]);
    assert!(
        code == 2 && complaint.contains("did you mean broker.poll_interval"),
        "{complaint}"
    );
    let (code, complaint) = run(&[("api.listen", "0.0.0.0:0")]);
    assert!(code == 2 && complaint.contains("api.token"), "{complaint}");
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_the_agent() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = Agent::start(&[("broker.poll_interval", "1h")]).await;
    let mut command = rabtrace();
    command
        .env(
            "HTTP_PROXY",
            format!("http://{}", proxy.local_addr().unwrap()),
        )
        .env(
            "http_proxy",
            format!("http://{}", proxy.local_addr().unwrap()),
        )
        .env(
            "RABTRACE_API_LISTEN",
            agent.api.trim_start_matches("http://"),
        )
        .args(["health", "--live"]);
    drop(proxy);
    assert_eq!(output(&mut command), (0, String::new(), String::new()));
}

#[test]
fn a_broken_configuration_does_not_hide_the_example_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rabtrace.toml"), "x = 1").unwrap();
    let run = |words: &[&str]| output(rabtrace().current_dir(folder.path()).args(words));
    let (code, _, complaint) = run(&["config", "show"]);
    assert!(
        code == 2 && complaint.contains("config example"),
        "{complaint}"
    );
    let (code, example, complaint) = run(&["config", "example"]);
    assert!(code == 0 && example.contains("[broker]"), "{complaint}");
}
