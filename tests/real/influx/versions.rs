//! What each version of InfluxDB is sent, and what `check` says of it.

use rabtrace::config::{Influx, Secret};
use rabtrace::influx::check;

use super::scripted_server::{ScriptedServer, reply};
use super::{Running, client, config, points};
use crate::support::free_port;

const VERSION_2: Option<&str> = Some("v2.7.12");

#[tokio::test]
async fn each_version_gets_its_own_request() {
    let cases = [
        (
            Some("1.8.10"),
            "u:p",
            "/write?db=rabtrace&precision=ns",
            "Basic dTpw",
        ),
        (
            VERSION_2,
            "t",
            "/api/v2/write?org=org&bucket=rabtrace&precision=ns",
            "Token t",
        ),
        (
            Some("3.10.0"),
            "t",
            "/api/v3/write_lp?db=rabtrace&precision=nanosecond",
            "Bearer t",
        ),
    ];
    for (version, token, target, authorization) in cases {
        let server = ScriptedServer::start(version, |_, _| reply(204, "")).await;
        let sink = Running::start(Influx {
            token: Secret::new(token),
            ..config(&server.url)
        });
        sink.send(points(1, 50)).await;
        sink.send(points(51, 1)).await;
        sink.until_settled(51).await;
        for write in server.writes() {
            assert_eq!(write.target, target);
            assert_eq!(write.authorization.as_deref(), Some(authorization));
            assert_eq!(write.gzip, write.lines.len() == 50, "gzip above 1 KiB");
        }
        assert_eq!(sink.stop().await, (51, 0, 0));
    }
}

#[tokio::test]
async fn check_tells_what_is_wrong() {
    let client = client();
    let cases = [
        (Some("1.6.7"), 204, "", Ok("1.6.7")),
        (
            VERSION_2,
            400,
            r#"{"code":"invalid","message":"writing requires points"}"#,
            Ok("v2.7.12"),
        ),
        (VERSION_2, 401, "{}", Err("influx auth create")),
        (
            VERSION_2,
            404,
            r#"{"message":"bucket \"rabtrace\" not found"}"#,
            Err("influx bucket create"),
        ),
        (Some("1.6.7"), 404, "{}", Err("CREATE DATABASE")),
        (
            Some("3.2.0"),
            400,
            r#"{"error":"line protocol parsing error","data":{}}"#,
            Ok("3.2.0"),
        ),
        (
            Some("3.2.0"),
            400,
            r#"{"error":"invalid character in database name"}"#,
            Err("influx.bucket"),
        ),
        (Some("3.2.0"), 403, "{}", Err("influxdb3 create token")),
        (None, 503, "starting", Err("start InfluxDB")),
    ];
    for (version, status, body, expect) in cases {
        let server = ScriptedServer::start(version, move |_, _| reply(status, body)).await;
        let finding = check(&config(&server.url), &client).await.unwrap();
        assert_eq!((finding.name, &finding.url), ("influxdb", &server.url));
        match (finding.outcome, expect) {
            (Ok(text), Ok(part)) => assert!(text.contains(part), "{text}"),
            (Err(failure), Err(part)) => assert!(failure.fix.contains(part), "{failure}"),
            (outcome, expect) => panic!("{outcome:?} where {expect:?} was to be"),
        }
        assert_eq!(server.writes().len(), 1);
    }
    let away = config(&format!("http://127.0.0.1:{}", free_port()));
    let failure = check(&away, &client).await.unwrap().outcome.unwrap_err();
    assert!(failure.why.contains("refused"), "{failure}");
    assert!(
        check(&Influx { url: None, ..away }, &client)
            .await
            .is_none()
    );
}
