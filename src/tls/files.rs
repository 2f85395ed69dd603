//! The files that a configuration names, to see when one of them changes.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::config::Config;

/// What all files of certificates and keys hold; none if the configuration names none. A file that
/// cannot be read counts as another content.
#[must_use]
pub fn fingerprint(config: &Config) -> Option<[u8; 32]> {
    let tls = &config.tls;
    let own = [&tls.certificate_file, &tls.key_file, &tls.client_ca_file];
    let peers = [&config.broker.tls, &config.influx.tls, &config.forward.tls];
    let peers = peers.map(|peer| [&peer.ca_file, &peer.certificate_file, &peer.key_file]);
    let files: Vec<&PathBuf> = own.into_iter().chain(peers.concat()).flatten().collect();
    if files.is_empty() {
        return None;
    }
    let mut digest = Sha256::new();
    for file in files {
        let content = std::fs::read(file).map(Sha256::digest);
        digest.update(content.map_or([0; 33], |content| {
            let mut marked = [1; 33];
            marked[1..].copy_from_slice(&content);
            marked
        }));
    }
    Some(digest.finalize().into())
}
