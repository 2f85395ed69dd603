//! The demo and `rabtrace check`, as a newcomer runs them.

use rabtrace::demo::broker::Broker;
use serde_json::Value;

use crate::support::{output, rabtrace};

#[test]
fn the_demo_accounts_for_every_message_and_leaves_nothing_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().to_str().unwrap();
    let (code, printed, remarks) =
        output(rabtrace().args(["demo", "--for", "8s", "--output", "json", "--store", store]));
    assert_eq!(code, 0, "{remarks}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    let number = |name: &str| {
        report[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {printed}"))
    };
    assert!(number("messages_published") > 300, "{printed}");
    let found =
        number("messages_consumed") + number("messages_queued") + number("messages_dead_lettered");
    assert_eq!(number("messages_published"), found, "{printed}");
    assert!(
        number("messages_dead_lettered") > 0,
        "a failing search must end there"
    );
    assert_eq!(
        (number("spans_received"), number("dropped")),
        (number("spans_stored"), 0)
    );
    assert!(number("points_written") > 0);
    let paths: Vec<&str> = report["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path["path"].as_str().unwrap())
        .collect();
    assert!(
        paths.len() >= 6
            && paths
                .iter()
                .all(|path| path.starts_with("gateway > ") && !path.contains('?')),
        "{paths:#?}"
    );
    let sql = |statement: &str| {
        let mut command = rabtrace();
        command
            .env("RABTRACE_STORE_FOLDER", store)
            .env("RABTRACE_API_LISTEN", "127.0.0.1:1");
        let (code, printed, complaint) =
            output(command.args(["sql", statement, "--output", "ndjson"]));
        assert_eq!(code, 0, "{complaint}");
        let row: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
        row["n"].as_u64().unwrap()
    };
    // The exchange `events` copies each message to two queues.
    let copies = sql(
        "SELECT sum(CASE WHEN destination = 'events' THEN 2 ELSE 1 END) AS n FROM spans WHERE kind = 'producer'",
    );
    assert_eq!(
        copies,
        number("messages_published"),
        "every message has its publish span"
    );
    let consumed = sql(
        "SELECT count(*) AS n FROM spans WHERE kind = 'consumer' AND json_extract(attributes, '$.\"rabtrace.settlement\"') = 'ack'",
    );
    assert_eq!(
        consumed,
        number("messages_consumed"),
        "every message has its process span"
    );
    let orphans = sql(
        "SELECT count(*) AS n FROM spans c LEFT JOIN spans p ON p.span_id = c.parent_span_id AND p.trace_id = c.trace_id \
         WHERE c.parent_span_id IS NOT NULL AND p.span_id IS NULL",
    );
    assert_eq!(orphans, 0, "every trace is whole");
    let roots =
        sql("SELECT count(DISTINCT span_name) AS n FROM spans WHERE parent_span_id IS NULL");
    assert_eq!(roots, 1, "every trace begins at the gateway");
    for measurement in [
        "rabbitmq_queue",
        "service_metrics",
        "request_metrics",
        "queue_metrics",
        "agent_metrics",
        "task_metrics",
        "message_flow",
    ] {
        assert!(
            sql(&format!("SELECT count(*) AS n FROM {measurement}")) > 0,
            "{measurement} is empty"
        );
    }
}

#[tokio::test]
async fn check_names_each_connection_and_how_to_mend_it() {
    let broker = Broker::start().await.unwrap();
    let check = |amqp: String| {
        let mut command = rabtrace();
        command
            .env("AMQP_URL", amqp)
            .env("RABTRACE_MANAGEMENT_URL", broker.management_url());
        command.env("RABTRACE_PROMETHEUS_URLS", broker.prometheus_url());
        output(command.arg("check"))
    };
    let (code, printed, complaint) = check(broker.amqp_url());
    assert_eq!(code, 0, "{printed}{complaint}");
    assert!(
        printed.contains("from AMQP_URL") && !printed.contains("guest:guest"),
        "{printed}"
    );
    let (code, printed, _) = check(broker.amqp_url().replace("guest:guest", "guest:canary"));
    assert_eq!(code, 10, "{printed}");
    assert!(
        printed.contains("FAILED broker (AMQP)")
            && printed.contains("401")
            && printed.contains("fix"),
        "{printed}"
    );
    assert!(!printed.contains("canary"), "{printed}");
    broker.stop().await.unwrap();
}
