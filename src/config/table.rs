//! The table of keys: what each means, its default, its environment variables, where it goes.

mod own;

use self::own::OWN;
use super::Secret;
use super::choices::statistics;
use super::entries::{
    file, hidden, integer, name_list, optional_url, secret_url, set, text, url_list,
};
use super::keys::Key;
use super::values::{address, count, memory_size, positive_duration, url};

const HTTP: &[&str] = &["http", "https"];

/// Every key, in the order of the example file.
pub(super) const KEYS: &[Key] = &joined();

const fn joined() -> [Key; PEERS.len() + OWN.len()] {
    let mut all = [PEERS[0]; PEERS.len() + OWN.len()];
    let mut place = 0;
    while place < all.len() {
        all[place] = if place < PEERS.len() {
            PEERS[place]
        } else {
            OWN[place - PEERS.len()]
        };
        place += 1;
    }
    all
}

/// The agent's name, the broker, the receiver, InfluxDB.
const PEERS: &[Key] = &[
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
        "Virtual hosts whose queues, exchanges and bindings are watched: names with * and ?, with commas between.",
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
        "Queues with a series of their own, the deepest first; the others share the series _other.\nAs many exchanges, those first that most is published to.",
        |config, input| {
            let most = &mut config.broker.selection.max_queues;
            set(most, count(input.integer()))
        },
    ),
    text(
        "broker.ca_file",
        "",
        &["RABTRACE_BROKER_CA_FILE"],
        "PEM file of authorities whose certificates the broker may have, beside the system's. Empty: tls.ca_file.",
        |config, input| set(&mut config.broker.tls.ca_file, file(input.text())),
    ),
    text(
        "broker.client_certificate_file",
        "",
        &["RABTRACE_BROKER_CLIENT_CERTIFICATE_FILE"],
        "PEM file of the agent's certificate and chain, where the broker asks for one.",
        |config, input| set(&mut config.broker.tls.certificate_file, file(input.text())),
    ),
    text(
        "broker.client_key_file",
        "",
        &["RABTRACE_BROKER_CLIENT_KEY_FILE"],
        "PEM file of its key.",
        |config, input| set(&mut config.broker.tls.key_file, file(input.text())),
    ),
    text(
        "receiver.grpc_listen",
        "127.0.0.1:4317",
        &["RABTRACE_OTLP_GRPC_LISTEN"],
        "Address of OTLP over gRPC. Off loopback only with a token and TLS.",
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
    text(
        "receiver.max_in_flight_bytes",
        "64MiB",
        &[],
        "Memory that all OTLP requests together may take, from their first byte until they are stored;\nbeyond it senders are told to come again. At least twice receiver.max_body_bytes.",
        |config, input| {
            set(
                &mut config.receiver.max_in_flight_bytes,
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
    hidden(
        "receiver.token",
        "",
        &["RABTRACE_OTLP_TOKEN"],
        "Bearer token that OTLP is asked for; senders have it in OTEL_EXPORTER_OTLP_HEADERS as\nauthorization=Bearer%20TOKEN. Empty: none.",
        |config, input| {
            set(
                &mut config.receiver.token,
                Ok(Secret::new(input.text().trim())),
            )
        },
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
        "16MiB",
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
    text(
        "influx.ca_file",
        "",
        &["INFLUX_CA_FILE"],
        "PEM file of authorities whose certificates InfluxDB may have, beside the system's. Empty: tls.ca_file.",
        |config, input| set(&mut config.influx.tls.ca_file, file(input.text())),
    ),
    text(
        "influx.client_certificate_file",
        "",
        &["INFLUX_CLIENT_CERTIFICATE_FILE"],
        "PEM file of the agent's certificate and chain, where InfluxDB asks for one.",
        |config, input| set(&mut config.influx.tls.certificate_file, file(input.text())),
    ),
    text(
        "influx.client_key_file",
        "",
        &["INFLUX_CLIENT_KEY_FILE"],
        "PEM file of its key.",
        |config, input| set(&mut config.influx.tls.key_file, file(input.text())),
    ),
];
