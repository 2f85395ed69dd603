//! What a client talks to, in a process of its own, so that nothing but the client is measured.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::runtime::{Builder, Runtime};

use crate::sink;

/// The word that makes this program the servers.
const WORD: &str = "--serve";

/// One worker: the application is the thread that blocks on a future.
pub(crate) fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let built = builder.worker_threads(1).enable_all().build();
    built.expect("a runtime")
}

/// Whether this process is the servers.
pub(crate) fn is_asked_for() -> bool {
    std::env::args().nth(1).is_some_and(|word| word == WORD)
}

/// The OTLP server, and the one that `peer` starts, until the one who started them closes their
/// input.
pub(crate) fn serve(peer: impl FnOnce() -> Option<SocketAddr>) {
    let runtime = runtime();
    let sink = runtime.block_on(sink::serve()).expect("a port");
    let peer = peer().map_or_else(|| "none".to_owned(), |address| address.to_string());
    println!("{peer} {sink}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The servers' process, and their addresses. It ends with this.
pub(crate) struct Servers {
    child: Child,
    pub(crate) peer: String,
    pub(crate) sink: String,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.arg(WORD).spawn().expect("the servers");
        let output = child.stdout.take().expect("an output");
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        read.expect("their addresses");
        let (peer, sink) = line.trim().split_once(' ').expect("two addresses");
        let (peer, sink) = (peer.to_owned(), sink.to_owned());
        Self { child, peer, sink }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
