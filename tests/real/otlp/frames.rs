//! gRPC by hand: any bytes in a frame, and a stream that ends when the test says so.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A connection over HTTP/2 without TLS.
pub(crate) struct Connection {
    requests: SendRequest<Bytes>,
    address: SocketAddr,
}

/// A message in its frame, which says that it is `length` bytes long.
pub(crate) fn frame(is_gzip: bool, length: usize, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(u8::from(is_gzip));
    frame.put_u32(u32::try_from(length).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// A request that was begun.
pub(crate) struct Call {
    pub(crate) sending: h2::SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { requests, address }
    }

    /// Begins a request of traces with `frame`, and ends it if `is_whole`.
    pub(crate) async fn begin(&self, encoding: &str, frame: Bytes, is_whole: bool) -> Call {
        let request = Request::post(format!("http://{}{TRACES}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding);
        let mut requests = self.requests.clone().ready().await.unwrap();
        let request = request.body(()).unwrap();
        let (answer, mut sending) = requests.send_request(request, false).unwrap();
        sending.send_data(frame, is_whole).unwrap();
        Call { sending, answer }
    }
}

impl Call {
    /// Its status: the headers or trailers in which it came.
    pub(crate) async fn end(self) -> Result<HeaderMap, h2::Error> {
        let (head, mut body) = self.answer.await?.into_parts();
        if head.headers.contains_key("grpc-status") {
            return Ok(head.headers);
        }
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
        }
        Ok(body.trailers().await?.unwrap_or_default())
    }
}

/// gRPC's code in `headers`.
pub(crate) fn code(headers: &HeaderMap) -> i32 {
    headers["grpc-status"].to_str().unwrap().parse().unwrap()
}
