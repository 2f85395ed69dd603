//! A connection whose channels are traced and know their broker's address.

use std::ops::Deref;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Result};

use crate::channel::TracedChannel;
use crate::config::TraceConfig;
use crate::guard::Guard;

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
    config: TraceConfig,
    guard: Option<Guard>,
}

impl TracedConnection {
    /// Connects to the broker at `uri`; the default [`TraceConfig`].
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect(uri: &str, options: ConnectionProperties) -> Result<Self> {
        Self::connect_with_config(uri, options, TraceConfig::new()).await
    }

    /// Connects to the broker at `uri`.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_with_config(
        uri: &str,
        options: ConnectionProperties,
        config: TraceConfig,
    ) -> Result<Self> {
        match uri.parse::<AMQPUri>() {
            Ok(uri) => Self::connect_uri(uri, options, config).await,
            // lapin says what is wrong with it.
            Err(_) => Ok(Self::new(Connection::connect(uri, options).await?, config)),
        }
    }

    /// Connects to the broker at a URI that is parsed already.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn connect_uri(
        uri: AMQPUri,
        options: ConnectionProperties,
        config: TraceConfig,
    ) -> Result<Self> {
        Self::connect_guarded(uri, options, config, Guard::new()).await
    }

    /// Connects to the broker through a guard of the caller's, which counts what it changes.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    ///
    /// ```no_run
    /// use rabtrace_lapin::guard::Guard;
    /// use rabtrace_lapin::lapin::ConnectionProperties;
    /// use rabtrace_lapin::lapin::uri::AMQPUri;
    /// use rabtrace_lapin::{TraceConfig, TracedConnection};
    ///
    /// # async fn example() -> rabtrace_lapin::lapin::Result<()> {
    /// let guard = Guard::new().with_max_depth(16);
    /// let (uri, options) = (AMQPUri::default(), ConnectionProperties::default());
    /// let config = TraceConfig::new();
    /// let connection =
    ///     TracedConnection::connect_guarded(uri, options, config, guard.clone()).await?;
    /// assert_eq!(guard.neutralised(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_guarded(
        uri: AMQPUri,
        options: ConnectionProperties,
        config: TraceConfig,
        guard: Guard,
    ) -> Result<Self> {
        let config = config.or_server(&uri.authority.host, uri.authority.port);
        let inner = guard.connect_uri(uri, options).await?;
        Ok(Self {
            inner,
            config,
            guard: Some(guard),
        })
    }

    /// Traces the channels of a connection. lapin does not tell its host and port: give them with
    /// [`TraceConfig::with_server`].
    #[must_use]
    pub fn new(connection: Connection, config: TraceConfig) -> Self {
        Self {
            inner: connection,
            config,
            guard: None,
        }
    }

    /// The guard that stands between the broker and lapin; `None` for a connection that was made
    /// elsewhere.
    #[must_use]
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Opens a traced channel.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged.
    pub async fn create_channel(&self) -> Result<TracedChannel> {
        let channel = self.inner.create_channel().await?;
        let frame_max = self.inner.configuration().frame_max();
        let config = self.config.clone().with_frame_max(frame_max);
        Ok(TracedChannel::with_config(channel, &config))
    }

    /// The connection itself.
    #[must_use]
    pub fn into_inner(self) -> Connection {
        self.inner
    }
}

impl Deref for TracedConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.inner
    }
}
