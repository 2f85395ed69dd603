//! lapin's own examples and tests compile with this crate in lapin's place, one line added to each.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]

#[path = "support/package.rs"]
mod package;

use package::Package;

#[test]
fn lapins_examples_compile() {
    let package = Package::lay_out(env!("CARGO_TARGET_TMPDIR"));
    let known = [
        "client-certificate",
        "connection",
        "consumer",
        "publisher_confirms",
        "pubsub",
        "reconnect_manual",
        "reconnect_semi_automatic",
        "smol",
        "tokio",
    ];
    let here: Vec<&str> = known
        .into_iter()
        .filter(|name| !package.left_out.contains(&format!("examples/{name}")))
        .collect();
    assert_eq!(package.examples, here, "lapin has other examples now");
    assert!(package.tests.len() >= 11, "{:?}", package.tests);
    package.build(&["--bins", "--tests"]);
    for example in &package.examples {
        assert!(package.program(example).exists(), "{example}");
    }
}
