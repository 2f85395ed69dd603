//! The habits of the house, as tests: the direction of imports, the library's dependencies, the
//! size of files, texts that must not be in the repository.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules in the order in which data flows; each imports only what stands before it.
/// `app` sees everything, and what stands after it are its users.
const ORDER: &[&str] = &[
    "model",
    "questions",
    "health",
    "observed",
    "metrics",
    "config",
    "retry",
    "serve",
    "tls",
    "spool",
    "monitor",
    "receiver",
    "flow",
    "store",
    "influx",
    "forward",
    "api",
    "reference",
    "render",
    "shutdown",
    "app",
    "demo",
    "cli",
    "main",
    "lib",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![root().join(folder)];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The first part of `path` below `src`.
fn module(path: &Path) -> String {
    let first = path
        .components()
        .nth(1)
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn place(module: &str) -> usize {
    let place = ORDER.iter().position(|name| *name == module);
    place.unwrap_or_else(|| panic!("module {module} has no place in the order of the flow"))
}

/// Modules of this crate that a text names by `crate::`.
fn imports(text: &str) -> Vec<String> {
    let word = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    code.match_indices("crate::")
        .map(|(at, found)| word(&code[at + found.len()..]))
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn imports_point_up_the_flow() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in sources("src") {
        let own = module(&path);
        for other in imports(&text) {
            seen += 1;
            if place(&other) > place(&own) {
                wrong.push(format!(
                    "{} imports {other}, which stands below it",
                    path.display()
                ));
            }
        }
    }
    assert!(
        seen > 10,
        "only {seen} imports were found: is this test still looking?"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What decides takes the time as an argument: only where parts are wired is it asked for.
#[test]
fn the_wall_clock_is_read_at_the_edge_alone() {
    let edge = ["app", "cli", "demo"];
    let reads = |path: &Path, text: &str| {
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or(text);
        code.contains("SystemTime::now") && !path.ends_with("tests.rs")
    };
    let all = sources("src");
    let readers: Vec<String> = all
        .iter()
        .filter(|(path, text)| reads(path, text))
        .map(|(path, _)| module(path))
        .collect();
    assert!(
        readers.iter().any(|reader| reader == "app"),
        "nobody reads the clock: is this test still looking?"
    );
    let wrong: Vec<_> = readers
        .iter()
        .filter(|reader| !edge.contains(&reader.as_str()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn files_are_small() {
    let all = [
        "src",
        "crates/rabtrace-lapin/src",
        "crates/rabtrace-otlp/src",
        "tests",
    ]
    .map(sources)
    .concat();
    let long: Vec<String> = all
        .iter()
        .map(|(path, text)| {
            (
                path,
                text.split("#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap_or(text)
                    .lines()
                    .count(),
            )
        })
        .filter(|(path, lines)| *lines > if path.starts_with("tests") { 600 } else { 400 })
        .map(|(path, lines)| format!("{} has {lines} lines without its tests", path.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_module_opens_with_its_purpose() {
    let all = [
        "src",
        "crates/rabtrace-lapin/src",
        "crates/rabtrace-otlp/src",
    ]
    .map(sources)
    .concat();
    let bare: Vec<String> = all
        .iter()
        .filter(|(path, text)| !text.starts_with("//!") && !path.ends_with("tests.rs"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(bare.is_empty(), "no opening docs in {}", bare.join(", "));
}

/// The library's normal dependencies, by name, down to `depth`.
fn library_tree(depth: &str) -> Vec<String> {
    let words = [
        "tree",
        "--offline",
        "-p",
        "rabtrace-lapin",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--depth",
        depth,
    ];
    let output = Command::new(env!("CARGO"))
        .args(words)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<String> = tree
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn the_library_has_few_dependencies() {
    assert_eq!(
        library_tree("1"),
        [
            // lapin's own: the traits of the transport that the guard stands in front of.
            "async-rs",
            "futures-core",
            "futures-io",
            "lapin",
            "opentelemetry",
            "percent-encoding",
            "tokio"
        ]
    );
}

#[test]
fn the_library_brings_nothing_heavy() {
    let whole = library_tree("99");
    assert!(whole.len() > 20, "{whole:?}");
    let heavy = [
        "opentelemetry_sdk",
        "opentelemetry-otlp",
        "tracing-subscriber",
        "tonic",
        "hyper",
        "reqwest",
        "aws-lc-sys",
    ];
    let found: Vec<_> = whole
        .iter()
        .filter(|name| heavy.contains(&name.as_str()))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn unfinished_code_does_not_stay() {
    let all = ["src", "crates", "tests", "benches"].map(sources).concat();
    let marks = [
        "to".to_owned() + "do!(",
        "unimple".to_owned() + "mented!(",
        "#[ig".to_owned() + "nore",
        "FIX".to_owned() + "ME",
    ];
    for (path, text) in all {
        for mark in &marks {
            assert!(
                !text.contains(mark.as_str()),
                "{} contains {mark}",
                path.display()
            );
        }
    }
}
