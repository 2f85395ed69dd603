//! A connection whose channels are traced and know their broker's address.
//!
//! Every way to connect that lapin has is here, with its own name and arguments; all but
//! [`connector`](TracedConnection::connector), which brings its own transport, end in one place.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use async_rs::Runtime;
use async_rs::traits::{Reactor, RuntimeKit};
use lapin::runtime::default_runtime;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Result};

use crate::channel::TracedChannel;
use crate::config::TraceConfig;
use crate::guard::Guard;
use crate::telemetry::Telemetry;

/// A [`lapin::Connection`] that makes [`TracedChannel`]s.
///
/// What it connects itself goes through a [`Guard`]: headers that are nested too deep for lapin
/// arrive as bytes and do not abort the process. [`TracedConnection::new`] takes any other
/// connection as it is.
///
/// ```no_run
/// use rabtrace_lapin::TracedConnection;
/// use rabtrace_lapin::lapin::ConnectionProperties;
///
/// # async fn example() -> rabtrace_lapin::lapin::Result<()> {
/// let url = "amqp://localhost:5672/%2f";
/// let connection = TracedConnection::connect(url, ConnectionProperties::default()).await?;
/// let channel = connection.create_channel().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TracedConnection {
    inner: Connection,
    server: Option<Server>,
    config: TraceConfig,
    guard: Option<Guard>,
    /// Made with the first channel: the global providers of that time count.
    telemetry: OnceLock<Arc<Telemetry>>,
}

/// Where the broker is.
#[derive(Clone, Debug)]
struct Server {
    address: String,
    port: u16,
}

impl Server {
    fn of(uri: &AMQPUri) -> Self {
        Self {
            address: uri.authority.host.clone(),
            port: uri.authority.port,
        }
    }
}

/// What a connection is made of besides its address.
pub(crate) struct Transport<RK: RuntimeKit + Send + Sync + Clone + 'static> {
    pub(crate) options: ConnectionProperties,
    pub(crate) tls: OwnedTLSConfig,
    pub(crate) runtime: Runtime<RK>,
}

impl<RK: RuntimeKit + Send + Sync + Clone + 'static> Transport<RK> {
    fn new(options: ConnectionProperties, runtime: Runtime<RK>) -> Self {
        Self {
            options,
            tls: OwnedTLSConfig::default(),
            runtime,
        }
    }
}

/// A connection being made, boxed.
pub(crate) type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<TracedConnection>> + Send + 'a>>;

/// Connecting, with lapin's own signatures; [`TraceConfig::new`] unless
/// [`with_trace_config`](Self::with_trace_config) says something else.
impl TracedConnection {
    /// Connects to the broker at `uri`.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect(uri: &str, options: ConnectionProperties) -> Result<Self> {
        let transport = Transport::new(options, default_runtime()?);
        Self::open_text(uri, transport).await
    }

    /// Connects to the broker at `uri`, on a runtime of its own.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_with_runtime<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        uri: &str,
        options: ConnectionProperties,
        runtime: Runtime<RK>,
    ) -> Result<Self> {
        Self::open_text(uri, Transport::new(options, runtime)).await
    }

    /// Connects to the broker at `uri`, with TLS settings and a runtime of its own.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_with_config<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        uri: &str,
        options: ConnectionProperties,
        config: OwnedTLSConfig,
        runtime: Runtime<RK>,
    ) -> Result<Self> {
        let transport = Transport {
            tls: config,
            ..Transport::new(options, runtime)
        };
        Self::open_text(uri, transport).await
    }

    /// Connects to the broker at a URI that is parsed already.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_uri(uri: AMQPUri, options: ConnectionProperties) -> Result<Self> {
        let transport = Transport::new(options, default_runtime()?);
        Self::open(uri, transport).await
    }

    /// [`connect_uri`](Self::connect_uri), on a runtime of its own.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_uri_with_runtime<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        uri: AMQPUri,
        options: ConnectionProperties,
        runtime: Runtime<RK>,
    ) -> Result<Self> {
        Self::open(uri, Transport::new(options, runtime)).await
    }

    /// [`connect_uri`](Self::connect_uri), with TLS settings and a runtime of its own.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_uri_with_config<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        uri: AMQPUri,
        options: ConnectionProperties,
        config: OwnedTLSConfig,
        runtime: Runtime<RK>,
    ) -> Result<Self> {
        let transport = Transport {
            tls: config,
            ..Transport::new(options, runtime)
        };
        Self::open(uri, transport).await
    }

    /// Connects over a transport that `connect` makes.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connector<RK: RuntimeKit + Clone + Send + 'static>(
        uri: AMQPUri,
        runtime: Runtime<RK>,
        connect: impl AsyncFn(
            AMQPUri,
            Runtime<RK>,
        ) -> Result<AsyncTcpStream<<RK as Reactor>::TcpStream>>
        + Send
        + Sync
        + 'static,
        options: ConnectionProperties,
    ) -> Result<Self> {
        let server = Server::of(&uri);
        let connection = Connection::connector(uri, runtime, connect, options).await?;
        Ok(Self::new(connection, TraceConfig::new()).at(server))
    }

    pub(crate) fn open_text<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        uri: &str,
        transport: Transport<RK>,
    ) -> Connecting<'_> {
        if let Ok(uri) = uri.parse() {
            return Self::open(uri, transport);
        }
        let Transport {
            options,
            tls,
            runtime,
        } = transport;
        // Only lapin can make its error of a URI that does not parse.
        let refused = Connection::connect_with_config(uri, options, tls, runtime);
        Box::pin(async move { Ok(Self::from(refused.await?)) })
    }

    /// Every way to connect over lapin's own transport ends here; boxed, as lapin has it too.
    pub(crate) fn open<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        uri: AMQPUri,
        transport: Transport<RK>,
    ) -> Connecting<'static> {
        Self::open_guarded(uri, transport, Guard::new())
    }

    fn open_guarded<RK: RuntimeKit + Send + Sync + Clone + 'static>(
        uri: AMQPUri,
        transport: Transport<RK>,
        guard: Guard,
    ) -> Connecting<'static> {
        Box::pin(async move {
            let server = Server::of(&uri);
            let Transport {
                options,
                tls,
                runtime,
            } = transport;
            let connection = guard.connect_uri_with_config(uri, options, tls, runtime);
            let mut connection = Self::from(connection.await?).at(server);
            connection.guard = Some(guard);
            Ok(connection)
        })
    }
}

impl TracedConnection {
    /// Connects to the broker at `uri`; its channels are traced as `config` says. The same as
    /// [`connect`](Self::connect) and [`with_trace_config`](Self::with_trace_config).
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_traced(
        uri: &str,
        options: ConnectionProperties,
        config: TraceConfig,
    ) -> Result<Self> {
        let connection = Self::connect(uri, options).await?;
        Ok(connection.with_trace_config(config))
    }

    /// Connects to the broker through a guard of the caller's, which counts what it changes.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    ///
    /// ```no_run
    /// use rabtrace_lapin::TracedConnection;
    /// use rabtrace_lapin::guard::Guard;
    /// use rabtrace_lapin::lapin::ConnectionProperties;
    /// use rabtrace_lapin::lapin::uri::AMQPUri;
    ///
    /// # async fn example() -> rabtrace_lapin::lapin::Result<()> {
    /// let guard = Guard::new().with_max_depth(16);
    /// let (uri, options) = (AMQPUri::default(), ConnectionProperties::default());
    /// let connection = TracedConnection::connect_guarded(uri, options, guard.clone()).await?;
    /// assert_eq!(guard.neutralised(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_guarded(
        uri: AMQPUri,
        options: ConnectionProperties,
        guard: Guard,
    ) -> Result<Self> {
        let transport = Transport::new(options, default_runtime()?);
        Self::open_guarded(uri, transport, guard).await
    }

    /// The guard that stands between the broker and lapin; `None` for a connection that was made
    /// elsewhere.
    #[must_use]
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Traces the channels of a connection. lapin does not tell its host and port: give them with
    /// [`TraceConfig::with_server`].
    #[must_use]
    pub fn new(connection: Connection, config: TraceConfig) -> Self {
        Self {
            inner: connection,
            server: None,
            config,
            guard: None,
            telemetry: OnceLock::new(),
        }
    }

    /// Channels that are created from now on are traced as `config` says; the broker's address is
    /// this connection's unless the configuration states another one.
    ///
    /// ```no_run
    /// use rabtrace_lapin::TraceConfig;
    /// use rabtrace_lapin::traced::{Connection, ConnectionProperties, uri::AMQPUri};
    ///
    /// # async fn example() -> rabtrace_lapin::traced::Result<()> {
    /// let uri = AMQPUri::default();
    /// let connection = Connection::connect_uri(uri, ConnectionProperties::default())
    ///     .await?
    ///     .with_trace_config(TraceConfig::new().with_service_name("planner"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_trace_config(mut self, config: TraceConfig) -> Self {
        self.config = config;
        self.telemetry = OnceLock::new();
        self
    }

    /// Opens a traced channel.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn create_channel(&self) -> Result<TracedChannel> {
        let channel = self.inner.create_channel().await?;
        let frame_max = self.inner.configuration().frame_max();
        let telemetry = self.telemetry.get_or_init(|| {
            let mut config = self.config.clone();
            if let Some(Server { address, port }) = &self.server {
                config = config.or_server(address, *port);
            }
            Arc::new(Telemetry::new(&config.with_frame_max(frame_max)))
        });
        let telemetry = Arc::clone(telemetry);
        let status = self.inner.status().clone();
        Ok(TracedChannel::of_connection(
            channel,
            telemetry,
            Some(status),
        ))
    }

    /// Blocks the thread until the connection is closed.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub fn run(self) -> Result<()> {
        self.inner.run()
    }

    /// The connection itself.
    #[must_use]
    pub fn into_inner(self) -> Connection {
        self.inner
    }

    fn at(mut self, server: Server) -> Self {
        self.server = Some(server);
        self
    }
}

impl From<Connection> for TracedConnection {
    fn from(connection: Connection) -> Self {
        Self::new(connection, TraceConfig::new())
    }
}

impl Deref for TracedConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.inner
    }
}
