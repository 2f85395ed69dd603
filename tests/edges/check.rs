//! What `rabtrace check` says about each failure of TLS.

use std::path::Path;

use serde_json::Value;

use crate::agent::Agent;
use crate::authority::{Authority, Pair};
use crate::support::{output, rabtrace};

/// Why the upstream cannot be talked to, and the fix; none if it can.
fn check(url: &str, protocol: &str, sets: &[String]) -> Option<(String, String)> {
    let mut program = rabtrace();
    program.args(["check", "--output", "json"]);
    program.args(["--set", &format!("forward.endpoint={url}")]);
    program.args(["--set", &format!("forward.protocol={protocol}")]);
    // Nothing else is there.
    for key in [
        "amqp_url=amqp",
        "management_url=http",
        "prometheus_urls=http",
    ] {
        program.args(["--set", &format!("broker.{key}://127.0.0.1:1")]);
    }
    for set in sets {
        program.args(["--set", set]);
    }
    let (_, data, errors) = output(&mut program);
    let found: Value = serde_json::from_str(&data).unwrap_or_else(|_| panic!("{data}{errors}"));
    let rows = found["rows"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["name"] == "upstream OTLP")
        .unwrap();
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    (row["ok"] == false).then(|| (text("message"), text("fix")))
}

async fn agent(folder: &Path, name: &str, pair: &Pair, more: &[String]) -> Agent {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut sets = vec![
        format!("tls.certificate_file={}", pair.certificate),
        format!("tls.key_file={}", pair.key),
    ];
    sets.extend_from_slice(more);
    Agent::start(&folder, "", &sets).await
}

#[tokio::test]
async fn each_failure_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let authority = Authority::new(root, "authority");
    let good = agent(root, "good", &authority.issue("good", "localhost"), &[]).await;
    let old = authority.issue_until("old", "localhost", 2001);
    let old = agent(root, "old", &old, &[]).await;
    let asks = vec![format!("tls.client_ca_file={}", authority.file)];
    let asks = agent(root, "asks", &authority.issue("asks", "localhost"), &asks).await;
    std::fs::create_dir_all(root.join("plain")).unwrap();
    let plain = Agent::start(&root.join("plain"), "", &[]).await;
    let trusted = vec![format!("forward.ca_file={}", authority.file)];
    let everywhere = vec![format!("tls.ca_file={}", authority.file)];
    let stranger = Authority::new(root, "stranger").issue("stranger", "x");
    let mut strange = trusted.clone();
    strange.push(format!(
        "forward.client_certificate_file={}",
        stranger.certificate
    ));
    strange.push(format!("forward.client_key_file={}", stranger.key));
    for protocol in ["grpc", "http/protobuf"] {
        let url = |host: &str, agent: &Agent| {
            let address = if protocol == "grpc" {
                &agent.grpc
            } else {
                &agent.http
            };
            format!("https://{host}:{}", address.rsplit_once(':').unwrap().1)
        };
        let localhost = |agent| url("localhost", agent);
        assert_eq!(check(&localhost(&good), protocol, &trusted), None);
        assert_eq!(check(&localhost(&good), protocol, &everywhere), None);
        let expect = |url: &str, sets: &[String], why: &str, fix: &str| {
            let found = check(url, protocol, sets).unwrap_or_else(|| panic!("{why}: it works"));
            assert!(found.0.contains(why), "{why}: {found:?}");
            assert!(found.1.contains(fix), "{fix}: {found:?}");
        };
        expect(
            &localhost(&good),
            &[],
            "authority that is not known",
            "forward.ca_file",
        );
        expect(
            &url("127.0.0.1", &good),
            &trusted,
            "for another name",
            "forward.endpoint",
        );
        expect(&localhost(&old), &trusted, "has expired", "renew it");
        expect(
            &localhost(&asks),
            &trusted,
            "client certificate",
            "client_key_file",
        );
        expect(
            &localhost(&asks),
            &strange,
            "client certificate",
            "client_key_file",
        );
        expect(
            &localhost(&plain),
            &trusted,
            "does not speak TLS",
            "without the s",
        );
    }
}
