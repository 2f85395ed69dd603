//! Free ports below the range from which the kernel takes ports for outgoing connections.

use std::net::{SocketAddr, TcpListener};

/// The five ports of a node, all on loopback.
#[derive(Clone, Debug)]
pub(super) struct Ports([u16; 5]);

impl Ports {
    /// Five ports that nobody listens on now.
    pub(super) fn free() -> std::io::Result<Self> {
        let mut found = [0; 5];
        let mut held = Vec::new();
        for port in &mut found {
            let (number, listener) = free_port()?;
            *port = number;
            held.push(listener);
        }
        Ok(Self(found))
    }

    /// The same, with the list of nodes of another node's cluster.
    pub(super) const fn beside(mut self, other: &Self) -> Self {
        self.0[4] = other.epmd();
        self
    }

    pub(super) fn amqp(&self) -> SocketAddr {
        loopback(self.0[0])
    }

    pub(super) const fn distribution(&self) -> u16 {
        self.0[1]
    }

    pub(super) fn management(&self) -> SocketAddr {
        loopback(self.0[2])
    }

    pub(super) fn prometheus(&self) -> SocketAddr {
        loopback(self.0[3])
    }

    pub(super) const fn epmd(&self) -> u16 {
        self.0[4]
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn free_port() -> std::io::Result<(u16, TcpListener)> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..200 {
        let port = fastrand::u16(20_000..32_000);
        match TcpListener::bind(loopback(port)) {
            Ok(listener) => return Ok((port, listener)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
