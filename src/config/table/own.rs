//! The rest of the table: where OTLP goes on to, what the agent keeps, how it is reached itself.

use std::path::PathBuf;

use super::HTTP;
use crate::config::Secret;
use crate::config::choices::{log_format, log_level, protocol};
use crate::config::entries::{
    boolean, file, header_list, hidden, integer, optional_url, secret_url, set, text,
};
use crate::config::keys::Key;
use crate::config::values::{address, count, memory_size, positive_duration, size, size_or_zero};

/// Upstream, store, spool, API, TLS, limits, log.
pub(super) const OWN: &[Key] = &[
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
        "16MiB",
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
        "forward.ca_file",
        "",
        &["OTEL_EXPORTER_OTLP_CERTIFICATE"],
        "PEM file of authorities whose certificates the upstream may have, beside the system's. Empty: tls.ca_file.",
        |config, input| set(&mut config.forward.tls.ca_file, file(input.text())),
    ),
    text(
        "forward.client_certificate_file",
        "",
        &["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
        "PEM file of the agent's certificate and chain, where the upstream asks for one.",
        |config, input| set(&mut config.forward.tls.certificate_file, file(input.text())),
    ),
    text(
        "forward.client_key_file",
        "",
        &["OTEL_EXPORTER_OTLP_CLIENT_KEY"],
        "PEM file of its key.",
        |config, input| set(&mut config.forward.tls.key_file, file(input.text())),
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
        "Age at which an hour's data is dropped; `480h` at most.",
        |config, input| set(&mut config.store.retention, positive_duration(input.text())),
    ),
    text(
        "store.max_bytes",
        "1GiB",
        &["RABTRACE_STORE_MAX_BYTES"],
        "Size at which the oldest hour is dropped; half of its disk if that is less.",
        |config, input| set(&mut config.store.max_bytes, size(input.text())),
    ),
    boolean(
        "store.spans",
        "true",
        &["RABTRACE_STORE_SPANS"],
        "Whether spans are kept in the store. With false they only go on to forward.endpoint and InfluxDB:\nstatistics of paths, services and queues are kept all the same, single traces are not.",
        |config, input| set(&mut config.store.spans, Ok(input.boolean())),
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
        "spool.dead_letter_bytes",
        "64MiB",
        &[],
        "Size of what one sink's server refused for good, kept in dead_letter.ndjson in its folder.\n0 keeps nothing.",
        |config, input| {
            let bytes = &mut config.spool.dead_letter_bytes;
            set(bytes, size_or_zero(input.text()))
        },
    ),
    text(
        "api.listen",
        "127.0.0.1:9469",
        &["RABTRACE_API_LISTEN"],
        "Address of the JSON API, /metrics and /health. Off loopback only with a token and TLS.",
        |config, input| set(&mut config.api.listen, address(input.text())),
    ),
    hidden(
        "api.token",
        "",
        &["RABTRACE_API_TOKEN"],
        "Bearer token that the API asks for. Empty: none.",
        |config, input| set(&mut config.api.token, Ok(Secret::new(input.text().trim()))),
    ),
    text(
        "tls.certificate_file",
        "",
        &["RABTRACE_TLS_CERTIFICATE_FILE"],
        "PEM file of the certificate of all three listeners, and its chain. Empty: no TLS.",
        |config, input| set(&mut config.tls.certificate_file, file(input.text())),
    ),
    text(
        "tls.key_file",
        "",
        &["RABTRACE_TLS_KEY_FILE"],
        "PEM file of its key.",
        |config, input| set(&mut config.tls.key_file, file(input.text())),
    ),
    text(
        "tls.client_ca_file",
        "",
        &["RABTRACE_TLS_CLIENT_CA_FILE"],
        "PEM file of authorities: who connects must have a certificate of one. Empty: nobody must.",
        |config, input| set(&mut config.tls.client_ca_file, file(input.text())),
    ),
    text(
        "tls.ca_file",
        "",
        &["RABTRACE_TLS_CA_FILE"],
        "PEM file of authorities that are trusted beside the system's when the agent connects to\nbroker, InfluxDB, upstream or Grafana.",
        |config, input| set(&mut config.tls.ca_file, file(input.text())),
    ),
    boolean(
        "tls.allow_plaintext",
        "false",
        &["RABTRACE_ALLOW_PLAINTEXT"],
        "Whether listeners may be off loopback without TLS, in a network that something else\nprotects. The tokens are asked for all the same.",
        |config, input| set(&mut config.tls.allow_plaintext, Ok(input.boolean())),
    ),
    integer(
        "limits.connections",
        "10000",
        &["RABTRACE_MAX_CONNECTIONS"],
        "Connections to all three listeners together; beyond it new ones are closed.",
        |config, input| set(&mut config.limits.connections, count(input.integer())),
    ),
    integer(
        "limits.series",
        "20000",
        &["RABTRACE_MAX_SERIES"],
        "Series (sets of tags) of each measurement that is made of OTLP; a tag has half as many values.\nWhat is beyond shares series with the tag _other. One that is silent for an hour makes room.",
        |config, input| set(&mut config.limits.series, count(input.integer())),
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
