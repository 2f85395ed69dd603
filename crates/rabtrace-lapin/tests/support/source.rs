//! Where the source of the lapin is that this crate is built with.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of lapin's source, as Cargo laid it out.
pub(crate) fn lapin_source() -> PathBuf {
    // What other systems than this one need was never downloaded.
    let about = cargo(&["--version", "--verbose"]);
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.expect("Cargo does not say where it runs");
    let here = ["--offline", "--filter-platform", host];
    let metadata = cargo(&[&["metadata", "--format-version", "1"], &here[..]].concat());
    let manifest = lapin_manifest(&metadata).expect("lapin is not in Cargo's metadata");
    Path::new(manifest).parent().unwrap().to_owned()
}

/// What Cargo prints.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A package begins with its name, and has one `manifest_path`.
fn lapin_manifest(metadata: &str) -> Option<&str> {
    let (_, package) = metadata.split_once(r#"{"name":"lapin","version":""#)?;
    let (_, path) = package.split_once(r#""manifest_path":""#)?;
    path.split('"').next()
}
