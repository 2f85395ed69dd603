//! What a failed handshake means, and how to mend it. Pure.
//!
//! The libraries between rustls and here hand its errors on as texts: they are known by these.
//! A test makes each of them by a real handshake.

use crate::health::Failure;

/// Why a peer whose keys stand in `section` of the configuration cannot be talked to, if `error`
/// is a text of rustls; the peer's URL stands in `url_key`.
#[must_use]
pub fn explain(error: &str, (section, url_key): (&str, &str)) -> Option<Failure> {
    let has = |part: &str| error.contains(part);
    let (why, fix) = if has("UnknownIssuer") || has("CaUsedAsEndEntity") {
        (
            "its certificate is of an authority that is not known here",
            format!("set {section}.ca_file (or tls.ca_file) to a PEM file with that authority"),
        )
    } else if has("not valid for name") || has("NotValidForName") {
        (
            "its certificate is for another name",
            format!(
                "write the host of {url_key} as the certificate has it, or have it issued anew"
            ),
        )
    } else if has("certificate expired") || has("Expired") {
        (
            "its certificate has expired",
            "renew it at the peer; if it is new, this machine's clock may be wrong".to_owned(),
        )
    } else if has("not valid yet") || has("NotValidYet") {
        (
            "its certificate is not valid yet",
            "this machine's clock may be behind".to_owned(),
        )
    } else if has("CertificateRequired") {
        (
            "it wants a client certificate",
            format!(
                "set {section}.client_certificate_file and {section}.client_key_file to one of an \
                 authority that it knows"
            ),
        )
    } else if has("fatal alert: UnknownCA")
        || has("fatal alert: BadCertificate")
        || has("fatal alert: DecryptError")
        || has("fatal alert: AccessDenied")
        || has("fatal alert: CertificateUnknown")
        || has("fatal alert: CertificateExpired")
        || has("fatal alert: UnsupportedCertificate")
    {
        (
            "it does not take the client certificate",
            format!(
                "set {section}.client_certificate_file and {section}.client_key_file to one of an \
                 authority that it knows"
            ),
        )
    } else if has("InvalidContentType") {
        (
            "it does not speak TLS on this port",
            format!("write {url_key} without the s of https or amqps, or with its port for TLS"),
        )
    } else if has("fatal alert: HandshakeFailure") || has("fatal alert: ProtocolVersion") {
        (
            "it has no version or cipher of TLS in common with rabtrace (TLS 1.2, 1.3), or wants \
             a client certificate",
            format!(
                "update it, or set {section}.client_certificate_file and {section}.client_key_file"
            ),
        )
    } else {
        return None;
    };
    Some(Failure {
        why: format!("TLS: {why} ({error})"),
        fix,
    })
}
