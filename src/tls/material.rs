//! What a client of one peer is made of: authorities that it trusts, and its own certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{ClientTlsConfig, Identity};

use super::TlsError;
use crate::config::PeerTls;

/// Longest time in which a connection is made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection to RabbitMQ is kept for the next request. It closes one that was idle for 5 s,
/// which is how often it is polled: the request that is under way then would be lost.
const BROKER_IDLE: Duration = Duration::from_secs(4);
/// Largest file that is read.
const LARGEST_FILE: u64 = 4 << 20;

/// The contents of the files of one peer, checked.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Material {
    authorities: Vec<u8>,
    /// Certificate and key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Material {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Material")
    }
}

impl Material {
    /// Reads the files of a peer, and sees that they hold what they should.
    ///
    /// # Errors
    /// If one cannot be read, is not PEM, or key and certificate do not belong together.
    pub fn read(peer: &PeerTls) -> Result<Self, TlsError> {
        let section = peer.section;
        let mut material = Self::default();
        if let Some(file) = &peer.ca_file {
            let key = format!("{section}.ca_file");
            material.authorities = read((&key, file))?;
            certificates((&key, file), &material.authorities)?;
        }
        if let (Some(certificate), Some(key)) = (&peer.certificate_file, &peer.key_file) {
            let names = ["certificate", "key"].map(|part| format!("{section}.client_{part}_file"));
            let pair = Pair::read((&names[0], certificate), (&names[1], key))?;
            let builder = client().with_root_certificates(RootCertStore::empty());
            let checked = builder.with_client_auth_cert(pair.chain()?, pair.private_key()?);
            checked.map_err(|error| pair.mismatch(&error))?;
            material.identity = Some((pair.certificate, pair.key));
        }
        Ok(material)
    }

    /// An HTTP client, by way of `HTTP_PROXY` if it is set.
    ///
    /// # Errors
    /// If rustls does not take the files.
    pub fn http_client(&self) -> anyhow::Result<reqwest::Client> {
        self.client_of(self::builder())
    }

    /// The same for RabbitMQ's plugins.
    ///
    /// # Errors
    /// If rustls does not take the files.
    pub fn broker_client(&self) -> anyhow::Result<reqwest::Client> {
        self.client_of(self::builder().pool_idle_timeout(BROKER_IDLE))
    }

    fn client_of(&self, all: reqwest::ClientBuilder) -> anyhow::Result<reqwest::Client> {
        let builder = client().with_root_certificates(self.roots());
        let config = match &self.identity {
            Some((certificate, key)) => {
                let chain =
                    CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(all.tls_backend_preconfigured(config).build()?)
    }

    /// The settings of tonic.
    #[must_use]
    pub fn grpc(&self) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().trust_anchors(self.roots().roots);
        match &self.identity {
            Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
            None => config,
        }
    }

    /// The settings of lapin, which adds the system's authorities.
    #[must_use]
    pub fn amqp(&self) -> OwnedTLSConfig {
        let authorities = String::from_utf8_lossy(&self.authorities).into_owned();
        let identity = self.identity.clone();
        OwnedTLSConfig {
            cert_chain: (!authorities.is_empty()).then_some(authorities),
            identity: identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
        }
    }

    /// The system's authorities and the peer's.
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        // Where the system has none, only those of the file are trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let own = CertificateDer::pem_slice_iter(&self.authorities).filter_map(Result::ok);
        roots.add_parsable_certificates(own);
        roots
    }
}

/// What every HTTP client of the agent has in common.
pub fn builder() -> reqwest::ClientBuilder {
    // Another part of the process may have chosen a provider before: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let agent = concat!("rabtrace/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder()
        .user_agent(agent)
        .connect_timeout(CONNECT_TIMEOUT)
}

/// A client's configuration without its verifier.
pub(super) fn client() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    ClientConfig::builder()
}

/// A certificate with its chain and its key, as PEM, and which keys name their files.
pub(super) struct Pair<'a> {
    pub(super) names: [(&'a str, &'a Path); 2],
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl<'a> Pair<'a> {
    pub(super) fn read(
        certificate: (&'a str, &'a Path),
        key: (&'a str, &'a Path),
    ) -> Result<Self, TlsError> {
        Ok(Self {
            names: [certificate, key],
            certificate: read(certificate)?,
            key: read(key)?,
        })
    }

    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(self.names[0], &self.certificate)
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            let fix = "name a PEM file with `BEGIN PRIVATE KEY`, which is not encrypted";
            TlsError::new(self.names[1], "it holds no private key", fix)
        })
    }

    /// The error of a key that rustls does not take with its certificate.
    pub(super) fn mismatch(&self, error: &rustls::Error) -> TlsError {
        let why = match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("it is not the key of {}", self.names[0].1.display())
            }
            other => other.to_string(),
        };
        let fix = format!("set {} and {} to a pair", self.names[0].0, self.names[1].0);
        TlsError::new(self.names[1], why, fix)
    }
}

/// The certificates of a PEM file, of which there is at least one.
pub(super) fn certificates(
    name: (&str, &Path),
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fix = "name a PEM file with `BEGIN CERTIFICATE`";
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| TlsError::new(name, "it is not PEM", fix))?;
    let sound = |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).is_ok();
    if found.is_empty() {
        return Err(TlsError::new(name, "it holds no certificate", fix));
    }
    if !found.iter().all(sound) {
        return Err(TlsError::new(name, "a certificate in it is broken", fix));
    }
    Ok(found)
}

/// A whole file.
pub(super) fn read(name: (&str, &Path)) -> Result<Vec<u8>, TlsError> {
    let fix = "mend the path, or let the agent's user read the file";
    let size = std::fs::metadata(name.1)
        .map_err(|error| TlsError::new(name, format!("it cannot be read: {error}"), fix))?;
    if !size.is_file() || size.len() > LARGEST_FILE {
        return Err(TlsError::new(
            name,
            "it is no file of a few certificates",
            fix,
        ));
    }
    std::fs::read(name.1)
        .map_err(|error| TlsError::new(name, format!("it cannot be read: {error}"), fix))
}

/// A store of the authorities of a file alone.
pub(super) fn authorities(name: (&str, &Path), pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(name, pem)? {
        roots.add(certificate).map_err(|error| {
            let fix = "name a file of certificates of authorities";
            TlsError::new(name, error.to_string(), fix)
        })?;
    }
    Ok(Arc::new(roots))
}
