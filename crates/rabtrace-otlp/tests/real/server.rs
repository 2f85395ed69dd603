//! An HTTP server that answers by a script, one answer a request, and keeps what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// One answer of the script.
pub(crate) enum Reply {
    /// Status, further header lines, body.
    Answer(u16, &'static [&'static str], Vec<u8>),
    /// The connection is closed without a word.
    HangUp,
    /// No answer until the test drops the other end.
    Silence(Receiver<()>),
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, &[], Vec::new())
    }
}

/// A request as it came.
pub(crate) struct Request {
    pub(crate) at: Instant,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The names of all spans, in order.
    pub(crate) fn span_names(&self) -> Vec<String> {
        let request = ExportTraceServiceRequest::decode(self.body.as_slice()).unwrap();
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|one| one.scope_spans);
        scopes
            .flat_map(|scope| scope.spans)
            .map(|span| span.name)
            .collect()
    }
}

/// The server, on a free port of loopback. After its script it answers 200.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Receiver<Request>,
}

impl Server {
    pub(crate) fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        let script = Arc::new(Mutex::new(script.into_iter()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, sender) = (Arc::clone(&script), sender.clone());
                let next = move || script.lock().unwrap().next();
                std::thread::spawn(move || converse(&stream.unwrap(), next, &sender));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    pub(crate) fn request(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }

    /// Requests that came and were not taken yet.
    pub(crate) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

/// Answers the requests of one connection until either side hangs up.
fn converse(stream: &TcpStream, next: impl Fn() -> Option<Reply>, requests: &Sender<Request>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        if requests.send(request).is_err() {
            return;
        }
        match next().unwrap_or(Reply::status(200)) {
            Reply::HangUp => return,
            Reply::Silence(end) => {
                let _ = end.recv_timeout(PATIENCE);
                return;
            }
            Reply::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for line in headers {
                    head += &format!("{line}\r\n");
                }
                let mut answer = (head + "\r\n").into_bytes();
                answer.extend(body);
                let mut writer = stream;
                if writer.write_all(&answer).is_err() {
                    return;
                }
            }
        }
    }
}

/// The next request; `None` at the end of the connection.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?;
    let mut body = vec![0; length.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        at: Instant::now(),
        path,
        headers,
        body,
    })
}
