//! `rabtrace check`: tries each connection, looks whether the disk has room, and says how to mend what
//! does not work.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use lapin::ConnectionProperties;
use serde::Serialize;

use super::FINDINGS;
use super::output::{self, Format};
use crate::app::room;
use crate::config::{self, Loaded, Origin, PeerTls, Secret, mask_url};
use crate::health::{Failure, Finding};
use crate::tls::{Material, Server, explain, server};
use crate::{forward, influx, monitor};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `rabtrace check`.
#[derive(Args)]
pub(super) struct Check {
    /// How the findings are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    url: String,
    from: String,
    ok: bool,
    message: String,
    fix: Option<String>,
}

impl Check {
    pub(super) async fn run(&self, loaded: &Loaded) -> anyhow::Result<ExitCode> {
        let config = &loaded.config;
        let own = server(&config.tls)?;
        let any = PeerTls {
            ca_file: config.tls.ca_file.clone(),
            ..PeerTls::none("tls")
        };
        let client = |tls: &PeerTls| Material::read(tls)?.http_client();
        let broker_client = Material::read(&config.broker.tls)?.broker_client()?;
        let influx_client = client(&config.influx.tls)?;
        let upstream_client = client(&config.forward.tls)?;
        let other_client = client(&any)?;
        let (amqp, broker, influx, upstream, grafana) = tokio::join!(
            amqp(&config.broker),
            monitor::check(&config.broker, &broker_client),
            influx::check(&config.influx, &influx_client),
            forward::check(&config.forward, &upstream_client),
            grafana(config.grafana_url.as_ref(), &other_client),
        );
        let mut rows = vec![row(amqp, &loaded.origin("broker.amqp_url"))];
        if let Some(own) = own {
            rows.push(row(listeners(&own), &loaded.origin("tls.certificate_file")));
        }
        for finding in broker {
            let key = if finding.name.contains("prometheus") {
                "broker.prometheus_urls"
            } else {
                "broker.management_url"
            };
            rows.push(row(finding, &loaded.origin(key)));
        }
        rows.extend(influx.map(|finding| row(finding, &loaded.origin("influx.url"))));
        rows.extend(upstream.map(|finding| row(finding, &loaded.origin("forward.endpoint"))));
        rows.extend(grafana.map(|finding| row(finding, &loaded.origin("grafana.url"))));
        let disks = room(config).into_iter();
        rows.extend(disks.map(|(key, finding)| row(finding, &loaded.origin(key))));
        let failed = rows.iter().any(|row| !row.ok);
        output::rows(self.output, &rows, text)?;
        Ok(if failed {
            ExitCode::from(FINDINGS)
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn row(finding: Finding, origin: &Origin) -> Row {
    let Finding { name, url, outcome } = finding;
    let from = origin.to_string();
    let keys = match name {
        "influxdb" => ("influx", "influx.url"),
        "upstream OTLP" => ("forward", "forward.endpoint"),
        "grafana" => ("tls", "grafana.url"),
        "management" => ("broker", "broker.management_url"),
        "prometheus" => ("broker", "broker.prometheus_urls"),
        _ => ("broker", "broker.amqp_url"),
    };
    let outcome = outcome.map_err(|failure| explain(&failure.why, &url, keys).unwrap_or(failure));
    match outcome {
        Ok(message) => Row {
            name,
            url,
            from,
            ok: true,
            message,
            fix: None,
        },
        Err(Failure { why, fix }) => Row {
            name,
            url,
            from,
            ok: false,
            message: why,
            fix: Some(fix),
        },
    }
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let mark = if row.ok { "ok    " } else { "FAILED" };
        text.push_str(&format!(
            "{mark} {:<15} {}    from {}\n",
            row.name, row.url, row.from
        ));
        text.push_str(&format!(
            "       {}\n",
            row.message.replace('\n', "\n       ")
        ));
        if let Some(fix) = &row.fix {
            text.push_str(&format!(
                "       fix   {}\n",
                fix.replace('\n', "\n             ")
            ));
        }
    }
    let off = [
        ("influxdb", "influx.url (INFLUX_HOST)"),
        ("upstream", "forward.endpoint (OTEL_EXPORTER_OTLP_ENDPOINT)"),
        ("grafana", "grafana.url (GRAFANA_URL)"),
    ];
    for (name, key) in off {
        if !rows.iter().any(|row| row.name.starts_with(name)) {
            text.push_str(&format!("off    {name:<15} set {key} to use it\n"));
        }
    }
    text
}

/// Opens an AMQP connection and closes it.
async fn amqp(broker: &config::Broker) -> Finding {
    let begun = Instant::now();
    let attempt = async {
        let properties = ConnectionProperties::default();
        let connection = monitor::connect(&broker.amqp_url, &broker.tls, properties).await?;
        connection.close(200, "check".into()).await
    };
    let outcome = match tokio::time::timeout(TIMEOUT, attempt).await {
        Ok(Ok(())) => Ok(format!("AMQP login works, {:.0?}", begun.elapsed())),
        Ok(Err(error)) => Err(Failure {
            fix: amqp_fix(&error.to_string()),
            why: error.to_string(),
        }),
        Err(_) => Err(Failure {
            why: format!("no answer within {} s", TIMEOUT.as_secs()),
            fix: "is a firewall between, or is it another service's port?".to_owned(),
        }),
    };
    Finding {
        name: "broker (AMQP)",
        url: mask_url(broker.amqp_url.expose()),
        outcome,
    }
}

/// The certificate that the agent's listeners have.
fn listeners(own: &Server) -> Finding {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let left = own.expires_unix - i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let days = left / (24 * 60 * 60);
    let outcome = if left > 0 {
        Ok(format!("the certificate is good for another {days} days"))
    } else {
        Err(Failure {
            why: "the certificate has expired".to_owned(),
            fix: "write a new one to tls.certificate_file and tls.key_file".to_owned(),
        })
    };
    Finding {
        name: "listeners (TLS)",
        url: "tls.certificate_file".to_owned(),
        outcome,
    }
}

fn amqp_fix(error: &str) -> String {
    let text = error.to_ascii_lowercase();
    let fix = if text.contains("access_refused") || text.contains("access-refused") {
        "mend user or password in broker.amqp_url; guest may log in only from localhost:\n\
         rabbitmqctl add_user rabtrace PASSWORD && rabbitmqctl set_permissions rabtrace '.*' '.*' '.*'"
    } else if text.contains("not_allowed") || text.contains("vhost") {
        "the user may not use this virtual host: rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"
    } else {
        "is the broker up? set broker.amqp_url (RABTRACE_AMQP_URL, AMQP_URL, RABBITMQ_URL) to where it is"
    };
    fix.to_owned()
}

/// Asks Grafana for its health.
async fn grafana(url: Option<&Secret>, client: &reqwest::Client) -> Option<Finding> {
    let url = url?.expose();
    let begun = Instant::now();
    let response = client
        .get(format!("{url}/api/health"))
        .timeout(TIMEOUT)
        .send()
        .await;
    let outcome = match response {
        Ok(response) if response.status().is_success() => {
            Ok(format!("answers, {:.0?}", begun.elapsed()))
        }
        Ok(response) => Err(Failure {
            why: format!("it answers {} to /api/health", response.status()),
            fix: "is this Grafana's base URL? it may need a path behind a proxy".to_owned(),
        }),
        Err(error) => Err(Failure {
            why: innermost(&error.without_url()),
            fix: "start Grafana, or set grafana.url (GRAFANA_URL) to where it is".to_owned(),
        }),
    };
    Some(Finding {
        name: "grafana",
        url: mask_url(url),
        outcome,
    })
}

/// What is at the root of an error of the client.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
