//! Certificates made for a test: an authority and what it issues, as PEM files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// An authority, its certificate in a file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    pub(crate) file: String,
}

/// Files of a certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = write(folder, &format!("{name}.pem"), &certificate.pem());
        Self {
            issuer: Issuer::new(params, key),
            folder: folder.to_owned(),
            file,
        }
    }

    /// A certificate for `host`, in files of the name `name`.
    pub(crate) fn issue(&self, name: &str, host: &str) -> Pair {
        self.issue_until(name, host, 4000)
    }

    /// The same, good until the beginning of `year`.
    pub(crate) fn issue_until(&self, name: &str, host: &str, year: i32) -> Pair {
        let (certificate, key) = self.pems(host, year);
        Pair {
            certificate: write(&self.folder, &format!("{name}.pem"), &certificate),
            key: write(&self.folder, &format!("{name}.key"), &key),
        }
    }

    /// Certificate and key as text.
    pub(crate) fn pems(&self, host: &str, year: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}
