//! What a program may count on beyond calls: types that cross threads, and futures that do.

macro_rules! promises {
    ($module:ident, $($lapin:ident)::+) => {
        pub(crate) mod $module {
            use std::fmt::Debug;

            use futures_util::stream::Stream;
            use $($lapin)::+::message::{BasicGetMessage, BasicReturnMessage, Delivery};
            use $($lapin)::+::options::*;
            use $($lapin)::+::types::FieldTable;
            use $($lapin)::+::{
                Acker, BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
                Consumer, ConsumerDelegate, PublisherConfirm, Result,
            };

            fn shared<T: Send + Sync + Unpin + Debug + 'static>() {}
            fn cloned<T: Clone>() {}
            fn compared<T: PartialEq>() {}
            fn streams<T: Stream<Item = Result<Delivery>>>() {}
            fn resolves<T: Future<Output = Result<Confirmation>>>() {}
            fn delegates<T: ConsumerDelegate + ?Sized>() {}

            /// Every promise about the types; compiled is kept.
            pub(crate) fn types() {
                shared::<Acker>();
                shared::<BasicGetMessage>();
                shared::<BasicReturnMessage>();
                shared::<Channel>();
                shared::<Confirmation>();
                shared::<Connection>();
                shared::<Consumer>();
                shared::<Delivery>();
                shared::<PublisherConfirm>();
                cloned::<Acker>();
                cloned::<Channel>();
                cloned::<Consumer>();
                compared::<Acker>();
                compared::<BasicGetMessage>();
                compared::<BasicReturnMessage>();
                compared::<Channel>();
                compared::<Confirmation>();
                compared::<Delivery>();
                streams::<Consumer>();
                resolves::<PublisherConfirm>();
                delegates::<dyn ConsumerDelegate>();
            }

            /// The size of the future that a call gives, the call not made.
            fn size<A, F: Future + Send + 'static>(_call: impl FnOnce(A) -> F) -> usize {
                size_of::<F>()
            }

            type OnChannel = &'static Channel;
            type OnAcker = &'static Acker;

            /// Bytes of each call's future.
            pub(crate) fn futures() -> Vec<(&'static str, usize)> {
                vec![
                    ("connect", size(|uri: &'static str| {
                        Connection::connect(uri, ConnectionProperties::default())
                    })),
                    ("create_channel", size(|this: &'static Connection| this.create_channel())),
                    ("basic_publish", size(|this: OnChannel| this.basic_publish(
                        "".into(),
                        "".into(),
                        BasicPublishOptions::default(),
                        b"",
                        BasicProperties::default(),
                    ))),
                    ("basic_consume", size(|this: OnChannel| this.basic_consume(
                        "".into(),
                        "".into(),
                        BasicConsumeOptions::default(),
                        FieldTable::default(),
                    ))),
                    ("basic_get", size(|this: OnChannel| {
                        this.basic_get("".into(), BasicGetOptions::default())
                    })),
                    ("basic_ack", size(|this: OnChannel| {
                        this.basic_ack(1, BasicAckOptions::default())
                    })),
                    ("basic_nack", size(|this: OnChannel| {
                        this.basic_nack(1, BasicNackOptions::default())
                    })),
                    ("basic_reject", size(|this: OnChannel| {
                        this.basic_reject(1, BasicRejectOptions::default())
                    })),
                    ("basic_recover", size(|this: OnChannel| {
                        this.basic_recover(BasicRecoverOptions::default())
                    })),
                    ("wait_for_confirms", size(|this: OnChannel| this.wait_for_confirms())),
                    ("tx_select", size(|this: OnChannel| this.tx_select())),
                    ("tx_commit", size(|this: OnChannel| this.tx_commit())),
                    ("tx_rollback", size(|this: OnChannel| this.tx_rollback())),
                    ("PublisherConfirm", size(|this: PublisherConfirm| this)),
                    ("ack", size(|this: OnAcker| this.ack(BasicAckOptions::default()))),
                    ("nack", size(|this: OnAcker| this.nack(BasicNackOptions::default()))),
                    ("reject", size(|this: OnAcker| this.reject(BasicRejectOptions::default()))),
                ]
            }
        }
    };
}

promises!(lapins, lapin);
promises!(ours, rabtrace_lapin::traced);
