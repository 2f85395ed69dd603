//! Every route of every listener, without a token and with a wrong one.

use axum::http::StatusCode;

use crate::agent::{Agent, WITHIN, client, span};
use crate::support::eventually;

/// The routes that the API's source has, with a name where one takes one.
fn routes() -> Vec<String> {
    let source = include_str!("../../src/api/mod.rs");
    let routes: Vec<String> = source
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0.replace("{id}", "abc")))
        .collect();
    assert!(routes.len() > 10, "{routes:?}: is this test still looking?");
    routes
}

async fn status(request: reqwest::RequestBuilder, header: Option<&str>) -> (u16, String) {
    let request = match header {
        Some(header) => request.header("authorization", header),
        None => request,
    };
    let answer = request.send().await.unwrap();
    let grpc = answer.headers().get("grpc-status");
    let grpc = grpc.map(|code| code.to_str().unwrap().to_owned());
    (answer.status().as_u16(), grpc.unwrap_or_default())
}

#[tokio::test]
async fn nobody_comes_in_without_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let sets = ["api.token=right", "receiver.token=correct"].map(str::to_owned);
    let agent = Agent::start(folder.path(), "", &sets).await;
    let client = client(None);
    let wrong = [
        None,
        Some("Bearer wrong"),
        Some("Bearer "),
        Some("right"),
        Some("Basic right"),
    ];
    let strange = [
        "/",
        "/nowhere",
        "/api",
        "/debug/pprof",
        "/health/live/",
        "/metrics/",
    ];
    for route in routes().iter().map(String::as_str).chain(strange) {
        let url = format!("http://{}{route}", agent.api);
        for header in wrong {
            for request in [client.get(&url), client.post(&url).json(&span(0))] {
                let (code, _) = status(request, header).await;
                match route {
                    "/health/live" => assert_ne!(code, 401),
                    _ => assert_eq!(code, 401, "{route} with {header:?}"),
                }
            }
        }
        let (code, _) = status(client.get(&url), Some("Bearer right")).await;
        assert_ne!(code, 401, "{route}");
    }
    for route in ["/v1/traces", "/v1/metrics", "/v1/logs", "/", "/v1/traces/"] {
        let url = format!("http://{}{route}", agent.http);
        for header in wrong.into_iter().chain([Some("Bearer right")]) {
            for request in [client.get(&url), client.post(&url).json(&span(0))] {
                assert_eq!(status(request, header).await.0, 401, "{route} {header:?}");
            }
        }
    }
    let url = format!("http://{}/v1/traces", agent.http);
    let (code, _) = status(client.post(&url).json(&span(0)), Some("Bearer correct")).await;
    assert_eq!(code, StatusCode::OK);
    let services = [
        "trace.v1.TraceService",
        "metrics.v1.MetricsService",
        "logs.v1.LogsService",
    ];
    for service in services {
        let url = format!(
            "http://{}/opentelemetry.proto.collector.{service}/Export",
            agent.grpc
        );
        for header in wrong {
            let request = client.post(&url).header("content-type", "application/grpc");
            let (code, grpc) = status(request.body(vec![0; 5]), header).await;
            assert_eq!((code, grpc.as_str()), (200, "16"), "{service} {header:?}");
        }
        let request = client.post(&url).header("content-type", "application/grpc");
        let (_, grpc) = status(request.body(vec![0; 5]), Some("Bearer correct")).await;
        assert_ne!(grpc, "16", "{service}");
    }
    // It is counted, and the spans that were refused are nowhere.
    let url = format!("http://{}/metrics", agent.api);
    let refused = eventually("the span is stored", WITHIN, async || {
        let text = client.get(&url).bearer_auth("right").send().await.unwrap();
        let text = text.text().await.unwrap();
        let has = |line: &str| text.lines().any(|found| found == line);
        has("rabtrace_spans_received_total 1").then(|| {
            text.lines()
                .find(|line| line.contains("reason=\"unauthorized\""))
                .unwrap()
                .to_owned()
        })
    })
    .await;
    let expected = 5 * 2 * (wrong.len() + 1) + services.len() * wrong.len();
    assert!(refused.ends_with(&format!(" {expected}")), "{refused}");
}
