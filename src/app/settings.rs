//! What the parts follow: made whole from a configuration and the files that it names, and handed
//! to the parts when it changes.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::config::{self, Config, ConfigErrors, Mistake, Origin, PeerTls};
use crate::forward::{SetupError, usable};
use crate::serve::Token;
use crate::tls::{Material, Peer, Server, TlsError, fingerprint, server};

/// A peer, its files read and its client made.
#[derive(Clone)]
struct Ready<C> {
    material: Material,
    peer: Peer<C>,
}

/// Everything that is made from one configuration: nothing of it takes effect before all of it is
/// made.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) server: Option<Server>,
    /// What the files held just before they were read.
    pub(super) files: Option<[u8; 32]>,
    broker: Ready<config::Broker>,
    influx: Ready<config::Influx>,
    forward: Ready<config::Forward>,
}

impl Prepared {
    /// Reads the files and makes the clients; where a peer is as in `before`, it keeps its client
    /// and the connections of that. Blocks; a runtime must be there.
    ///
    /// # Errors
    /// Every mistake that there is.
    pub(super) fn new(config: &Config, before: Option<&Self>) -> Result<Box<Self>, ConfigErrors> {
        let mut mistakes = Vec::new();
        let files = fingerprint(config);
        let server = server(&config.tls).map_err(|error| mistakes.push(mistake(error)));
        let (broker, influx) = (config.broker.clone(), config.influx.clone());
        let forward = config.forward.clone();
        let broker = ready(
            &config.broker.tls,
            broker,
            before.map(|before| &before.broker),
            Material::broker_client,
        );
        let influx = ready(
            &config.influx.tls,
            influx,
            before.map(|before| &before.influx),
            Material::http_client,
        );
        let forward = ready(
            &config.forward.tls,
            forward,
            before.map(|before| &before.forward),
            Material::http_client,
        );
        let broker = broker.map_err(|wrong| mistakes.push(wrong));
        let influx = influx.map_err(|wrong| mistakes.push(wrong));
        let forward = forward.map_err(|wrong| mistakes.push(wrong));
        if let Ok(ready) = &forward
            && config.forward.endpoint.is_some()
        {
            let peer = &ready.peer;
            let _ = usable(&peer.config, &peer.client).map_err(|error| {
                mistakes.extend(upstream_mistake(&error));
            });
        }
        match (server, broker, influx, forward) {
            (Ok(server), Ok(broker), Ok(influx), Ok(forward)) if mistakes.is_empty() => {
                let config = config.clone();
                Ok(Box::new(Self {
                    config,
                    server,
                    files,
                    broker,
                    influx,
                    forward,
                }))
            }
            _ => Err(ConfigErrors(mistakes)),
        }
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        let server = self.server.as_ref();
        server.map(|server| Arc::clone(&server.config))
    }
}

/// A part with the client of its peer, which `client` makes.
fn ready<C>(
    tls: &PeerTls,
    config: C,
    before: Option<&Ready<C>>,
    client: fn(&Material) -> anyhow::Result<reqwest::Client>,
) -> Result<Ready<C>, Mistake> {
    let material = Material::read(tls).map_err(mistake)?;
    let client = match before.filter(|before| before.material == material) {
        Some(before) => before.peer.client.clone(),
        None => client(&material).map_err(|error| Mistake {
            what: format!("{}.ca_file", tls.section),
            origin: Origin::Default,
            why: format!("no client can be made of it: {error:#}"),
        })?,
    };
    let peer = Peer { config, client };
    Ok(Ready { material, peer })
}

fn mistake(error: TlsError) -> Mistake {
    Mistake {
        what: error.key,
        origin: Origin::File(error.file),
        why: format!("{}; {}", error.why, error.fix),
    }
}

/// What its files are wrong in is told already.
fn upstream_mistake(error: &SetupError) -> Option<Mistake> {
    let what = match error {
        SetupError::Tls(_) => return None,
        SetupError::Header { .. } => "forward.headers",
        SetupError::NoEndpoint | SetupError::Endpoint { .. } => "forward.endpoint",
    };
    Some(Mistake {
        what: what.to_owned(),
        origin: Origin::Default,
        why: error.to_string(),
    })
}

/// What the parts look at, and are told of when it changes.
pub(super) struct Settings {
    prepared: Box<Prepared>,
    broker: watch::Sender<Peer<config::Broker>>,
    influx: watch::Sender<Peer<config::Influx>>,
    forward: watch::Sender<Peer<config::Forward>>,
    store: watch::Sender<config::Store>,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    receiver_token: watch::Sender<Token>,
    api_token: watch::Sender<Token>,
}

impl Settings {
    pub(super) fn new(prepared: Box<Prepared>) -> Self {
        let config = &prepared.config;
        Self {
            broker: watch::Sender::new(prepared.broker.peer.clone()),
            influx: watch::Sender::new(prepared.influx.peer.clone()),
            forward: watch::Sender::new(prepared.forward.peer.clone()),
            store: watch::Sender::new(config.store.clone()),
            tls: watch::Sender::new(prepared.tls()),
            receiver_token: watch::Sender::new(Token::new(&config.receiver.token)),
            api_token: watch::Sender::new(Token::new(&config.api.token)),
            prepared,
        }
    }

    /// What is in force.
    pub(super) const fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    pub(super) fn broker(&self) -> watch::Receiver<Peer<config::Broker>> {
        self.broker.subscribe()
    }

    pub(super) fn influx(&self) -> watch::Receiver<Peer<config::Influx>> {
        self.influx.subscribe()
    }

    pub(super) fn forward(&self) -> watch::Receiver<Peer<config::Forward>> {
        self.forward.subscribe()
    }

    pub(super) fn store(&self) -> watch::Receiver<config::Store> {
        self.store.subscribe()
    }

    pub(super) fn tls(&self) -> watch::Receiver<Option<Arc<ServerConfig>>> {
        self.tls.subscribe()
    }

    pub(super) fn receiver_token(&self) -> watch::Receiver<Token> {
        self.receiver_token.subscribe()
    }

    pub(super) fn api_token(&self) -> watch::Receiver<Token> {
        self.api_token.subscribe()
    }

    /// Puts `next` in force; only those parts are told that it changes something for.
    pub(super) fn apply(&mut self, next: Box<Prepared>) {
        let old = &self.prepared;
        tell(&self.broker, &old.broker, &next.broker);
        tell(&self.influx, &old.influx, &next.influx);
        tell(&self.forward, &old.forward, &next.forward);
        self.store.send_replace(next.config.store.clone());
        if old.server != next.server {
            self.tls.send_replace(next.tls());
        }
        let receiver_token = Token::new(&next.config.receiver.token);
        self.receiver_token.send_replace(receiver_token);
        let api_token = Token::new(&next.config.api.token);
        self.api_token.send_replace(api_token);
        self.prepared = next;
    }
}

fn tell<C: Clone + PartialEq>(to: &watch::Sender<Peer<C>>, old: &Ready<C>, next: &Ready<C>) {
    if old.material != next.material || old.peer.config != next.peer.config {
        to.send_replace(next.peer.clone());
    }
}
