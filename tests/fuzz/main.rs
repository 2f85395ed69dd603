//! Fuzz targets on stable: what comes from outside goes through each reader, for two seconds in the
//! ordinary suite. `RABTRACE_FUZZ_SECONDS` says for how long, `RABTRACE_FUZZ_SEED` where to begin;
//! what fails is said with the seed of its case, which runs alone with `RABTRACE_FUZZ_SEED` set to
//! it and `RABTRACE_FUZZ_SECONDS` to 0.
//!
//! The library's own target, header tables, is in `crates/rabtrace-lapin/src/tests/fuzz.rs`; the
//! spool's segments are in `tests/spool/damage.rs`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "a target says how many cases it saw")]

mod api;
mod cases;
mod config;
mod hostile;
mod json;
mod line_protocol;
mod otlp;
