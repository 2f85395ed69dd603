//! What a failed handshake means, and how to mend it. Pure.
//!
//! The libraries between rustls and here hand its errors on as texts: they are known by these.
//! A test makes each of them by a real handshake.

use crate::health::Failure;

/// What is wrong.
#[derive(Clone, Copy)]
enum Wrong {
    Authority,
    Name,
    Expired,
    Early,
    NoCertificate,
    Certificate,
    Plain,
    Common,
    Dropped,
}

/// Parts of the texts of rustls, and what each means.
const PARTS: &[(&str, Wrong)] = &[
    ("UnknownIssuer", Wrong::Authority),
    ("CaUsedAsEndEntity", Wrong::Authority),
    ("not valid for name", Wrong::Name),
    ("NotValidForName", Wrong::Name),
    ("certificate expired", Wrong::Expired),
    ("not valid yet", Wrong::Early),
    ("CertificateRequired", Wrong::NoCertificate),
    ("fatal alert: UnknownCA", Wrong::Certificate),
    ("fatal alert: BadCertificate", Wrong::Certificate),
    ("fatal alert: DecryptError", Wrong::Certificate),
    ("fatal alert: AccessDenied", Wrong::Certificate),
    ("fatal alert: CertificateUnknown", Wrong::Certificate),
    ("fatal alert: CertificateExpired", Wrong::Certificate),
    ("fatal alert: UnsupportedCertificate", Wrong::Certificate),
    ("InvalidContentType", Wrong::Plain),
    ("fatal alert: HandshakeFailure", Wrong::Common),
    ("fatal alert: ProtocolVersion", Wrong::Common),
    // It may come before the alert that says why.
    ("roken pipe", Wrong::Dropped),
    ("onnection reset", Wrong::Dropped),
    ("onnection closed", Wrong::Dropped),
    ("close_notify", Wrong::Dropped),
];

/// Why the peer with this URL cannot be talked to, if that is `https` or `amqps` and `error` a text of
/// rustls. The peer's keys stand in `section` of the configuration, its URL in `url_key`.
#[must_use]
pub fn explain(error: &str, url: &str, (section, url_key): (&str, &str)) -> Option<Failure> {
    if !url.starts_with("https://") && !url.starts_with("amqps://") {
        return None;
    }
    let (_, wrong) = PARTS.iter().find(|(part, _)| error.contains(part))?;
    let pair = format!("{section}.client_certificate_file and {section}.client_key_file");
    let (why, fix) = match wrong {
        Wrong::Authority if section == "tls" => (
            "its certificate is of an authority that is not known here",
            "set tls.ca_file to a PEM file with that authority".to_owned(),
        ),
        Wrong::Authority => (
            "its certificate is of an authority that is not known here",
            format!("set {section}.ca_file (or tls.ca_file) to a PEM file with that authority"),
        ),
        Wrong::Name => (
            "its certificate is for another name",
            format!("write the host of {url_key} as the certificate has it, or issue another"),
        ),
        Wrong::Expired => (
            "its certificate has expired",
            "renew it at the peer; if it is new, this machine's clock may be wrong".to_owned(),
        ),
        Wrong::Early => (
            "its certificate is not valid yet",
            "this machine's clock may be behind".to_owned(),
        ),
        Wrong::NoCertificate => (
            "it wants a client certificate",
            format!("set {pair} to one of an authority that it knows"),
        ),
        Wrong::Certificate => (
            "it does not take the client certificate",
            format!("set {pair} to one of an authority that it knows"),
        ),
        Wrong::Plain => (
            "it does not speak TLS on this port",
            format!("write {url_key} without the s of https or amqps, or with its port for TLS"),
        ),
        Wrong::Common => (
            "it has no version or cipher of TLS in common with rabtrace (TLS 1.2, 1.3), or wants \
             a client certificate",
            format!("update it, or set {pair}"),
        ),
        Wrong::Dropped => (
            "it closed the connection, as those do that want a client certificate or do not take it",
            format!("set {pair} to one of an authority that it knows"),
        ),
    };
    Some(Failure {
        why: format!("TLS: {why} ({error})"),
        fix,
    })
}
