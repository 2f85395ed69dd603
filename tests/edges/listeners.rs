//! TLS on the agent's listeners: OTLP both ways, the API, and the commands that ask it.

use std::path::Path;

use crate::agent::{Agent, WITHIN, client, span};
use crate::authority::{Authority, Pair};
use crate::support::{eventually, output, rabtrace};

fn tls(pair: &Pair) -> Vec<String> {
    vec![
        format!("tls.certificate_file={}", pair.certificate),
        format!("tls.key_file={}", pair.key),
    ]
}

/// Runs a command of the program against the agent; its exit code and both outputs.
fn ask(agent: &Agent, command: &[&str], sets: &[String]) -> (i32, String) {
    let mut program = rabtrace();
    program.args(command);
    program.args(["--set", &format!("api.listen={}", agent.api)]);
    for set in sets {
        program.args(["--set", set]);
    }
    let (code, data, errors) = output(&mut program);
    (code, data + &errors)
}

#[tokio::test]
async fn everything_that_listens_speaks_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let keys = tls(&authority.issue("server", "localhost"));
    let agent = Agent::start(folder.path(), "", &keys).await;
    let trusting = client(Some(&authority.file));
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    let http = format!("https://localhost:{}/v1/traces", port(&agent.http));
    let answer = trusting.post(&http).json(&span(1)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // Plain text is not answered, nor is a client that does not know the authority.
    let plain = client(None)
        .post(http.replace("https", "http"))
        .json(&span(2))
        .send()
        .await;
    assert!(plain.is_err(), "{plain:?}");
    assert!(
        client(None)
            .post(&http)
            .json(&span(3))
            .send()
            .await
            .is_err()
    );
    let api = format!("https://localhost:{}/metrics", port(&agent.api));
    let counted = eventually("handshakes that failed are counted", WITHIN, async || {
        let text = trusting
            .get(&api)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let has = |line: &str| text.contains(line);
        (has("handshake_failed\"} 2") && has("expiry_timestamp_seconds 64060588800")).then_some(())
    });
    counted.await;
    // The commands have the agent's configuration, and need nothing else.
    let (code, told) = ask(&agent, &["health", "--live"], &keys);
    assert_eq!(code, 0, "{told}");
    let (code, told) = ask(&agent, &["sql", "SELECT 1 AS one"], &keys);
    assert_eq!(code, 0, "{told}");
    // Another certificate, or none, is told as such.
    let other = tls(&authority.issue("other", "localhost"));
    for sets in [&other[..], &[]] {
        let (code, told) = ask(&agent, &["health", "--live"], sets);
        assert_eq!(code, 4, "{told}");
        assert!(told.contains("tls.certificate_file"), "{told}");
    }
}

/// An agent that sends on to another one: TLS from both sides.
async fn forwards(
    folder: &Path,
    protocol: &str,
    keys: &[String],
    (host, agent): (&str, &Agent),
) -> bool {
    let address = if protocol == "grpc" {
        &agent.grpc
    } else {
        &agent.http
    };
    let port = address.rsplit_once(':').unwrap().1;
    let mut sets = vec![
        format!("forward.endpoint=https://{host}:{port}"),
        format!("forward.protocol={protocol}"),
        "forward.headers=authorization=Bearer%20token".to_owned(),
    ];
    sets.extend_from_slice(keys);
    std::fs::create_dir_all(folder).unwrap();
    let sender = Agent::start(folder, "", &sets).await;
    let http = format!("http://{}/v1/traces", sender.http);
    let answer = client(None).post(http).json(&span(7)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let url = format!("http://{}/status", sender.api);
    eventually("it is sent or told", WITHIN, async || {
        let status = client(None).get(&url).send().await.unwrap();
        let status: serde_json::Value = status.json().await.unwrap();
        match (
            status["requests_forwarded"].as_u64(),
            status["health"].as_str(),
        ) {
            (Some(1..), _) => Some(true),
            (_, Some("degraded")) if upstream_is_degraded(&sender.api).await => Some(false),
            _ => None,
        }
    })
    .await
}

async fn upstream_is_degraded(api: &str) -> bool {
    let health = client(None)
        .get(format!("http://{api}/health"))
        .send()
        .await
        .unwrap();
    let health: serde_json::Value = health.json().await.unwrap();
    health["components"]["upstream"]["status"] == "degraded"
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let clients = Authority::new(folder.path(), "clients");
    let mut keys = tls(&authority.issue("server", "localhost"));
    keys.push(format!("tls.client_ca_file={}", clients.file));
    keys.push("receiver.token=token".to_owned());
    let agent = Agent::start(folder.path(), "", &keys).await;
    let shown = clients.issue("client", "sender");
    let trusted = format!("forward.ca_file={}", authority.file);
    let with = |pair: &Pair| {
        vec![
            trusted.clone(),
            format!("forward.client_certificate_file={}", pair.certificate),
            format!("forward.client_key_file={}", pair.key),
        ]
    };
    let stranger = authority.issue("stranger", "sender");
    for protocol in ["grpc", "http/protobuf"] {
        let place = |name: &str| folder.path().join(protocol.replace('/', "-")).join(name);
        let to = ("localhost", &agent);
        assert!(
            forwards(&place("shown"), protocol, &with(&shown), to).await,
            "{protocol}"
        );
        assert!(!forwards(&place("none"), protocol, std::slice::from_ref(&trusted), to).await);
        assert!(!forwards(&place("stranger"), protocol, &with(&stranger), to).await);
        assert!(
            !forwards(
                &place("name"),
                protocol,
                &with(&shown),
                ("127.0.0.1", &agent)
            )
            .await
        );
    }
    // The agent's own commands show the agent's own certificate.
    let (code, told) = ask(&agent, &["health", "--live"], &keys);
    assert_eq!(code, 0, "{told}");
    let (code, told) = ask(&agent, &["health", "--live"], &keys[..2]);
    assert_eq!(code, 4, "{told}");
}
