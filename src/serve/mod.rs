//! The agent's listeners: HTTP/1.1 and HTTP/2, over TLS where there is a certificate.
//!
//! - Input: a bound listener, its routes, and [`Access`]: certificate, token, limits. Certificate
//!   and token may change while it runs; connections that are open keep theirs.
//! - Limits: a TLS handshake may take 5 s, the head of a request 10 s, a connection without a
//!   request 3 min; a connection has 128 streams at most, and all listeners together as many
//!   connections as `limits.connections` says.
//! - Full: a connection that finds no place is closed at once. Every connection that is closed for
//!   one of these reasons is counted in `rabtrace_connections_closed_total{reason}`.
//! - Stop: requests that are under way may go on for a second.

mod access;
mod activity;
mod connection;
mod listen;
mod token;

pub use access::Access;
pub(crate) use listen::serve;
pub use token::Token;
