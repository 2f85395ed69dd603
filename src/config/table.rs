//! The table of keys: what each means, its default, its environment variables, where it goes.

use std::path::PathBuf;

use super::Secret;
use super::choices::{log_format, log_level, protocol, statistics};
use super::entries::{
    header_list, hidden, integer, name_list, optional_url, secret_url, set, text, url_list,
};
use super::keys::Key;
use super::values::{address, count, memory_size, positive_duration, size, url};

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
        "15s",
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
        "broker.statistics",
        "auto",
        &["RABTRACE_BROKER_STATISTICS"],
        "Whether the costly listing of the management API is asked for counters where\nrabbitmq_prometheus has none (before 4.0): \"auto\" or \"never\".",
        |config, input| set(&mut config.broker.statistics, statistics(input.text())),
    ),
    text(
        "broker.watch_queues",
        "",
        &["RABTRACE_WATCH_QUEUES"],
        "Queues of the AMQP URL's virtual host that are asked for over AMQP all the time, with commas\nbetween: their depth and consumers are never old.",
        |config, input| set(&mut config.broker.watch_queues, name_list(input.text())),
    ),
    text(
        "broker.watch_interval",
        "1s",
        &[],
        "Time between two looks at the watched queues.",
        |config, input| {
            set(
                &mut config.broker.watch_interval,
                positive_duration(input.text()),
            )
        },
    ),
    text(
        "broker.include_vhosts",
        "*",
        &["RABTRACE_INCLUDE_VHOSTS"],
        "Virtual hosts that are watched: names with * and ?, with commas between.",
        |config, input| {
            let vhosts = &mut config.broker.selection.include_vhosts;
            set(vhosts, name_list(input.text()))
        },
    ),
    text(
        "broker.exclude_vhosts",
        "",
        &["RABTRACE_EXCLUDE_VHOSTS"],
        "Virtual hosts that are left out.",
        |config, input| {
            let vhosts = &mut config.broker.selection.exclude_vhosts;
            set(vhosts, name_list(input.text()))
        },
    ),
    text(
        "broker.include_queues",
        "*",
        &["RABTRACE_INCLUDE_QUEUES"],
        "Queues that are watched: names with * and ?, with commas between.",
        |config, input| {
            let queues = &mut config.broker.selection.include_queues;
            set(queues, name_list(input.text()))
        },
    ),
    text(
        "broker.exclude_queues",
        "",
        &["RABTRACE_EXCLUDE_QUEUES"],
        "Queues that are left out.",
        |config, input| {
            let queues = &mut config.broker.selection.exclude_queues;
            set(queues, name_list(input.text()))
        },
    ),
    text(
        "broker.fold_queues",
        "amq.gen-*, amq.rabbitmq.reply-to*, (exclusive)",
        &[],
        "Queues that share one series: those of each of these names, and of each virtual host.\n(exclusive) are those that belong to one connection. Empty: none.",
        |config, input| {
            let queues = &mut config.broker.selection.fold_queues;
            set(queues, name_list(input.text()))
        },
    ),
    integer(
        "broker.max_queues",
        "20000",
        &["RABTRACE_MAX_QUEUES"],
        "Queues with a series of their own, the deepest first; the others share the series _other.",
        |config, input| {
            let most = &mut config.broker.selection.max_queues;
            set(most, count(input.integer()))
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
