//! lapin's `Connect` and `ConnectionBuilder` for traced connections.

use async_rs::Runtime;
use async_rs::traits::RuntimeKit;
use lapin::runtime::default_runtime;
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{ConnectionProperties, Result};

use crate::connection::{Connecting, TracedConnection, Transport};

/// lapin's [`Connect`](lapin::Connect): addresses that open a [`TracedConnection`] themselves.
///
/// ```no_run
/// use rabtrace_lapin::traced::{Connect, ConnectionProperties};
///
/// # async fn example() -> rabtrace_lapin::traced::Result<()> {
/// let connection = "amqp://localhost".connect(ConnectionProperties::default()).await?;
/// # Ok(())
/// # }
/// ```
// Lifetimes are named and placed as `async_trait` does it, so that implementations that are made
// with that attribute for lapin's trait fit this one.
pub trait Connect {
    /// Connects with the default runtime and TLS settings. Errors are lapin's own.
    fn connect<'async_trait>(self, options: ConnectionProperties) -> Connecting<'async_trait>
    where
        Self: Sized + Send + 'async_trait,
    {
        Box::pin(async move {
            let tls = OwnedTLSConfig::default();
            self.connect_with_config(options, tls, default_runtime()?)
                .await
        })
    }

    /// Connects with these TLS settings, on this runtime. Errors are lapin's own.
    fn connect_with_config<'async_trait, RK>(
        self,
        options: ConnectionProperties,
        config: OwnedTLSConfig,
        runtime: Runtime<RK>,
    ) -> Connecting<'async_trait>
    where
        RK: RuntimeKit + Send + Sync + Clone + 'static + 'async_trait,
        Self: Sized + 'async_trait;
}

impl Connect for AMQPUri {
    fn connect_with_config<'async_trait, RK>(
        self,
        options: ConnectionProperties,
        config: OwnedTLSConfig,
        runtime: Runtime<RK>,
    ) -> Connecting<'async_trait>
    where
        RK: RuntimeKit + Send + Sync + Clone + 'static + 'async_trait,
        Self: 'async_trait,
    {
        let transport = Transport {
            options,
            tls: config,
            runtime,
        };
        TracedConnection::open(self, transport)
    }
}

impl Connect for &str {
    fn connect_with_config<'async_trait, RK>(
        self,
        options: ConnectionProperties,
        config: OwnedTLSConfig,
        runtime: Runtime<RK>,
    ) -> Connecting<'async_trait>
    where
        RK: RuntimeKit + Send + Sync + Clone + 'static + 'async_trait,
        Self: 'async_trait,
    {
        let transport = Transport {
            options,
            tls: config,
            runtime,
        };
        TracedConnection::open_text(self, transport)
    }
}

/// lapin's [`ConnectionBuilder`](lapin::ConnectionBuilder): address, properties and TLS settings
/// of a [`TracedConnection`] before it connects.
///
/// ```no_run
/// use rabtrace_lapin::traced::DefaultConnectionBuilder;
///
/// # async fn example() -> rabtrace_lapin::traced::Result<()> {
/// let connection = DefaultConnectionBuilder::new()?
///     .with_uri_str("amqp://localhost".into())
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectionBuilder<RK: RuntimeKit + Send + Sync + Clone + 'static> {
    runtime: Runtime<RK>,
    address: Address,
    properties: Option<ConnectionProperties>,
    tls_config: Option<OwnedTLSConfig>,
}

#[derive(Clone, Debug)]
enum Address {
    Text(String),
    Uri(AMQPUri),
    Unset,
}

/// lapin keeps the name of its default runtime to itself, and shows it as a builder's parameter.
pub trait BuilderKit {
    /// The runtime.
    type Kit: RuntimeKit + Send + Sync + Clone + 'static;
}

impl<RK: RuntimeKit + Send + Sync + Clone + 'static> BuilderKit for lapin::ConnectionBuilder<RK> {
    type Kit = RK;
}

/// A [`ConnectionBuilder`] on lapin's default runtime.
pub type DefaultConnectionBuilder =
    ConnectionBuilder<<lapin::DefaultConnectionBuilder as BuilderKit>::Kit>;

impl DefaultConnectionBuilder {
    /// A builder on lapin's default runtime.
    ///
    /// # Errors
    ///
    /// lapin's own, if it was built without a runtime.
    pub fn new() -> Result<Self> {
        Ok(Self::new_with_runtime(default_runtime()?))
    }
}

impl<RK: RuntimeKit + Send + Sync + Clone + 'static> ConnectionBuilder<RK> {
    /// A builder on this runtime.
    pub fn new_with_runtime(runtime: Runtime<RK>) -> Self {
        Self {
            runtime,
            address: Address::Unset,
            properties: None,
            tls_config: None,
        }
    }

    /// The broker's URI.
    #[must_use]
    pub fn with_uri(mut self, uri: AMQPUri) -> Self {
        self.address = Address::Uri(uri);
        self
    }

    /// The broker's URI as text, parsed when connecting.
    #[must_use]
    pub fn with_uri_str(mut self, uri: String) -> Self {
        self.address = Address::Text(uri);
        self
    }

    /// The connection's properties.
    #[must_use]
    pub fn with_properties(mut self, properties: ConnectionProperties) -> Self {
        self.properties = Some(properties);
        self
    }

    /// The TLS settings.
    #[must_use]
    pub fn with_tls_config(mut self, tls_config: OwnedTLSConfig) -> Self {
        self.tls_config = Some(tls_config);
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// lapin's own, unchanged; one of them if there is no URI.
    pub async fn connect(&self) -> Result<TracedConnection> {
        let transport = Transport {
            options: self.properties.clone().unwrap_or_default(),
            tls: self.tls_config.clone().unwrap_or_default(),
            runtime: self.runtime.clone(),
        };
        match self.address.clone() {
            Address::Text(uri) => TracedConnection::open_text(&uri, transport).await,
            Address::Uri(uri) => TracedConnection::open(uri, transport).await,
            Address::Unset => {
                // Only lapin can make its error of a builder without URI.
                let builder = lapin::ConnectionBuilder::new_with_runtime(transport.runtime);
                builder.connect().await.map(TracedConnection::from)
            }
        }
    }
}
