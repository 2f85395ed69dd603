//! Finds the programs of an installed RabbitMQ, and runs them where they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::BrokerError;

/// The root of another system in which RabbitMQ is installed, as `scripts/matrix.sh` lays it out:
/// with it the tests run on another version than this system's.
const TREE: &str = "RABTRACE_TEST_BROKER_TREE";

/// Runs a program of a tree: with this system's devices and processes, and with the folder that
/// holds the node's at the path that it has outside. The mounts are seen by that program alone, and
/// go with it.
const ENTER: &str = "set -e; tree=$1 shared=$(dirname \"$2\"); shift 2; mkdir -p \"$tree$shared\"; \
                     mount --rbind /dev \"$tree/dev\"; mount --rbind /proc \"$tree/proc\"; \
                     mount --bind \"$shared\" \"$tree$shared\"; exec chroot \"$tree\" \"$@\"";

/// Where the programs are.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// The system that they belong to, if that is not this one; paths are those inside of it.
    tree: Option<PathBuf>,
    folder: PathBuf,
    epmd: PathBuf,
}

/// Where the packages of Debian and its kin put the versions. The wrapper in `/usr/sbin` is of no
/// use here: it changes to the user `rabbitmq`.
const PACKAGED: &str = "/usr/lib/rabbitmq/lib";

impl Server {
    /// That of the tree, if one is named; else the newest packaged server, else the one on `PATH`.
    pub(super) fn find() -> Result<Self, BrokerError> {
        if let Some(tree) = std::env::var_os(TREE) {
            return Self::of_tree(PathBuf::from(tree));
        }
        let folder = packaged(Path::new("/")).or_else(on_path);
        Ok(Self {
            tree: None,
            folder: folder.ok_or(BrokerError::NotInstalled)?,
            epmd: which("epmd").unwrap_or_else(|| PathBuf::from("epmd")),
        })
    }

    fn of_tree(tree: PathBuf) -> Result<Self, BrokerError> {
        let folder = packaged(&tree);
        let inside = folder
            .as_ref()
            .and_then(|folder| folder.strip_prefix(&tree).ok());
        match inside.map(|folder| Path::new("/").join(folder)) {
            Some(folder) => Ok(Self {
                tree: Some(tree),
                folder,
                epmd: PathBuf::from("/usr/bin/epmd"),
            }),
            None => Err(BrokerError::NotInTree(tree)),
        }
    }

    /// The server, for a node whose files are below `shared`.
    pub(super) fn rabbitmq_server(&self, shared: &Path) -> Command {
        self.command(&self.folder.join("rabbitmq-server"), shared)
    }

    /// The command line tool, for the same.
    pub(super) fn rabbitmqctl(&self, shared: &Path) -> Command {
        self.command(&self.folder.join("rabbitmqctl"), shared)
    }

    /// Erlang's list of nodes, for the same.
    pub(super) fn epmd(&self, shared: &Path) -> Command {
        self.command(&self.epmd, shared)
    }

    fn command(&self, program: &Path, shared: &Path) -> Command {
        let Some(tree) = &self.tree else {
            return Command::new(program);
        };
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["--", "sh", "-c", ENTER, "enter"])
            .args([tree, shared, program]);
        command
    }
}

fn packaged(root: &Path) -> Option<PathBuf> {
    let versions = root.join(PACKAGED.trim_start_matches('/'));
    let versions = std::fs::read_dir(versions).ok()?;
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
