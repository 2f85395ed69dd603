//! A server that answers as a test says, and keeps every write that it got.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;

/// A write as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) gzip: bool,
    pub(crate) lines: Vec<String>,
    pub(crate) at: Instant,
}

/// What the server answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) delay: Duration,
    /// What it waits for as well.
    pub(crate) held: Option<Arc<Notify>>,
}

/// An answer without anything but its status and body.
pub(crate) fn reply(status: u16, body: impl Into<String>) -> Reply {
    Reply {
        status,
        body: body.into(),
        ..Reply::default()
    }
}

/// Answers a write, by its number from zero on and its content.
type Script = dyn Fn(usize, &Write) -> Reply + Send + Sync;

#[derive(Clone)]
struct Shared {
    version: Option<&'static str>,
    script: Arc<Script>,
    writes: Arc<Mutex<Vec<Write>>>,
}

/// The server; it ends with the test's runtime.
pub(crate) struct ScriptedServer {
    pub(crate) url: String,
    shared: Shared,
}

impl ScriptedServer {
    /// Starts one that calls itself `version`, and answers each write by `script`.
    pub(crate) async fn start(
        version: Option<&'static str>,
        script: impl Fn(usize, &Write) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            version,
            script: Arc::new(script),
            writes: Arc::default(),
        };
        let app = Router::new()
            .fallback(answer)
            .with_state(shared.clone())
            .layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    /// Every write so far.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.shared.writes.lock().unwrap().clone()
    }
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::GET {
        let mut response = StatusCode::NO_CONTENT.into_response();
        if let Some(version) = shared.version {
            let headers = response.headers_mut();
            headers.insert("x-influxdb-version", version.parse().unwrap());
        }
        return response;
    }
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let gzip = header("content-encoding") == Some("gzip");
    let mut text = String::new();
    if gzip {
        let mut decoder = flate2::read::GzDecoder::new(body.as_ref());
        decoder.read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(body.to_vec()).unwrap();
    }
    let write = Write {
        target: uri.to_string(),
        authorization: header("authorization").map(str::to_owned),
        gzip,
        lines: text.lines().map(str::to_owned).collect(),
        at: Instant::now(),
    };
    let number = {
        let mut writes = shared.writes.lock().unwrap();
        writes.push(write.clone());
        writes.len() - 1
    };
    let reply = (shared.script)(number, &write);
    tokio::time::sleep(reply.delay).await;
    if let Some(held) = &reply.held {
        held.notified().await;
    }
    let status = StatusCode::from_u16(reply.status).unwrap();
    let mut response = (status, reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
