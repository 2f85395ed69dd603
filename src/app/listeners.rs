//! The agent's listeners, bound before anything runs.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::api::Addresses;
use crate::config::Config;

pub(super) struct Listeners {
    pub(super) grpc: TcpListener,
    pub(super) http: TcpListener,
    pub(super) api: TcpListener,
    pub(super) addresses: Addresses,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}\n  key   {key}\n  fix   {}",
    fix(source, key)
)]
struct ListenError {
    key: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

fn fix(error: &std::io::Error, key: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "another process has this port, another agent perhaps: stop it, or set {key} to another address"
            )
        }
        std::io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address: set {key} to one that it has")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need root: set {key} to a higher port")
        }
        _ => format!("set {key} to another address"),
    }
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let (grpc, grpc_address) =
            bind("receiver.grpc_listen", config.receiver.grpc_listen).await?;
        let (http, http_address) =
            bind("receiver.http_listen", config.receiver.http_listen).await?;
        let (api, api_address) = bind("api.listen", config.api.listen).await?;
        let addresses = Addresses {
            grpc: grpc_address,
            http: http_address,
            api: api_address,
        };
        Ok(Self {
            grpc,
            http,
            api,
            addresses,
        })
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ListenError {
            key,
            address,
            source,
        })?;
    let bound = listener.local_addr()?;
    tracing::info!(address = %bound, key, "listening");
    Ok((listener, bound))
}
