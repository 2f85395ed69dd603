//! The demo and `rabtrace check`, as a newcomer runs them.

use std::time::Duration;

use rabtrace::demo::broker::Broker;
use serde_json::Value;

use crate::agent::{Agent, borrowed, broker_keys};
use crate::support::{Process, eventually, output, rabtrace};

const WITHIN: Duration = Duration::from_secs(120);

/// What the demo reported, and what it stored.
struct Run {
    report: Value,
    folder: tempfile::TempDir,
}

impl Run {
    fn of(lasting: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = rabtrace();
        command
            .args(["demo", "--for", lasting, "--output", "json", "--store"])
            .arg(folder.path());
        let (code, printed, remarks) = output(&mut command);
        assert_eq!(code, 0, "{remarks}");
        Self {
            report: serde_json::from_str(&printed).unwrap(),
            folder,
        }
    }

    fn number(&self, name: &str) -> u64 {
        self.report[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {}", self.report))
    }

    /// The column `n` of the first row, from the file that the demo left.
    fn sql(&self, statement: &str) -> u64 {
        self.number_by(statement, Value::as_u64)
    }

    fn number_by<T>(&self, statement: &str, read: fn(&Value) -> Option<T>) -> T {
        let mut command = rabtrace();
        command
            .env("RABTRACE_STORE_FOLDER", self.folder.path())
            .env("RABTRACE_API_LISTEN", "127.0.0.1:1");
        let (code, printed, complaint) =
            output(command.args(["sql", statement, "--output", "ndjson"]));
        assert_eq!(code, 0, "{complaint}");
        let row: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
        read(&row["n"]).unwrap_or_else(|| panic!("{statement}: {printed}"))
    }

    fn check_sums(&self) {
        let published = self.number("messages_published");
        let found = self.number("messages_consumed")
            + self.number("messages_queued")
            + self.number("messages_dead_lettered");
        assert!(published > 300, "{}", self.report);
        assert_eq!(published, found, "{}", self.report);
        assert!(
            self.number("messages_dead_lettered") > 0,
            "a failing search must end there"
        );
        assert_eq!(self.number("spans_received"), self.number("spans_stored"));
        // A poll that a busy machine leaves out is none of the messages.
        assert_eq!(self.number("dropped"), self.number("polls_late"));
        assert!(self.number("points_written") > 0);
    }

    fn check_paths(&self) {
        let rows = self.report["paths"].as_array().unwrap();
        let paths: Vec<&str> = rows
            .iter()
            .map(|path| path["path"].as_str().unwrap())
            .collect();
        let whole = |path: &&str| path.starts_with("gateway > ") && !path.contains('?');
        assert!(paths.len() >= 6 && paths.iter().all(whole), "{paths:#?}");
        let deliveries: u64 = rows
            .iter()
            .map(|path| path["count"].as_u64().unwrap())
            .sum();
        assert_eq!(
            deliveries,
            self.sql("SELECT count(*) AS n FROM spans WHERE kind = 'consumer'"),
            "each delivery counts once"
        );
    }

    /// Waits and work are found again as the pipeline stamped them, to 2 % or a millisecond.
    fn check_stamps(&self) {
        let stamped = self.report["stamped"].as_array().unwrap();
        assert!(stamped.len() >= 6, "{stamped:#?}");
        for queue in stamped {
            let name = queue["queue"].as_str().unwrap();
            let of = |what: &str| {
                format!(
                    "SELECT {what} AS n FROM message_flow \
                     WHERE destination = '{name}' AND direction = 'in' AND kind = 'forward'"
                )
            };
            let found = self.sql(&of("sum(count)"));
            assert_eq!(Some(found), queue["messages"].as_u64(), "{name}");
            for (sum, mean) in [
                ("edge_sum", "wait_mean_ms"),
                ("process_sum", "work_mean_ms"),
            ] {
                let found = self.number_by(&of(&format!("sum({sum}) / sum(count)")), Value::as_f64);
                let truth = queue[mean].as_f64().unwrap();
                let close = (found - truth).abs() <= (truth * 0.02).max(1.0);
                assert!(close, "{name}: {mean} is {truth}, rabtrace says {found}");
            }
        }
    }

    fn check_traces(&self) {
        // The exchange `events` copies each message to two queues.
        let copies = "SELECT sum(CASE WHEN destination = 'events' THEN 2 ELSE 1 END) AS n FROM spans WHERE kind = 'producer'";
        assert_eq!(
            self.sql(copies),
            self.number("messages_published"),
            "every message has its publish span"
        );
        let acked = "SELECT count(*) AS n FROM spans WHERE kind = 'consumer' \
                     AND json_extract(attributes, '$.\"rabtrace.settlement\"') = 'ack'";
        assert_eq!(
            self.sql(acked),
            self.number("messages_consumed"),
            "every message has its process span"
        );
        let orphans = "SELECT count(*) AS n FROM spans c LEFT JOIN spans p \
                       ON p.span_id = c.parent_span_id AND p.trace_id = c.trace_id \
                       WHERE c.parent_span_id IS NOT NULL AND p.span_id IS NULL";
        assert_eq!(self.sql(orphans), 0, "every trace is whole");
        let roots = "SELECT count(DISTINCT span_name) AS n FROM spans WHERE parent_span_id IS NULL";
        assert_eq!(self.sql(roots), 1, "every trace begins at the gateway");
    }

    fn check_measurements(&self) {
        let measurements = [
            "rabbitmq_queue",
            "service_metrics",
            "request_metrics",
            "queue_metrics",
            "agent_metrics",
            "task_metrics",
            "message_flow",
        ];
        for measurement in measurements {
            let rows = self.sql(&format!("SELECT count(*) AS n FROM {measurement}"));
            assert!(rows > 0, "{measurement} is empty");
        }
    }
}

#[test]
fn the_demo_accounts_for_every_message_and_leaves_nothing_out() {
    let run = Run::of("8s");
    run.check_sums();
    run.check_paths();
    run.check_stamps();
    run.check_traces();
    run.check_measurements();
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
        // The disk is not what is looked at here.
        output(command.args(["check", "--set", "store.max_bytes=1MiB"]))
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

#[tokio::test]
async fn the_pipeline_alone_fills_an_agent_of_another_process() {
    let broker = Broker::start().await.unwrap();
    let agent = Agent::start(&borrowed(&broker_keys(&broker))).await;
    let grpc = agent.grpc.clone();
    let mut command = rabtrace();
    command.args([
        "demo",
        "--pipeline-only",
        "--for",
        "3s",
        "--amqp",
        &broker.amqp_url(),
    ]);
    command.args(["--otlp", &grpc]);
    let (code, _, remarks) = tokio::task::spawn_blocking(move || output(&mut command))
        .await
        .unwrap();
    assert_eq!(code, 0, "{remarks}");
    agent
        .until("spans of the pipeline", "spans_stored", 500)
        .await;
    let paths = eventually("whole paths", WITHIN, || async {
        let paths = agent.get("/api/v1/paths").await.1["rows"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        (paths.len() >= 6).then_some(paths)
    })
    .await;
    let whole = |row: &Value| {
        row["path"]
            .as_str()
            .unwrap()
            .starts_with("gateway > planner_queue > planner")
    };
    assert!(paths.iter().all(whole), "{paths:#?}");
    broker.stop().await.unwrap();
}

/// As the compose stack runs it: traces go from process to process.
#[tokio::test]
async fn services_of_their_own_processes_make_the_same_paths() {
    let broker = Broker::start().await.unwrap();
    let agent = Agent::start(&borrowed(&broker_keys(&broker))).await;
    let grpc = agent.grpc.clone();
    let log = |name: &str| agent.folder.path().join(name);
    let start = |name: &&str| {
        let mut command = rabtrace();
        command.args(["demo", "--pipeline-only", "--service", *name]);
        command.args(["--amqp", &broker.amqp_url()]);
        command.args(["--otlp", &grpc]);
        Process::start(&mut command, &log(name))
    };
    let mut services: Vec<Process> = rabtrace::demo::SERVICES.iter().map(start).collect();
    let path = "gateway > planner_queue > planner > responder_queue > responder > events > audit_queue > audit";
    eventually("the longest path", WITHIN, || async {
        let rows = agent.get("/api/v1/paths").await.1["rows"].clone();
        let mut rows = rows.as_array().cloned().unwrap_or_default().into_iter();
        rows.find(|row| row["path"] == path)
    })
    .await;

    for service in &mut services {
        assert_eq!(service.stop(), Some(0));
    }
    broker.stop().await.unwrap();
}

#[test]
fn the_demo_may_send_to_the_usual_port_of_a_collector() {
    let mut command = rabtrace();
    command.args(["demo", "--pipeline-only", "--amqp", "amqp://127.0.0.1:1"]);
    let (code, _, complaint) = output(command.args(["--otlp", "http://127.0.0.1:4317"]));
    assert!(
        code == 1 && !complaint.contains("own receiver"),
        "{code} {complaint}"
    );
}
