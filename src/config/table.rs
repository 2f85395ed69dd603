//! The table of keys: what each means, its default, its environment variables, where it goes.

use std::path::PathBuf;

use super::Secret;
use super::choices::{log_format, log_level, protocol};
use super::keys::{Apply, Key, Kind, Secrecy};
use super::values::{address, count, memory_size, positive_duration, size, url};

const fn text(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Text,
        env,
        secrecy: Secrecy::Open,
        apply,
    }
}

const fn hidden(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Text,
        env,
        secrecy: Secrecy::Hidden,
        apply,
    }
}

const fn secret_url(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Text,
        env,
        secrecy: Secrecy::Url,
        apply,
    }
}

const fn integer(
    path: &'static str,
    default: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    apply: Apply,
) -> Key {
    Key {
        path,
        doc,
        default,
        kind: Kind::Integer,
        env,
        secrecy: Secrecy::Open,
        apply,
    }
}

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn optional_url(text: &str, schemes: &[&str]) -> Result<Option<Secret>, String> {
    if text.is_empty() {
        Ok(None)
    } else {
        url(text, schemes).map(Some)
    }
}

fn url_list(text: &str) -> Result<Vec<Secret>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| url(item, &["http", "https"]))
        .collect()
}

fn header_list(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let pair = |item: &str| {
        let (name, value) = item
            .split_once('=')
            .ok_or("a header is not of the form name=value")?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy();
        Ok((name.trim().to_ascii_lowercase(), Secret::new(value)))
    };
    text.split(',')
        .filter(|item| !item.trim().is_empty())
        .map(pair)
        .collect()
}

const HTTP: &[&str] = &["http", "https"];

/// Every key, in the order of the example file.
pub(super) const KEYS: &[Key] = &[
    text(
        "agent.instance",
        "",
        &["RABTRACE_INSTANCE"],
        "Name of this agent: agents side by side must differ in it. Empty: the host's name.",
        |config, input| {
            set(
                &mut config.agent.instance,
                Ok(input.text().trim().to_owned()),
            )
        },
    ),
    secret_url(
        "broker.amqp_url",
        "amqp://guest:guest@127.0.0.1:5672",
        &["RABTRACE_AMQP_URL", "AMQP_ADDR", "AMQP_URL", "RABBITMQ_URL"],
        "The broker. Its host and login also serve for the management API.",
        |config, input| {
            set(
                &mut config.broker.amqp_url,
                url(input.text(), &["amqp", "amqps"]),
            )
        },
    ),
    secret_url(
        "broker.management_url",
        "",
        &["RABTRACE_MANAGEMENT_URL"],
        "Base URL of the management API. Empty: the broker's host, port 15672.",
        |config, input| {
            set(
                &mut config.broker.management_url,
                optional_url(input.text(), HTTP).map(Option::unwrap_or_default),
            )
        },
    ),
    secret_url(
        "broker.prometheus_urls",
        "",
        &["RABTRACE_PROMETHEUS_URLS"],
        "Base URLs of rabbitmq_prometheus, one for each node, with commas between.\nEmpty: the broker's host, port 15692.",
        |config, input| set(&mut config.broker.prometheus_urls, url_list(input.text())),
    ),
    text(
        "broker.poll_interval",
        "5s",
        &["RABTRACE_POLL_INTERVAL"],
        "Time between two polls of the broker.",
        |config, input| {
            set(
                &mut config.broker.poll_interval,
                positive_duration(input.text()),
            )
        },
    ),
    text(
        "broker.poll_timeout",
        "10s",
        &["RABTRACE_POLL_TIMEOUT"],
        "Longest wait for one answer of the broker.",
        |config, input| {
            set(
                &mut config.broker.poll_timeout,
                positive_duration(input.text()),
            )
        },
    ),
    text(
        "receiver.grpc_listen",
        "127.0.0.1:4317",
        &["RABTRACE_OTLP_GRPC_LISTEN"],
        "Address of OTLP over gRPC. OTLP carries no login: off loopback only behind a proxy.",
        |config, input| set(&mut config.receiver.grpc_listen, address(input.text())),
    ),
    text(
        "receiver.http_listen",
        "127.0.0.1:4318",
        &["RABTRACE_OTLP_HTTP_LISTEN"],
        "Address of OTLP over HTTP: /v1/traces and /v1/metrics, protobuf or JSON.",
        |config, input| set(&mut config.receiver.http_listen, address(input.text())),
    ),
    text(
        "receiver.max_body_bytes",
        "16MiB",
        &[],
        "Largest OTLP request, after decompression.",
        |config, input| {
            set(
                &mut config.receiver.max_body_bytes,
                memory_size(input.text()),
            )
        },
    ),
    integer(
        "receiver.queue_batches",
        "64",
        &[],
        "OTLP requests that may wait inside; beyond it senders are told to come again.",
        |config, input| set(&mut config.receiver.queue_batches, count(input.integer())),
    ),
    secret_url(
        "influx.url",
        "",
        &["INFLUX_HOST", "INFLUX_URL"],
        "InfluxDB 1.x, 2.x or 3.x; the version is found out by asking. Empty: off.",
        |config, input| set(&mut config.influx.url, optional_url(input.text(), HTTP)),
    ),
    text(
        "influx.org",
        "",
        &["INFLUX_ORG"],
        "Organisation (2.x).",
        |config, input| set(&mut config.influx.org, Ok(input.text().to_owned())),
    ),
    text(
        "influx.bucket",
        "rabtrace",
        &["INFLUX_BUCKET_NAME", "INFLUX_BUCKET"],
        "Bucket (2.x) or database (1.x, 3.x).",
        |config, input| set(&mut config.influx.bucket, Ok(input.text().to_owned())),
    ),
    hidden(
        "influx.token",
        "",
        &["INFLUX_TOKEN"],
        "Token; user:password for 1.x with authentication.",
        |config, input| set(&mut config.influx.token, Ok(Secret::new(input.text()))),
    ),
    integer(
        "influx.batch_lines",
        "5000",
        &[],
        "Lines of one request at most.",
        |config, input| set(&mut config.influx.batch_lines, count(input.integer())),
    ),
    text(
        "influx.batch_bytes",
        "1MiB",
        &[],
        "Bytes of one request at most, before compression.",
        |config, input| set(&mut config.influx.batch_bytes, memory_size(input.text())),
    ),
    text(
        "influx.flush_interval",
        "1s",
        &[],
        "Longest time that a point waits for its request to fill.",
        |config, input| {
            set(
                &mut config.influx.flush_interval,
                positive_duration(input.text()),
            )
        },
    ),
    text(
        "influx.buffer_bytes",
        "64MiB",
        &[],
        "Bytes of lines kept in memory for writing; the rest is read from the spool.",
        |config, input| set(&mut config.influx.buffer_bytes, memory_size(input.text())),
    ),
    text(
        "influx.timeout",
        "10s",
        &[],
        "Longest wait for one answer of InfluxDB.",
        |config, input| set(&mut config.influx.timeout, positive_duration(input.text())),
    ),
    secret_url(
        "forward.endpoint",
        "",
        &["OTEL_EXPORTER_OTLP_ENDPOINT"],
        "Upstream that gets all OTLP. Empty: off.",
        |config, input| {
            set(
                &mut config.forward.endpoint,
                optional_url(input.text(), HTTP),
            )
        },
    ),
    text(
        "forward.protocol",
        "grpc",
        &["OTEL_EXPORTER_OTLP_PROTOCOL"],
        "Protocol of the upstream: \"grpc\" or \"http/protobuf\".",
        |config, input| set(&mut config.forward.protocol, protocol(input.text())),
    ),
    hidden(
        "forward.headers",
        "",
        &["OTEL_EXPORTER_OTLP_HEADERS"],
        "Headers for the upstream: name=value, with commas between.",
        |config, input| set(&mut config.forward.headers, header_list(input.text())),
    ),
    text(
        "forward.buffer_bytes",
        "64MiB",
        &[],
        "Bytes of requests kept in memory for sending; the rest is read from the spool.",
        |config, input| set(&mut config.forward.buffer_bytes, memory_size(input.text())),
    ),
    text(
        "forward.timeout",
        "10s",
        &[],
        "Longest wait for one answer of the upstream.",
        |config, input| set(&mut config.forward.timeout, positive_duration(input.text())),
    ),
    text(
        "store.folder",
        "",
        &["RABTRACE_STORE_FOLDER"],
        "Folder of the embedded store. Empty: $XDG_STATE_HOME/rabtrace or ~/.local/state/rabtrace.",
        |config, input| set(&mut config.store.folder, Ok(PathBuf::from(input.text()))),
    ),
    text(
        "store.retention",
        "24h",
        &["RABTRACE_STORE_RETENTION"],
        "Age at which an hour's data is dropped.",
        |config, input| set(&mut config.store.retention, positive_duration(input.text())),
    ),
    text(
        "store.max_bytes",
        "1GiB",
        &["RABTRACE_STORE_MAX_BYTES"],
        "Size at which the oldest hour is dropped.",
        |config, input| set(&mut config.store.max_bytes, size(input.text())),
    ),
    text(
        "spool.folder",
        "",
        &["RABTRACE_SPOOL_FOLDER"],
        "Folder of what waits on disk for the sinks. Empty: spool, in the store's folder.",
        |config, input| set(&mut config.spool.folder, Ok(PathBuf::from(input.text()))),
    ),
    text(
        "spool.max_bytes",
        "4GiB",
        &["RABTRACE_SPOOL_MAX_BYTES"],
        "Size of one sink's spool at which the oldest is dropped and counted.",
        |config, input| set(&mut config.spool.max_bytes, size(input.text())),
    ),
    text(
        "api.listen",
        "127.0.0.1:9469",
        &["RABTRACE_API_LISTEN"],
        "Address of the JSON API, /metrics and /health. Off loopback only with a token.",
        |config, input| set(&mut config.api.listen, address(input.text())),
    ),
    hidden(
        "api.token",
        "",
        &["RABTRACE_API_TOKEN"],
        "Bearer token that the API asks for. Empty: none.",
        |config, input| set(&mut config.api.token, Ok(Secret::new(input.text()))),
    ),
    text(
        "log.level",
        "info",
        &["RUST_LOG"],
        "What is logged: error, warn, info, debug, or a filter by module.",
        |config, input| set(&mut config.log.level, log_level(input.text())),
    ),
    text(
        "log.format",
        "text",
        &["RABTRACE_LOG_FORMAT"],
        "\"text\" or \"json\".",
        |config, input| set(&mut config.log.format, log_format(input.text())),
    ),
    secret_url(
        "grafana.url",
        "",
        &["GRAFANA_URL"],
        "Grafana, for `rabtrace check` alone.",
        |config, input| set(&mut config.grafana_url, optional_url(input.text(), HTTP)),
    ),
];
