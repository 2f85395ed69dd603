//! An OTLP server (gRPC over HTTP/2) that takes every export and keeps nothing, and the SDK's
//! exporter for it.

use std::net::SocketAddr;

use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use tokio::net::{TcpListener, TcpStream};

/// An empty message in gRPC's framing: not compressed, no bytes.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// The SDK's exporter with its own settings but the address.
///
/// # Panics
///
/// Outside a Tokio runtime.
pub(crate) fn exporter(address: &str) -> SpanExporter {
    SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{address}"))
        .build()
        .expect("an exporter")
}

/// Serves while the runtime lives.
///
/// # Errors
///
/// If no port can be bound.
pub(crate) async fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream));
        }
    });
    Ok(address)
}

async fn connection(stream: TcpStream) -> Result<(), h2::Error> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(1 << 24)
        .initial_connection_window_size(1 << 26);
    let mut connection = builder.handshake::<_, &'static [u8]>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(export(request, respond));
    }
    Ok(())
}

async fn export(
    mut request: Request<RecvStream>,
    mut respond: SendResponse<&'static [u8]>,
) -> Result<(), h2::Error> {
    let body = request.body_mut();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut response = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(EMPTY_MESSAGE, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
