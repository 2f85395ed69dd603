//! AMQP by hand: what no client library would send.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Of a server that only listens on loopback, for as long as a test runs: its key is no secret.
pub(super) const CERTIFICATE: &str = include_str!("loopback_certificate.pem");

/// Nobody in these tests waits longer for the other side.
const PATIENCE: Duration = Duration::from_secs(20);

fn long(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_be_bytes()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&long(bytes.len()), bytes].concat()
}

fn short_string(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, channel], &with_length(payload)[..], &[0xCE]].concat()
}

fn method(channel: u8, (class, method): (u8, u8), arguments: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&[0, class, 0, method], arguments].concat())
}

/// A table of `levels` tables inside each other; the outermost has `traceparent` too, last.
pub(super) fn deep_table(levels: usize, traceparent: &str) -> Vec<u8> {
    let mut table = with_length(&[]);
    for _ in 2..levels {
        table = with_length(&[short_string("n"), b"F".to_vec(), table].concat());
    }
    let context = [
        short_string("traceparent"),
        b"S".to_vec(),
        with_length(traceparent.as_bytes()),
    ];
    with_length(&[short_string("n"), b"F".to_vec(), table, context.concat()].concat())
}

/// A client of a broker, on channel 1.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(stream);
        client.send(b"AMQP\x00\x00\x09\x01");
        client.wait_for(10, 10);
        let login = [
            with_length(&[]),
            short_string("PLAIN"),
            with_length(b"\0guest\0guest"),
            short_string("en_US"),
        ];
        client.send(&method(0, (10, 11), &login.concat()));
        client.wait_for(10, 30);
        client.send(&method(0, (10, 31), &[0, 8, 0, 2, 0, 0, 0, 0]));
        client.send(&method(
            0,
            (10, 40),
            &[short_string("/"), vec![0, 0]].concat(),
        ));
        client.wait_for(10, 41);
        client.send(&method(1, (20, 10), &[0]));
        client.wait_for(20, 11);
        client.send(&method(1, (85, 10), &[0]));
        client.wait_for(85, 11);
        client
    }

    /// Publishes to `queue` and waits for the broker's confirm.
    pub(super) fn publish(&mut self, queue: &str, headers: &[u8], body: &[u8]) {
        let arguments = [vec![0, 0, 0], short_string(queue), vec![0]].concat();
        self.send(&method(1, (60, 40), &arguments));
        let size = u64::try_from(body.len()).unwrap().to_be_bytes();
        let header = [&[0, 60, 0, 0], &size[..], &[0b0010_0000, 0], headers].concat();
        self.send(&frame(2, 1, &header));
        self.send(&frame(3, 1, body));
        self.wait_for(60, 80);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn wait_for(&mut self, class: u8, method: u8) {
        while method_of(&read_frame(&mut self.0)) != Some((class, method)) {}
    }
}

/// The payload of a method frame; nothing of others.
fn read_frame(stream: &mut impl Read) -> Vec<u8> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).unwrap();
    let size = u32::from_be_bytes(*head.last_chunk().unwrap());
    let mut payload = vec![0; usize::try_from(size).unwrap() + 1];
    stream.read_exact(&mut payload).unwrap();
    if head[0] == 1 { payload } else { Vec::new() }
}

fn method_of(payload: &[u8]) -> Option<(u8, u8)> {
    payload.get(..4).map(|head| (head[1], head[3]))
}

/// A server that greets its first client with `properties`.
pub(super) struct Server {
    pub(super) url: String,
    thread: JoinHandle<(u8, u8)>,
}

impl Server {
    pub(super) fn start(properties: Vec<u8>) -> Self {
        Self::serve("amqp", move |mut stream| greet(&mut stream, &properties))
    }

    /// The same by TLS, as `localhost`, with [`CERTIFICATE`].
    pub(super) fn start_with_tls(properties: Vec<u8>) -> Self {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("loopback_key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::serve("amqps", move |stream| {
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            greet(&mut StreamOwned::new(connection, stream), &properties)
        })
    }

    fn serve<F>(scheme: &str, answer: F) -> Self
    where
        F: FnOnce(TcpStream) -> (u8, u8) + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            answer(stream)
        });
        let url = format!("{scheme}://localhost:{port}");
        Self { url, thread }
    }

    /// The method that the client answered with, if it lived to answer.
    pub(super) fn answer(self) -> Option<(u8, u8)> {
        self.thread.join().ok()
    }
}

fn greet(stream: &mut (impl Read + Write), properties: &[u8]) -> (u8, u8) {
    stream.read_exact(&mut [0; 8]).unwrap();
    let start = [
        vec![0, 9],
        properties.to_vec(),
        with_length(b"PLAIN"),
        with_length(b"en_US"),
    ];
    stream
        .write_all(&method(0, (10, 10), &start.concat()))
        .unwrap();
    stream.flush().unwrap();
    method_of(&read_frame(stream)).unwrap()
}
