use std::io::Write;
use std::path::PathBuf;

use super::{Sources, load};
use crate::config::Origin;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn mistakes(text: &str, env: &[(&str, &str)]) -> String {
    let file = file(text);
    let env = |name: &str| {
        env.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let error = load(&Sources {
        file: Some(file.path().to_owned()),
        flags: Vec::new(),
        env: &env,
    });
    error.expect_err("the configuration was taken").to_string()
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let file =
        file("[broker]\npoll_interval = \"3s\"\npoll_timeout = \"3s\"\n[influx]\norg = \"file\"");
    let env = |name: &str| match name {
        "RABTRACE_POLL_INTERVAL" | "RABTRACE_POLL_TIMEOUT" => Some("2s".to_owned()),
        _ => None,
    };
    let flags = vec![(
        "broker.poll_interval".to_owned(),
        "1s".to_owned(),
        "--set".to_owned(),
    )];
    let loaded = load(&Sources {
        file: Some(file.path().to_owned()),
        flags,
        env: &env,
    })
    .unwrap();
    assert_eq!(loaded.config.broker.poll_interval.as_secs(), 1);
    assert_eq!(loaded.config.broker.poll_timeout.as_secs(), 2);
    assert_eq!(loaded.config.influx.org, "file");
    assert_eq!(loaded.config.influx.bucket, "rabtrace");
    assert_eq!(
        loaded.origin("broker.poll_timeout"),
        Origin::Env("RABTRACE_POLL_TIMEOUT".to_owned())
    );
}

#[test]
fn the_first_broker_variable_wins_and_the_other_ports_follow() {
    let env = |name: &str| match name {
        "AMQP_URL" => Some("amqp://u:canary@rabbit.local:5673/v".to_owned()),
        "RABBITMQ_URL" => Some("amqp://other".to_owned()),
        _ => None,
    };
    let loaded = load(&Sources {
        file: None,
        flags: Vec::new(),
        env: &env,
    })
    .unwrap();
    assert_eq!(
        loaded.origin("broker.amqp_url"),
        Origin::Env("AMQP_URL".to_owned())
    );
    assert_eq!(
        loaded.config.broker.management_url.expose(),
        "http://rabbit.local:15672"
    );
    let shown: Vec<_> = loaded
        .values
        .iter()
        .map(|(_, value, _)| value.as_str())
        .collect();
    assert!(!shown.join(" ").contains("canary"), "{shown:?}");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = "[broker]\npoll_intervall = \"5s\"\npoll_timeout = 5\n[influx]\nbatch_lines = 0\n[nowhere]\nx = 1";
    let told = mistakes(
        text,
        &[
            ("RABTRACE_API_LISTEN", "0.0.0.0:9469"),
            ("INFLUX_HOST", "ftp://u:canary@h"),
        ],
    );
    for part in [
        "broker.poll_intervall",
        "did you mean broker.poll_interval?",
        "an integer where a string",
        "influx.batch_lines",
        "nowhere.x",
        "influx.url  from INFLUX_HOST",
    ] {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
    assert!(told.contains("5 mistakes"), "{told}");
    assert!(!told.contains("canary"), "{told}");
}

#[test]
fn malformed_toml_names_the_file_and_the_line() {
    let told = mistakes("[broker\n", &[]);
    assert!(
        told.contains("it is not TOML") && told.contains("line 1"),
        "{told}"
    );
}

#[test]
fn malformed_toml_does_not_print_its_line() {
    let told = mistakes("[broker]\namqp_url = \"amqp://u:canary@h\n", &[]);
    assert!(
        told.contains("line 2") && !told.contains("canary"),
        "{told}"
    );
}

#[test]
fn what_is_shown_holds_no_secret() {
    let env = |name: &str| {
        let value = match name {
            "RABBITMQ_URL" => "amqp://u:canary,canary@h",
            "RABTRACE_PROMETHEUS_URLS" => "http://u:canary@h:1,https://u:canary@h:2",
            "OTEL_EXPORTER_OTLP_HEADERS" => "authorization=canary,referer=http://canary",
            "INFLUX_TOKEN" => "canary://canary",
            "GRAFANA_URL" => "http://admin:canary@h:3000",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let loaded = load(&Sources {
        file: None,
        flags: Vec::new(),
        env: &env,
    })
    .unwrap();
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(
        shown.contains("http://u:***@h:1,https://u:***@h:2"),
        "{shown}"
    );
}

#[test]
fn a_level_that_is_none_is_a_mistake() {
    for bad in ["verbose", "info,lapin=loud"] {
        let told = mistakes("", &[("RUST_LOG", bad)]);
        assert!(told.contains("log.level  from RUST_LOG"), "{told}");
    }
}

#[test]
fn a_loop_is_found_whatever_the_receiver_is_called() {
    for (listen, endpoint) in [
        ("0.0.0.0:4317", "http://127.0.0.1:4317"),
        ("127.0.0.1:4317", "http://u@localhost:4317/"),
        ("[::1]:4317", "http://[::1]:4317"),
    ] {
        let env = [
            ("RABTRACE_OTLP_GRPC_LISTEN", listen),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ];
        let told = mistakes("", &env);
        assert!(told.contains("own receiver"), "{listen} {endpoint}: {told}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let sources = Sources {
        file: Some(PathBuf::from("/nonexistent/rabtrace.toml")),
        flags: Vec::new(),
        env: &|_| None,
    };
    assert!(
        load(&sources)
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn off_loopback_without_a_token_and_a_loop_are_refused() {
    let told = mistakes(
        "",
        &[
            ("RABTRACE_API_LISTEN", "0.0.0.0:9469"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317"),
        ],
    );
    assert!(
        told.contains("api.listen") && told.contains("api.token"),
        "{told}"
    );
    assert!(
        told.contains("forward.endpoint") && told.contains("own receiver"),
        "{told}"
    );
}

#[test]
fn the_memory_of_requests_has_room_for_the_largest() {
    let told = mistakes("[receiver]\nmax_body_bytes = \"33MiB\"", &[]);
    assert!(
        told.contains("receiver.max_in_flight_bytes") && told.contains("receiver.max_body_bytes"),
        "{told}"
    );
}

#[test]
fn a_secret_may_come_from_a_file() {
    let file = file("canary\n");
    let path = file.path().display().to_string();
    let env = move |name: &str| (name == "INFLUX_TOKEN_FILE").then(|| path.clone());
    let loaded = load(&Sources {
        file: None,
        flags: Vec::new(),
        env: &env,
    })
    .unwrap();
    assert_eq!(loaded.config.influx.token.expose(), "canary");
}

#[test]
fn the_example_file_is_the_one_in_the_repository() {
    let committed = include_str!("../../../rabtrace.example.toml");
    assert_eq!(
        committed,
        crate::config::example_toml(),
        "run `rabtrace config example > rabtrace.example.toml`"
    );
}

#[test]
fn the_example_file_with_every_line_taken_in_is_the_default() {
    let text: String = crate::config::example_toml()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split(' ').nth(1) == Some("=") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let file = file(&text);
    let loaded = load(&Sources {
        file: Some(file.path().to_owned()),
        flags: Vec::new(),
        env: &|_| None,
    })
    .unwrap();
    let defaults = load(&Sources {
        file: None,
        flags: Vec::new(),
        env: &|_| None,
    })
    .unwrap();
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", defaults.config)
    );
}
