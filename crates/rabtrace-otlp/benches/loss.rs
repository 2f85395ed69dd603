//! Loss.
fn main() {}
