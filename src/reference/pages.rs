//! The pages as text.

use std::fmt::Write;

use super::MEASUREMENTS;
use crate::config;
use crate::metrics::{Loss, Metrics, Stage};
use crate::monitor::OTLP_METRICS;
use crate::observed;

const MADE: &str = "<!-- Made by `make reference` from the code. -->\n";

/// A cell of a table: the bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Every key of the configuration, by section.
#[must_use]
pub fn configuration() -> String {
    let mut page = format!(
        "{MADE}# Configuration\n\n\
         A flag (`--set KEY=VALUE`) wins over the environment, the environment over the file, the file\n\
         over the default. The file is `--config FILE`, else `rabtrace.toml` in the working folder.\n\
         Unknown keys are refused. A variable NAME of a secret may be given as `NAME_FILE`, the name of a\n\
         file that holds it. `rabtrace config show` says what is in force and where it came from.\n"
    );
    let mut section = "";
    for key in config::reference() {
        let of = key.path.split('.').next().unwrap_or_default();
        if of != section {
            section = of;
            let _ = write!(
                page,
                "\n## {of}\n\n| key | default | environment | |\n|---|---|---|---|\n"
            );
        }
        let default = match key.default {
            "" => String::new(),
            some => format!("`{some}`"),
        };
        let env: Vec<String> = key.env.iter().map(|name| format!("`{name}`")).collect();
        let secret = if key.is_secret { " Secret." } else { "" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {}{secret} |",
            key.path,
            cell(&default),
            env.join(", "),
            cell(key.doc)
        );
    }
    page
}

/// Every measurement of InfluxDB, and every metric of `/metrics`.
///
/// # Errors
/// If the agent's own metrics cannot be encoded.
pub fn measurements() -> Result<String, prometheus::Error> {
    let mut page = format!(
        "{MADE}# Measurements and metrics\n\n\
         What the agent writes to InfluxDB, and what it tells Prometheus. Absent is never zero: a value\n\
         that is not known is left out. High-cardinality values (ids of traces, spans and tasks) are\n\
         fields, never tags.\n\n\
         Tags whose values come from outside are capped: a measurement that is made of OTLP has at most\n\
         `limits.series` series, and each of its tags half as many values (a single tag as many). What is\n\
         beyond has `_other` there, so that sums stay whole and no point is missing; `rabtrace_series_folded_total`\n\
         counts it. A span's own names are then in its attributes, as `rabtrace.folded.service_name`,\n\
         `.span_name` and `.destination`, and its time is moved by at most half a millisecond where another\n\
         one has it. A series to which nothing came for an hour makes room. Of what the monitor tells, queues\n\
         and exchanges are capped by `broker.max_queues`.\n\n## InfluxDB\n"
    );
    for measurement in MEASUREMENTS {
        let _ = write!(
            page,
            "\n### {}\n\n{}\n\nTags: {}\n\n| field | type | |\n|---|---|---|\n",
            measurement.name,
            measurement.about,
            tags(measurement.tags)
        );
        for (name, kind, about) in measurement.fields {
            let _ = writeln!(page, "| `{name}` | {kind} | {} |", cell(about));
        }
    }
    page.push_str(
        "\n## Prometheus\n\n\
         `/metrics` of `api.listen`, with the token of `api.token`. What has names from outside is bounded:\n\
         1,000 queues, the deepest; 1,000 services and agents, 500 paths and what is beyond as `_other`. A\n\
         value that was not told for a while (a minute for queues, 200 s for the rest) no longer shows.\n\n\
         | metric | type | labels | |\n|---|---|---|---|\n",
    );
    for (name, kind, labels, help) in own()? {
        metric(&mut page, &name, &kind, &labels, &help);
    }
    for metric_of in observed::reference() {
        let labels = metric_of.labels.join(", ");
        metric(
            &mut page,
            metric_of.name,
            metric_of.kind,
            &labels,
            metric_of.help,
        );
    }
    otlp(&mut page);
    stages(&mut page);
    losses(&mut page);
    Ok(page)
}

/// What the monitor tells an upstream.
fn otlp(page: &mut String) {
    page.push_str(
        "\n## OTLP\n\n\
         What the monitor tells the upstream of `forward.endpoint`, beside what came in by OTLP. Every queue,\n\
         exchange and node is a resource: `rabbitmq.vhost.name`, `rabbitmq.queue.name`, `rabbitmq.queue.type`;\n\
         `rabbitmq.vhost.name`, `rabbitmq.exchange.name`, `rabbitmq.exchange.type`; `rabbitmq.node.name`; each\n\
         with `rabbitmq.cluster.name` and `messaging.system`. Sums are cumulative; they count since their\n\
         `start_time_unix_nano`, which docs/monitor.md explains.\n\n\
         | of | metric | type | unit | attributes | |\n|---|---|---|---|---|---|\n",
    );
    for metric in OTLP_METRICS {
        let _ = writeln!(
            page,
            "| {} | `{}` | {} | {} | {} | {} |",
            metric.of,
            metric.name,
            metric.kind.as_str(),
            metric.unit,
            metric.attributes,
            cell(metric.about)
        );
    }
}

/// What goes through the agent, by stage.
fn stages(page: &mut String) {
    page.push_str(
        "\n## What comes in goes out\n\n\
         For every stage, whenever nothing moves:\n\
         `rabtrace_items_received_total` = `rabtrace_items_sent_total` + `rabtrace_dropped_total` + \
         `rabtrace_items_waiting`,\n\
         by `sum by (stage)`. While data flows they differ by what is being handed on. \
         They count since the start of\nthe process.\n\n\
         | stage | one is | received | sent | waiting |\n|---|---|---|---|---|\n",
    );
    for stage in Stage::ALL {
        let [unit, received, sent, waiting] = stage.described();
        let _ = writeln!(
            page,
            "| `{}` | {unit} | {received} | {sent} | {waiting} |",
            stage.name()
        );
    }
}

/// Everything that can be dropped.
fn losses(page: &mut String) {
    page.push_str(
        "\n## What is dropped\n\n\
         Every pair of `stage` and `reason` that `rabtrace_dropped_total` has. What is refused so that its \
         sender\ncomes again is not dropped: `rabtrace_refused_total`. An agent that ends logs each pair that \
         is not 0\n(`dropped since the start`): what was dropped on the way out nobody can scrape.\n\n\
         | stage | reason | one is | why | what to do |\n|---|---|---|---|---|\n",
    );
    for loss in Loss::ALL {
        let _ = writeln!(
            page,
            "| `{}` | `{}` | {} | {} | {} |",
            loss.stage().name(),
            loss.reason(),
            loss.unit(),
            cell(loss.about()),
            cell(loss.fix())
        );
    }
}

fn tags(tags: &str) -> String {
    let quoted: Vec<String> = tags.split(", ").map(|tag| format!("`{tag}`")).collect();
    quoted.join(", ")
}

fn metric(page: &mut String, name: &str, kind: &str, labels: &str, help: &str) {
    let labels = if labels.is_empty() {
        String::new()
    } else {
        tags(labels)
    };
    let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {} |", cell(help));
}

/// The agent's own metrics as they are encoded once each has a value: name, type, labels, help.
fn own() -> Result<Vec<(String, String, String, String)>, prometheus::Error> {
    let metrics = Metrics::new()?;
    metrics.buffered("", 0);
    metrics.spooled("", 0, 0);
    metrics.spool_limit("", 0);
    metrics.certificate_expires(Some(0));
    metrics.series("", 0, 0);
    let text = metrics.encode()?;
    let mut found = Vec::new();
    let (mut help, mut kind) = ("", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap_or_default().1;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').unwrap_or_default().1;
        } else {
            let name = line.split([' ', '{']).next().unwrap_or_default();
            let inside = line
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'));
            let labels = inside.map_or("", |(labels, _)| labels).split(',');
            let names: Vec<&str> = labels
                .filter_map(|label| Some(label.split_once('=')?.0))
                .collect();
            found.push((
                name.to_owned(),
                kind.to_owned(),
                names.join(", "),
                help.to_owned(),
            ));
        }
    }
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(found)
}
