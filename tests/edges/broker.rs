//! A real broker that is reached over TLS alone, and wants a client certificate.

use rabtrace::demo::broker::{Broker, Options};
use serde_json::Value;

use crate::agent::{Agent, WITHIN, client};
use crate::authority::Authority;
use crate::support::{eventually, free_port, output, rabtrace};

fn check(sets: &[String]) -> Vec<(String, bool, String)> {
    let mut program = rabtrace();
    program.args(["check", "--output", "json"]);
    for set in sets {
        program.args(["--set", set]);
    }
    let (_, data, errors) = output(&mut program);
    let found: Value = serde_json::from_str(&data).unwrap_or_else(|_| panic!("{data}{errors}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| (text(&row["name"]), row["ok"] == true, text(&row["message"]));
    let rows = found["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["name"] != "disk").map(row).collect()
}

#[tokio::test]
async fn the_broker_is_watched_over_tls_with_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let server = authority.issue("broker", "localhost");
    let ports = [free_port(), free_port(), free_port()];
    let mut config = vec![
        format!("listeners.ssl.1 = 127.0.0.1:{}", ports[0]),
        format!("management.ssl.port = {}", ports[1]),
        format!("prometheus.ssl.port = {}", ports[2]),
    ];
    for section in ["ssl_options", "management.ssl", "prometheus.ssl"] {
        config.push(format!("{section}.cacertfile = {}", authority.file));
        config.push(format!("{section}.certfile = {}", server.certificate));
        config.push(format!("{section}.keyfile = {}", server.key));
        config.push(format!("{section}.verify = verify_peer"));
        config.push(format!("{section}.fail_if_no_peer_cert = true"));
    }
    let options = Options {
        config,
        ..Options::default()
    };
    let broker = Broker::start_with(options).await.unwrap();
    let pair = authority.issue("monitor", "monitor");
    let mut sets = vec![
        format!("broker.amqp_url=amqps://guest:guest@localhost:{}", ports[0]),
        format!("broker.management_url=https://localhost:{}", ports[1]),
        format!("broker.prometheus_urls=https://localhost:{}", ports[2]),
        "broker.watch_queues=orders".to_owned(),
        "broker.poll_interval=200ms".to_owned(),
        format!("tls.ca_file={}", authority.file),
    ];
    for (name, ok, message) in check(&sets) {
        assert!(
            !ok && message.contains("client certificate"),
            "{name}: {message}"
        );
    }
    for (name, ok, message) in check(&sets[..5]) {
        assert!(
            !ok && message.contains("authority that is not known"),
            "{name}: {message}"
        );
    }
    sets.push(format!(
        "broker.client_certificate_file={}",
        pair.certificate
    ));
    sets.push(format!("broker.client_key_file={}", pair.key));
    let found = check(&sets);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|(_, ok, _)| *ok), "{found:?}");
    let agent = Agent::start(folder.path(), "", &sets).await;
    let url = format!("http://{}/health", agent.api);
    eventually("the broker is watched", WITHIN, async || {
        let health: Value = client(None)
            .get(&url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        (health["components"]["rabbitmq"]["status"] == "healthy").then_some(())
    })
    .await;
    broker.stop().await.unwrap();
}

#[test]
fn the_plugins_of_a_broker_with_tls_are_asked_over_tls() {
    let mut program = rabtrace();
    program.args([
        "config",
        "show",
        "--set",
        "broker.amqp_url=amqps://u:p@rabbit",
    ]);
    let (_, shown, _) = output(&mut program);
    assert!(
        shown.contains("https://rabbit:15671") && shown.contains("https://rabbit:15691"),
        "{shown}"
    );
}
