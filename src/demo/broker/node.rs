//! The files and the environment of one node.

use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Options;
use super::ports::Ports;

/// A node that can be started: its folder is laid out, its ports are chosen.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) folder: tempfile::TempDir,
    pub(super) ports: Ports,
    pub(super) name: String,
    management: bool,
}

impl Node {
    /// Lays a node out: one of its own, or one that goes to the cluster of `peer`.
    pub(super) fn create(options: &Options, peer: Option<&Self>) -> std::io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("rabtrace-broker-")
            .tempdir()?;
        let mut ports = Ports::free()?;
        if let Some(peer) = peer {
            ports = ports.beside(&peer.ports);
        }
        let name = format!(
            "rabtrace-{}-{}@localhost",
            std::process::id(),
            ports.amqp().port()
        );
        let path = folder.path();
        for part in ["home", "mnesia", "log"] {
            std::fs::create_dir(path.join(part))?;
        }
        let mut lines = config(&ports, options);
        if let Some(peer) = peer {
            let cookie = "home/.erlang.cookie";
            std::fs::copy(peer.folder.path().join(cookie), path.join(cookie))?;
            lines += &cluster(&[&peer.name, &name]);
        }
        std::fs::write(path.join("rabbitmq.conf"), lines)?;
        std::fs::write(path.join("enabled_plugins"), plugins(options))?;
        Ok(Self {
            folder,
            ports,
            name,
            management: options.management,
        })
    }

    /// `command` with the environment that keeps the node apart from every other.
    pub(super) fn at_home(&self, mut command: Command) -> Command {
        let path = self.folder.path();
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RABBITMQ_"))
        {
            command.env_remove(name);
        }
        command
            .current_dir(path)
            .env("HOME", path.join("home"))
            .env("LANG", "C.UTF-8")
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.ports.amqp().port().to_string())
            .env("RABBITMQ_DIST_PORT", self.ports.distribution().to_string())
            .env("RABBITMQ_MNESIA_BASE", path.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", path.join("log"))
            .env("RABBITMQ_CONFIG_FILE", path.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path.join("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", path.join("pid"))
            .env("ERL_EPMD_PORT", self.ports.epmd().to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
            );
        command
    }

    /// Whether AMQP and, where it runs, the management API answer.
    pub(super) async fn answers(&self) -> bool {
        let each = Duration::from_secs(2);
        if !tokio::time::timeout(each, self.amqp_answers())
            .await
            .unwrap_or(false)
        {
            return false;
        }
        !self.management
            || tokio::time::timeout(each, self.management_answers())
                .await
                .unwrap_or(false)
    }

    /// Sends the protocol header; a broker that is up answers with `connection.start`.
    async fn amqp_answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.ports.amqp()).await else {
            return false;
        };
        let mut first = [0];
        stream.write_all(b"AMQP\x00\x00\x09\x01").await.is_ok()
            && stream.read_exact(&mut first).await.is_ok()
            && first == [1]
    }

    async fn management_answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.ports.management()).await else {
            return false;
        };
        // "Z3Vlc3Q6Z3Vlc3Q=" is guest:guest, whom a fresh node lets in from loopback.
        let request =
            b"GET /api/overview HTTP/1.0\r\nauthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n";
        let mut status = [0; 12];
        stream.write_all(request).await.is_ok()
            && stream.read_exact(&mut status).await.is_ok()
            && status.ends_with(b"200")
    }

    /// The last lines of what the node said.
    pub(super) fn log(&self) -> String {
        let text = self.whole_log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Whether somebody else had taken one of its ports when it started. It may have said so long
    /// before it ended.
    pub(super) fn met_a_taken_port(&self) -> bool {
        self.whole_log().contains("eaddrinuse")
    }

    fn whole_log(&self) -> String {
        let mut text =
            std::fs::read_to_string(self.folder.path().join("console.log")).unwrap_or_default();
        for entry in std::fs::read_dir(self.folder.path().join("log"))
            .into_iter()
            .flatten()
            .flatten()
        {
            text.push_str(&std::fs::read_to_string(entry.path()).unwrap_or_default());
        }
        text
    }
}

fn config(ports: &Ports, options: &Options) -> String {
    let mut lines = vec![
        format!("listeners.tcp.1 = {}", ports.amqp()),
        "log.console = false".to_owned(),
        "vm_memory_high_watermark.absolute = 2GB".to_owned(),
        "disk_free_limit.absolute = 50MB".to_owned(),
    ];
    for (wanted, plugin, address) in [
        (options.management, "management", ports.management()),
        (options.prometheus, "prometheus", ports.prometheus()),
    ] {
        if wanted {
            lines.push(format!("{plugin}.tcp.ip = {}", address.ip()));
            lines.push(format!("{plugin}.tcp.port = {}", address.port()));
        }
    }
    lines.extend(options.config.iter().cloned());
    lines.join("\n") + "\n"
}

/// A new node finds the others by this list, and joins those that are there.
fn cluster(names: &[&String]) -> String {
    let backend = "cluster_formation.peer_discovery_backend = classic_config\n".to_owned();
    let entry =
        |(number, name)| format!("cluster_formation.classic_config.nodes.{number} = {name}\n");
    (1..)
        .zip(names)
        .map(entry)
        .fold(backend, |lines, line| lines + &line)
}

fn plugins(options: &Options) -> String {
    let wanted = [
        (options.management, "rabbitmq_management"),
        (options.prometheus, "rabbitmq_prometheus"),
    ];
    let names: Vec<&str> = wanted
        .iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, name)| *name)
        .collect();
    format!("[{}].\n", names.join(","))
}
