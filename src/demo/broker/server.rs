//! Finds the programs of an installed RabbitMQ.

use std::path::{Path, PathBuf};

/// Where the programs are.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) rabbitmq_server: PathBuf,
    pub(super) rabbitmqctl: PathBuf,
    pub(super) epmd: PathBuf,
}

/// Where the packages of Debian and its kin put the versions. The wrapper in `/usr/sbin` is of no
/// use here: it changes to the user `rabbitmq`.
const PACKAGED: &str = "/usr/lib/rabbitmq/lib";

impl Server {
    /// The newest packaged server, else the one on `PATH`.
    pub(super) fn find() -> Option<Self> {
        let folder = packaged().or_else(on_path)?;
        let epmd = which("epmd").unwrap_or_else(|| PathBuf::from("epmd"));
        Some(Self {
            rabbitmq_server: folder.join("rabbitmq-server"),
            rabbitmqctl: folder.join("rabbitmqctl"),
            epmd,
        })
    }
}

fn packaged() -> Option<PathBuf> {
    let versions = std::fs::read_dir(PACKAGED).ok()?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("sbin")));
    folders
        .filter(|folder| folder.join("rabbitmq-server").is_file())
        .max()
}

fn on_path() -> Option<PathBuf> {
    let program = which("rabbitmq-server")?;
    let program = std::fs::canonicalize(&program).unwrap_or(program);
    program.parent().map(Path::to_owned)
}

fn which(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
