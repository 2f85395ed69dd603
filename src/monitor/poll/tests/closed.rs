//! A peer that closes connections which are not in use.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{DETAILED, nobody, peer, watch};
use crate::config::Secret;
use crate::model::Source;

/// A peer that answers the first request of each connection, and closes it when the second comes.
async fn closing() -> Secret {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    DETAILED.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(DETAILED.as_bytes()).await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
            });
        }
    });
    Secret::new(url)
}

/// RabbitMQ closes a connection that was idle for 5 s, which is how often it is polled.
#[tokio::test]
async fn no_poll_is_lost_to_a_connection_that_the_broker_closes_meanwhile() {
    let mut watched = watch(closing().await, nobody());
    watched.monitor.poll_once().await.unwrap();
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    let snapshot = watched.monitor.poll_once().await.unwrap();
    let node = peer(&snapshot, Source::Prometheus).unwrap();
    assert_eq!((node.up, node.error), (true, None));
}
