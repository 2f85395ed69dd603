//! What follows from several keys together: values that one key lends another, and
//! contradictions.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::mistake::{Mistake, Origin};
use super::{Config, Secret};

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
    let host = amqp_host(config.broker.amqp_url.expose());
    if config.broker.management_url.is_empty() {
        config.broker.management_url = Secret::new(format!("http://{host}:15672"));
        note(
            "broker.management_url",
            format!("http://{host}:15672"),
            "broker.amqp_url",
        );
    }
    if config.broker.prometheus_urls.is_empty() {
        config.broker.prometheus_urls = vec![Secret::new(format!("http://{host}:15692"))];
        note(
            "broker.prometheus_urls",
            format!("http://{host}:15692"),
            "broker.amqp_url",
        );
    }
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

/// Values that are well formed each, and cannot stand together.
pub(super) fn contradictions(
    config: &Config,
    values: &[(&'static str, String, Origin)],
    mistakes: &mut Vec<Mistake>,
) {
    let mut wrong = |key: &str, why: String| {
        let origin = values
            .iter()
            .find(|(path, _, _)| *path == key)
            .map_or(Origin::Default, |(_, _, origin)| origin.clone());
        mistakes.push(Mistake {
            what: key.to_owned(),
            origin,
            why,
        });
    };
    let api = config.api.listen;
    if !api.ip().is_loopback() && config.api.token.is_empty() {
        wrong(
            "api.listen",
            format!(
                "{api} is off loopback, where everybody can read: set api.token, or listen on 127.0.0.1"
            ),
        );
    }
    if let Some(endpoint) = &config.forward.endpoint {
        let own = [config.receiver.grpc_listen, config.receiver.http_listen];
        if own
            .iter()
            .any(|address| points_at(endpoint.expose(), *address))
        {
            wrong(
                "forward.endpoint",
                "it is the agent's own receiver: every request would come back for ever".to_owned(),
            );
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
