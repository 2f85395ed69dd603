//! The private broker: ready in time, several at once, nothing left behind.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rabtrace::demo::broker::{Broker, Options};

use crate::support::{Process, eventually, rabtrace};

fn port(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[tokio::test]
async fn two_nodes_stand_side_by_side_and_leave_nothing_behind() {
    let begun = Instant::now();
    let (one, other) = tokio::join!(Broker::start(), Broker::start());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "two nodes took {:?}",
        begun.elapsed()
    );
    assert_ne!(one.amqp_url(), other.amqp_url());
    assert!(one.rabbitmqctl(&["list_queues"]).await.is_ok());
    let (folder, ports) = (
        one.folder().to_owned(),
        [
            port(&one.amqp_url()),
            port(&one.management_url()),
            port(&one.prometheus_url()),
        ],
    );
    assert!(ports.iter().all(|port| listens(*port)));
    one.stop().await.unwrap();
    assert!(!folder.exists(), "{} is still there", folder.display());
    assert!(ports.iter().all(|port| !listens(*port)));
    assert!(
        listens(port(&other.amqp_url())),
        "the other node went with the first"
    );
}

#[tokio::test]
async fn a_killed_node_comes_back_on_its_ports_with_its_data() {
    let mut broker = Broker::start_with(Options {
        management: false,
        ..Options::default()
    })
    .await
    .unwrap();
    broker.rabbitmqctl(&["add_vhost", "kept"]).await.unwrap();
    broker.kill().unwrap();
    assert!(!listens(port(&broker.amqp_url())));
    broker.restart().await.unwrap();
    assert!(
        broker
            .rabbitmqctl(&["list_vhosts"])
            .await
            .unwrap()
            .contains("kept")
    );
}

/// The folder of a broker below `folder`, once its virtual machine wrote its process id.
fn broker_below(folder: &std::path::Path) -> Option<(std::path::PathBuf, String)> {
    let entries = std::fs::read_dir(folder).ok()?;
    let named = |path: &std::path::PathBuf| path.display().to_string().contains("rabtrace-broker-");
    let path = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(named)?;
    let pid = std::fs::read_to_string(path.join("pid"))
        .ok()?
        .trim()
        .to_owned();
    (!pid.is_empty()).then_some((path, pid))
}

#[tokio::test]
async fn a_killed_process_leaves_no_broker_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rabtrace();
    command
        .args(["demo", "--for", "60s"])
        .env("TMPDIR", folder.path());
    let process = Process::start(&mut command, &folder.path().join("log"));
    let within = Duration::from_secs(60);
    let found = eventually("a broker starts", within, || async {
        broker_below(folder.path())
    });
    let (path, pid) = found.await;
    assert!(std::path::Path::new("/proc").join(&pid).exists());
    // Process kills with SIGKILL: nothing of the demo's own runs after it.
    drop(process);
    let gone = || async {
        (!path.exists() && !std::path::Path::new("/proc").join(&pid).exists()).then_some(())
    };
    eventually("broker and folder are gone", within, gone).await;
}
