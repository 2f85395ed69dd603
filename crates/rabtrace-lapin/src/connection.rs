//! A connection whose channels are traced and know their broker's address.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, Result};

use crate::channel::TracedChannel;
use crate::config::TraceConfig;
use crate::telemetry::Telemetry;

/// A [`lapin::Connection`] that makes [`TracedChannel`]s.
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
    /// Made with the first channel: the global providers of that time count.
    telemetry: OnceLock<Arc<Telemetry>>,
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
        let connection = Connection::connect(uri, options).await?;
        let config = match uri.parse::<AMQPUri>() {
            Ok(uri) => config.or_server(&uri.authority.host, uri.authority.port),
            Err(_) => config,
        };
        Ok(Self::new(connection, config))
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
        let config = config.or_server(&uri.authority.host, uri.authority.port);
        let connection = Connection::connect_uri(uri, options).await?;
        Ok(Self::new(connection, config))
    }

    /// Traces the channels of a connection. lapin does not tell its host and port: give them with
    /// [`TraceConfig::with_server`].
    #[must_use]
    pub fn new(connection: Connection, config: TraceConfig) -> Self {
        Self {
            inner: connection,
            config,
            telemetry: OnceLock::new(),
        }
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
            let config = self.config.clone().with_frame_max(frame_max);
            Arc::new(Telemetry::new(&config))
        });
        let status = self.inner.status().clone();
        let telemetry = Arc::clone(telemetry);
        Ok(TracedChannel::of_connection(
            channel,
            telemetry,
            Some(status),
        ))
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
