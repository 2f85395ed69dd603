//! The certificate of the listeners.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::TlsError;
use super::material::{Pair, authorities, read};
use super::ours::OwnOrVerified;
use crate::config::Tls;

/// What listeners shake hands with.
#[derive(Clone)]
pub struct Server {
    /// For rustls; it speaks HTTP/2 and HTTP/1.1.
    pub config: Arc<ServerConfig>,
    /// When the certificate expires, in seconds since 1970.
    pub expires_unix: i64,
    /// What it was made of.
    files: [Vec<u8>; 3],
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

/// The listeners' side of `tls`; none if no certificate is set.
///
/// # Errors
/// If a file cannot be read or is not what it should be, or key and certificate are no pair.
pub fn server(tls: &Tls) -> Result<Option<Server>, TlsError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
        return Ok(None);
    };
    let pair = Pair::read(("tls.certificate_file", certificate), ("tls.key_file", key))?;
    let (chain, private_key) = (pair.chain()?, pair.private_key()?);
    let expires_unix = chain
        .first()
        .and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok())
        .map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp());
    let builder = ServerConfig::builder();
    let mut client_authorities = Vec::new();
    let builder = match &tls.client_ca_file {
        Some(file) => {
            let name = ("tls.client_ca_file", file.as_path());
            client_authorities = read(name)?;
            let verifier = WebPkiClientVerifier::builder(authorities(name, &client_authorities)?)
                .build()
                .map_err(|error| {
                    let fix = "name a file of certificates of authorities";
                    TlsError::new(name, error.to_string(), fix)
                })?;
            let own = chain.first().cloned();
            let verifier: Arc<dyn ClientCertVerifier> = Arc::new(OwnOrVerified { own, verifier });
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let made = builder.with_single_cert(chain, private_key);
    let mut config = made.map_err(|error| pair.mismatch(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Server {
        config: Arc::new(config),
        expires_unix,
        files: [pair.certificate, pair.key, client_authorities],
    }))
}
