//! TLS, both ways: the certificate of the listeners, and what the agent trusts and shows when it
//! connects.
//!
//! - Input: PEM files that the configuration names.
//! - Output: [`server`] makes what listeners shake hands with, [`Material`] what a client of one
//!   peer is made of, [`ours`] the client for an agent that has the certificate of this
//!   configuration. Everything is rustls with ring.
//! - Authorities of a file are trusted beside those of the system.
//! - Failing: a [`TlsError`] names the key, the file and the next step; [`explain`] says what a
//!   failed handshake means.

mod error;
mod explain;
mod files;
mod material;
mod ours;
mod peer;
mod server;

pub use error::TlsError;
pub use explain::explain;
pub use files::fingerprint;
pub use material::{Material, builder};
pub use ours::ours;
pub use peer::Peer;
pub(crate) use peer::changed;
pub use server::{Server, server};
