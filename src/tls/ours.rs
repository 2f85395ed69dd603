//! Between an agent and the commands that ask it: both have the files of one configuration.
//!
//! The command line trusts the very certificate of `tls.certificate_file`, whatever names it has:
//! it asks by address, and most certificates have names. Where client certificates are asked for,
//! it shows the same one, and the agent takes it beside those of `tls.client_ca_file`. Both sides
//! prove in the handshake that they have its key.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::material::{Pair, builder, client};
use crate::config::Tls;

/// A client for the agent that has the certificate of `tls`, without a proxy, which would ask its
/// own machine.
///
/// # Errors
/// If the files cannot be used.
pub fn ours(tls: &Tls) -> anyhow::Result<reqwest::Client> {
    let builder = builder().no_proxy();
    let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) else {
        return Ok(builder.build()?);
    };
    let name = "tls.certificate_file";
    let pem = super::material::read((name, certificate))?;
    let chain = super::material::certificates((name, certificate), &pem)?;
    let verifier = Arc::new(OnlyThis {
        leaf: chain.first().cloned(),
        algorithms: ring::default_provider().signature_verification_algorithms,
    });
    let config = client()
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = if tls.client_ca_file.is_some() {
        let pair = Pair::read((name, certificate), ("tls.key_file", key))?;
        config.with_client_auth_cert(pair.chain()?, pair.private_key()?)?
    } else {
        config.with_no_client_auth()
    };
    Ok(builder.tls_backend_preconfigured(config).build()?)
}

/// Takes one certificate and no other.
#[derive(Debug)]
struct OnlyThis {
    leaf: Option<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OnlyThis {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.leaf.as_ref() == Some(end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes the agent's own certificate, and what another verifier takes.
#[derive(Debug)]
pub(super) struct OwnOrVerified {
    pub(super) own: Option<CertificateDer<'static>>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for OwnOrVerified {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: a client that has one certificate shows it, whoever issued it.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.own.as_ref() == Some(end_entity) {
            return Ok(ClientCertVerified::assertion());
        }
        self.verifier
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
