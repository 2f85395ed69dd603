//! Drop-in tracing for lapin.
