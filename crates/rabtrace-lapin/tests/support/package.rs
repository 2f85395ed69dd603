//! A package made of lapin's own examples and tests, with this crate in lapin's place.
//!
//! Each file gets one line more, `use rabtrace_lapin::traced as lapin;`, and nothing else changes.
//! The package is laid out below the folder that Cargo has for tests, keeps its own target folder
//! there, and is made once for all tests: Cargo's locks keep those apart that build at one time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "source.rs"]
mod source;

/// The changed line. At the end, what stands at the beginning of a file may stay there.
const CHANGED: &str = "\nuse rabtrace_lapin::traced as lapin;\n";

/// What other runtimes need; nothing else in the workspace has them.
const RUNTIMES: &str = r#"
async-rs = { version = "0.8.2", features = ["async-global-executor", "async-io", "smol"] }
smol = "2.0.2"
"#;

/// The same without the other runtimes.
const TOKIO_ALONE: &str = r#"
async-rs = "0.8.2"
"#;

const MANIFEST: &str = r#"
[package]
name = "lapin-examples"
edition = "2024"
publish = false
autobins = false
autoexamples = false

[workspace]

[features]
default = ["tokio"]
tokio = []

[profile.dev]
debug = false
incremental = false

[dependencies]
amq-protocol = { version = "10.5", default-features = false }
futures-lite = "2.0"
tokio = { version = "1.39", features = ["macros", "rt-multi-thread", "time"] }
tracing = "0.1"
tracing-subscriber = { version = "0.3.20", features = ["fmt"] }
"#;

/// The package, laid out and resolved.
pub(crate) struct Package {
    root: PathBuf,
    /// The names of the examples in it.
    pub(crate) examples: Vec<String>,
    /// The names of the tests in it.
    pub(crate) tests: Vec<String>,
    /// What is not in it: `examples/smol`.
    pub(crate) left_out: Vec<String>,
}

impl Package {
    /// Lays the package out. Where the registry cannot be reached, what needs a runtime other than
    /// tokio is left out, which is printed.
    pub(crate) fn lay_out(tmp: &str) -> Self {
        let root = Path::new(tmp).join("lapin-examples");
        keep_lock_file(&root);
        let mut package = Self {
            root,
            examples: Vec::new(),
            tests: Vec::new(),
            left_out: Vec::new(),
        };
        package.add(RUNTIMES, |_| true);
        if let Err(reason) = package.resolve() {
            let needs_more = |text: &str| text.contains("smol") || text.contains("async_global");
            package.add(TOKIO_ALONE, |text| !needs_more(text));
            let left_out = package.left_out.join(", ");
            eprintln!("left out: {left_out}; they need packages that are not here: {reason}");
        }
        package
    }

    /// Whether every dependency is on this machine, or can be fetched.
    fn resolve(&self) -> Result<(), String> {
        let offline = self.cargo("fetch", &["--offline"]);
        if offline.status.success() {
            return Ok(());
        }
        let fetched = self.cargo("fetch", &[]);
        let reason = String::from_utf8_lossy(&fetched.stderr).into_owned();
        if fetched.status.success() {
            Ok(())
        } else {
            Err(reason)
        }
    }

    /// Writes the manifest and every file of lapin's that `wanted` takes.
    fn add(&mut self, runtimes: &str, wanted: impl Fn(&str) -> bool) {
        let lapin = source::lapin_source();
        self.left_out.clear();
        self.examples = self.copy(&lapin.join("examples"), "examples", &wanted);
        self.tests = self.copy(&lapin.join("tests"), "tests", &wanted);
        let here = lapin_crate();
        let own = format!(
            "rabtrace-lapin = {{ path = {:?}, default-features = false, features = [\"tokio\"] }}\n",
            here.display().to_string()
        );
        let bins = self.examples.iter().map(|name| {
            format!("[[bin]]\nname = \"{name}\"\npath = \"examples/{name}.rs\"\ntest = false\n")
        });
        let bins: String = bins.collect();
        let manifest = format!("{MANIFEST}{own}{runtimes}{bins}");
        write(&self.root.join("Cargo.toml"), &manifest);
    }

    fn copy(&mut self, from: &Path, folder: &str, wanted: &impl Fn(&str) -> bool) -> Vec<String> {
        let mut names = Vec::new();
        let to = self.root.join(folder);
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let copy = to.join(entry.file_name());
            if wanted(&text) {
                write(&copy, &(text + CHANGED));
                names.push(name);
            } else {
                let _ = fs::remove_file(&copy);
                self.left_out.push(format!("{folder}/{name}"));
            }
        }
        names.sort();
        names
    }

    /// Builds it: the examples with `--bins`, the tests with `--tests`.
    pub(crate) fn build(&self, targets: &[&str]) {
        let output = self.cargo("build", targets);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
    }

    /// The program of an example that is built.
    pub(crate) fn program(&self, example: &str) -> PathBuf {
        self.target().join("debug").join(example)
    }

    fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    fn cargo(&self, command: &str, arguments: &[&str]) -> Output {
        let mut cargo = self.command(command);
        cargo.args(arguments).output().unwrap()
    }

    /// Cargo in this package.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        // Neither the workspace's target folder nor a test run's settings belong here.
        cargo.env("CARGO_TARGET_DIR", self.target());
        cargo.env_remove("RUSTFLAGS");
        cargo.arg(command).current_dir(&self.root);
        cargo
    }
}

fn lapin_crate() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let nested = here.join("crates/rabtrace-lapin");
    if nested.exists() {
        nested
    } else {
        here.to_owned()
    }
}

/// The versions are those of the workspace; what is not in there, Cargo adds once.
fn keep_lock_file(root: &Path) {
    let workspace = lapin_crate().join("../../Cargo.lock");
    let versions = fs::read_to_string(workspace).unwrap();
    if write(&root.join("workspace.lock"), &versions) {
        write(&root.join("Cargo.lock"), &versions);
    }
}

/// Whether the file is another one now. One that stays is not built again.
fn write(path: &Path, text: &str) -> bool {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return false;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Another test may lay out the same at this moment: it must never read half a file.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
    true
}
