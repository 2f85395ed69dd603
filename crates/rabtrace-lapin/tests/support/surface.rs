//! The calls of what is traced, compiled against lapin and against this crate alike.

/// Functions that call a type's methods by path, and the list of the methods' names.
macro_rules! methods {
    ($list:ident, $type:ident {
        $(async $name:ident($($argument:ident: $kind:ty),*) -> $output:ty;)*
        $(fn $plain:ident($($plain_argument:ident: $plain_kind:ty),*) -> $plain_output:ty;)*
    }) => {
        $(pub(crate) fn $name(
            this: &$type,
            $($argument: $kind),*
        ) -> impl Future<Output = Result<$output>> + Send {
            $type::$name(this, $($argument),*)
        })*
        $(pub(crate) fn $plain(this: &$type, $($plain_argument: $plain_kind),*) -> $plain_output {
            $type::$plain(this, $($plain_argument),*)
        })*
        pub(crate) const $list: &[&str] =
            &[$(stringify!($name),)* $(stringify!($plain),)*];
    };
}

/// Functions that call what makes a connection.
macro_rules! connects {
    ($list:ident, $type:ident {
        $($name:ident($($argument:ident: $kind:ty),*);)*
    }) => {
        $(pub(crate) fn $name(
            $($argument: $kind),*
        ) -> impl Future<Output = Result<$type>> + Send {
            $type::$name($($argument),*)
        })*
        pub(crate) const $list: &[&str] = &[$(stringify!($name)),*];
    };
}

macro_rules! surface {
    ($module:ident, $($lapin:ident)::+) => {
        #[expect(dead_code, reason = "compiled, and called by nobody")]
        #[expect(clippy::too_many_arguments, reason = "the signatures are lapin's")]
        pub(crate) mod $module {
            use std::pin::Pin;

            use async_rs::traits::Reactor;
            use async_rs::{Runtime, Tokio};
            use $($lapin)::+::message::{
                BasicGetMessage, BasicReturnMessage, Delivery, DeliveryResult,
            };
            use $($lapin)::+::options::{
                BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
                BasicPublishOptions, BasicRecoverAsyncOptions, BasicRecoverOptions,
                BasicRejectOptions,
            };
            use $($lapin)::+::protocol::AMQPError;
            use $($lapin)::+::tcp::{AsyncTcpStream, OwnedTLSConfig};
            use $($lapin)::+::types::{DeliveryTag, FieldTable, MessageCount, ReplyCode, ShortString};
            use $($lapin)::+::uri::AMQPUri;
            use $($lapin)::+::{
                Acker, BasicProperties, Channel, Confirmation, Connect, Connection,
                ConnectionBuilder, ConnectionProperties, Consumer, ConsumerDelegate,
                DefaultConnectionBuilder, PublisherConfirm, Result,
            };

            pub(crate) mod channel {
                use super::*;
                methods!(LIST, Channel {
                    async basic_ack(tag: DeliveryTag, options: BasicAckOptions) -> ();
                    async basic_consume(
                        queue: ShortString,
                        tag: ShortString,
                        options: BasicConsumeOptions,
                        arguments: FieldTable
                    ) -> Consumer;
                    async basic_get(
                        queue: ShortString,
                        options: BasicGetOptions
                    ) -> Option<BasicGetMessage>;
                    async basic_nack(tag: DeliveryTag, options: BasicNackOptions) -> ();
                    async basic_publish(
                        exchange: ShortString,
                        key: ShortString,
                        options: BasicPublishOptions,
                        payload: &[u8],
                        properties: BasicProperties
                    ) -> PublisherConfirm;
                    async basic_recover(options: BasicRecoverOptions) -> ();
                    async basic_recover_async(options: BasicRecoverAsyncOptions) -> ();
                    async basic_reject(tag: DeliveryTag, options: BasicRejectOptions) -> ();
                    async tx_commit() -> ();
                    async tx_rollback() -> ();
                    async tx_select() -> ();
                    async wait_for_confirms() -> Vec<BasicReturnMessage>;
                });
            }
            pub(crate) const CHANNEL: &[&str] = channel::LIST;

            pub(crate) mod acker {
                use super::*;
                methods!(LIST, Acker {
                    async ack(options: BasicAckOptions) -> bool;
                    async nack(options: BasicNackOptions) -> bool;
                    async reject(options: BasicRejectOptions) -> bool;
                    fn poisoned() -> bool;
                    fn usable() -> bool;
                });
            }
            pub(crate) const ACKER: &[&str] = acker::LIST;

            pub(crate) mod consumer {
                use super::*;
                type Delegate = fn(DeliveryResult) -> std::future::Ready<()>;
                methods!(LIST, Consumer {
                    fn queue() -> ShortString;
                    fn set_delegate(delegate: Delegate) -> ();
                    fn tag() -> ShortString;
                });
            }
            pub(crate) const CONSUMER: &[&str] = consumer::LIST;

            pub(crate) mod confirmation {
                use super::*;
                methods!(LIST, Confirmation {
                    fn is_ack() -> bool;
                    fn is_nack() -> bool;
                });
                pub(crate) fn take_message(this: Confirmation) -> Option<BasicReturnMessage> {
                    Confirmation::take_message(this)
                }
            }
            pub(crate) const CONFIRMATION: &[&str] =
                &[confirmation::LIST[0], confirmation::LIST[1], "take_message"];

            pub(crate) mod connection {
                use super::*;
                connects!(LIST, Connection {
                    connect(uri: &str, options: ConnectionProperties);
                    connect_uri(uri: AMQPUri, options: ConnectionProperties);
                    connect_uri_with_config(
                        uri: AMQPUri,
                        options: ConnectionProperties,
                        config: OwnedTLSConfig,
                        runtime: Runtime<Tokio>
                    );
                    connect_uri_with_runtime(
                        uri: AMQPUri,
                        options: ConnectionProperties,
                        runtime: Runtime<Tokio>
                    );
                    connect_with_config(
                        uri: &str,
                        options: ConnectionProperties,
                        config: OwnedTLSConfig,
                        runtime: Runtime<Tokio>
                    );
                    connect_with_runtime(
                        uri: &str,
                        options: ConnectionProperties,
                        runtime: Runtime<Tokio>
                    );
                });
                type Stream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;
                pub(crate) fn connector(
                    uri: AMQPUri,
                    runtime: Runtime<Tokio>,
                    connect: impl AsyncFn(AMQPUri, Runtime<Tokio>) -> Result<Stream>
                    + Send
                    + Sync
                    + 'static,
                    options: ConnectionProperties,
                ) -> impl Future<Output = Result<Connection>> {
                    Connection::connector(uri, runtime, connect, options)
                }
                pub(crate) fn create_channel(
                    this: &Connection,
                ) -> impl Future<Output = Result<Channel>> + Send {
                    Connection::create_channel(this)
                }
                pub(crate) fn run(this: Connection) -> Result<()> {
                    Connection::run(this)
                }
            }
            pub(crate) const CONNECTION: &[&str] = &[
                connection::LIST[0],
                connection::LIST[1],
                connection::LIST[2],
                connection::LIST[3],
                connection::LIST[4],
                connection::LIST[5],
                "connector",
                "create_channel",
                "run",
            ];

            type Kit = ConnectionBuilder<Tokio>;
            pub(crate) fn builder(runtime: Runtime<Tokio>, tls: OwnedTLSConfig) -> Kit {
                Kit::new_with_runtime(runtime)
                    .with_uri(AMQPUri::default())
                    .with_uri_str(String::new())
                    .with_properties(ConnectionProperties::default())
                    .with_tls_config(tls)
            }
            pub(crate) fn default_builder() -> Result<DefaultConnectionBuilder> {
                DefaultConnectionBuilder::new()
            }
            pub(crate) fn build(
                builder: &Kit,
            ) -> impl Future<Output = Result<Connection>> + Send {
                builder.connect()
            }
            pub(crate) const BUILDER: &[&str] = &[
                "connect",
                "new_with_runtime",
                "with_properties",
                "with_tls_config",
                "with_uri",
                "with_uri_str",
            ];

            // Traits, fields and variants, all of them named.
            pub(crate) fn delegate(
                this: &dyn ConsumerDelegate,
                delivery: DeliveryResult,
            ) -> [Pin<Box<dyn Future<Output = ()> + Send>>; 2] {
                [this.on_new_delivery(delivery), this.drop_prefetched_messages()]
            }
            pub(crate) fn connect<'a>(
                address: &'a str,
                options: ConnectionProperties,
            ) -> Pin<Box<dyn Future<Output = Result<Connection>> + Send + 'a>> {
                Connect::connect(address, options)
            }
            pub(crate) fn connect_with_config(
                address: AMQPUri,
                options: ConnectionProperties,
                config: OwnedTLSConfig,
                runtime: Runtime<Tokio>,
            ) -> Pin<Box<dyn Future<Output = Result<Connection>> + Send>> {
                Connect::connect_with_config(address, options, config, runtime)
            }
            pub(crate) fn get(message: BasicGetMessage) -> (Delivery, MessageCount) {
                let BasicGetMessage { delivery, message_count } = message;
                (delivery, message_count)
            }
            pub(crate) fn returned(confirmation: Confirmation) -> Option<(Delivery, ReplyCode)> {
                match confirmation {
                    Confirmation::Ack(message) | Confirmation::Nack(message) => {
                        let BasicReturnMessage { delivery, reply_code, reply_text: _ } = message?;
                        Some((delivery, reply_code))
                    }
                    Confirmation::NotRequested => None,
                }
            }
            pub(crate) fn error(message: &BasicReturnMessage) -> Option<AMQPError> {
                BasicReturnMessage::error(message)
            }
            pub(crate) fn delivery(delivery: Delivery) -> Delivery {
                let Delivery {
                    delivery_tag,
                    exchange,
                    routing_key,
                    redelivered,
                    properties,
                    data,
                    acker,
                } = delivery;
                let mock = Delivery::mock(delivery_tag, exchange, routing_key, redelivered, data);
                Delivery { properties, acker, ..mock }
            }
        }
    };
}

surface!(lapins, lapin);
surface!(ours, rabtrace_lapin::traced);
