//! What follows from several keys together: values that one key lends another, and
//! contradictions.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::mistake::Origin;
use super::{Config, PeerTls, Secret};

/// Fills in what follows from other keys: the broker's other ports, the folders of
/// store and spool, the agent's name.
pub(super) fn derive(
    config: &mut Config,
    values: &mut [(&'static str, String, Origin)],
    env: &dyn Fn(&str) -> Option<String>,
) {
    let mut note = |key: &str, shown: String, from: &'static str| {
        if let Some(entry) = values.iter_mut().find(|(path, _, _)| *path == key) {
            entry.1 = shown;
            entry.2 = Origin::Derived(from);
        }
    };
    if config.agent.instance.is_empty() {
        config.agent.instance = host_name();
        note(
            "agent.instance",
            config.agent.instance.clone(),
            "the host's name",
        );
    }
    plugins(config, &mut note);
    authorities(config, &mut note);
    if config.store.folder.as_os_str().is_empty() {
        let state = env("XDG_STATE_HOME")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let home = || env("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        config.store.folder = state
            .or_else(home)
            .unwrap_or_else(|| PathBuf::from("."))
            .join("rabtrace");
        note(
            "store.folder",
            config.store.folder.display().to_string(),
            "XDG_STATE_HOME or HOME",
        );
    }
    if config.spool.folder.as_os_str().is_empty() {
        config.spool.folder = config.spool_folder();
        let shown = config.spool.folder.display().to_string();
        note("spool.folder", shown, "store.folder");
    }
}

type Note<'a> = dyn FnMut(&str, String, &'static str) + 'a;

/// The URLs of the broker's plugins follow from that of AMQP.
fn plugins(config: &mut Config, note: &mut Note<'_>) {
    let url = config.broker.amqp_url.expose();
    let host = amqp_host(url);
    // The login that is encrypted for AMQP is not sent in the clear to the plugins.
    let (management, prometheus) = if url.starts_with("amqps://") {
        (
            format!("https://{host}:15671"),
            format!("https://{host}:15691"),
        )
    } else {
        (
            format!("http://{host}:15672"),
            format!("http://{host}:15692"),
        )
    };
    if config.broker.management_url.is_empty() {
        config.broker.management_url = Secret::new(management.clone());
        note("broker.management_url", management, "broker.amqp_url");
    }
    if config.broker.prometheus_urls.is_empty() {
        config.broker.prometheus_urls = vec![Secret::new(prometheus.clone())];
        note("broker.prometheus_urls", prometheus, "broker.amqp_url");
    }
}

/// What is trusted everywhere is trusted for each peer that has nothing of its own.
fn authorities(config: &mut Config, note: &mut Note<'_>) {
    let Some(ca_file) = &config.tls.ca_file else {
        return;
    };
    let (broker, influx) = (&mut config.broker.tls, &mut config.influx.tls);
    for (key, peer) in [
        ("broker.ca_file", broker),
        ("influx.ca_file", influx),
        ("forward.ca_file", &mut config.forward.tls),
    ] {
        if peer.ca_file.is_none() {
            peer.ca_file = Some(ca_file.clone());
            note(key, ca_file.display().to_string(), "tls.ca_file");
        }
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    match name.as_ref() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Host of an AMQP URL, with brackets if it is an IPv6 address.
fn amqp_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.rfind(':').unwrap_or(host.len()),
    };
    if end == 0 { "127.0.0.1" } else { &host[..end] }
}

/// Values that are well formed each, and cannot stand together: key, and why.
pub(super) fn contradictions(config: &Config) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    off_loopback(config, &mut wrong);
    let tls = &config.tls;
    let pairs = [
        ("tls", "", &tls.certificate_file, &tls.key_file),
        pair(&config.broker.tls),
        pair(&config.influx.tls),
        pair(&config.forward.tls),
    ];
    for (section, client, certificate, key) in pairs {
        if certificate.is_some() != key.is_some() {
            let (there, missing) = match certificate {
                Some(_) => ("certificate", "key"),
                None => ("key", "certificate"),
            };
            let why = format!("a {there} is of no use alone: set {section}.{client}{missing}_file");
            wrong.push((pair_key(section, there), why));
        }
    }
    if tls.client_ca_file.is_some() && tls.certificate_file.is_none() {
        let why = "certificates can be asked for over TLS alone: set tls.certificate_file and tls.key_file";
        wrong.push(("tls.client_ca_file", why.to_owned()));
    }
    let receiver = &config.receiver;
    if receiver.max_in_flight_bytes / 2 < receiver.max_body_bytes {
        let why = format!(
            "{} bytes have no room for a request of receiver.max_body_bytes ({}) and what is decoded \
             from it: set at least twice as many, or take smaller requests",
            receiver.max_in_flight_bytes, receiver.max_body_bytes
        );
        wrong.push(("receiver.max_in_flight_bytes", why));
    }
    if let Some(endpoint) = &config.forward.endpoint {
        let own = [config.receiver.grpc_listen, config.receiver.http_listen];
        if own
            .iter()
            .any(|address| points_at(endpoint.expose(), *address))
        {
            wrong.push((
                "forward.endpoint",
                "it is the agent's own receiver: every request would come back for ever".to_owned(),
            ));
        }
    }
    wrong
}

type Pair<'a> = (
    &'static str,
    &'static str,
    &'a Option<PathBuf>,
    &'a Option<PathBuf>,
);

fn pair(peer: &PeerTls) -> Pair<'_> {
    (
        peer.section,
        "client_",
        &peer.certificate_file,
        &peer.key_file,
    )
}

fn pair_key(section: &str, part: &str) -> &'static str {
    match (section, part) {
        ("tls", "key") => "tls.key_file",
        ("tls", _) => "tls.certificate_file",
        ("broker", "key") => "broker.client_key_file",
        ("broker", _) => "broker.client_certificate_file",
        ("influx", "key") => "influx.client_key_file",
        ("influx", _) => "influx.client_certificate_file",
        (_, "key") => "forward.client_key_file",
        _ => "forward.client_certificate_file",
    }
}

/// Who listens where others can reach asks for a token, and over TLS.
fn off_loopback(config: &Config, wrong: &mut Vec<(&'static str, String)>) {
    let (receiver, api) = (&config.receiver, &config.api);
    let is_open = config.tls.certificate_file.is_none() && !config.tls.allow_plaintext;
    for (key, address, token_key, token) in [
        (
            "receiver.grpc_listen",
            receiver.grpc_listen,
            "receiver.token (RABTRACE_OTLP_TOKEN)",
            &receiver.token,
        ),
        (
            "receiver.http_listen",
            receiver.http_listen,
            "receiver.token (RABTRACE_OTLP_TOKEN)",
            &receiver.token,
        ),
        (
            "api.listen",
            api.listen,
            "api.token (RABTRACE_API_TOKEN)",
            &api.token,
        ),
    ] {
        if address.ip().is_loopback() {
            continue;
        }
        if token.is_empty() {
            wrong.push((
                key,
                format!(
                    "{address} is off loopback, where everybody can come in: set {token_key}, or \
                     listen on 127.0.0.1"
                ),
            ));
        }
        if is_open {
            wrong.push((
                key,
                format!(
                    "{address} is off loopback, where everybody can read along: set \
                     tls.certificate_file and tls.key_file, or listen on 127.0.0.1, or, if something \
                     else protects that network, set tls.allow_plaintext (RABTRACE_ALLOW_PLAINTEXT)"
                ),
            ));
        }
    }
}

fn points_at(url: &str, address: SocketAddr) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let Some((host, port)) = host.rsplit_once(':') else {
        return false;
    };
    let local = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip == address.ip() || address.ip().is_unspecified() && ip.is_loopback(),
        Err(_) => host == "localhost",
    };
    local && port == address.port().to_string() && address.port() != 0
}
