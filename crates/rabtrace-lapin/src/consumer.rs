//! Consumers: a stream of deliveries, or a delegate that is called with each.
//!
//! A delivery's span starts when the stream yields it or the delegate is called, never while it
//! waits in lapin's buffer. In a delegate, the future runs with the delivery's context active. In the
//! body of a loop over the stream, a publish belongs to the delivery that the task took last.

use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use lapin::types::ShortString;
use opentelemetry::Context;
use opentelemetry::trace::FutureExt;

use crate::delivery::{Delivery, DeliveryResult};
use crate::operation::Operation;
use crate::source::{HandOut, Source, Taken};

/// lapin's [`Consumer`](lapin::Consumer), its deliveries with spans.
#[derive(Clone, Debug)]
pub struct TracedConsumer {
    inner: lapin::Consumer,
    source: Arc<Source>,
}

impl TracedConsumer {
    pub(crate) fn new(inner: lapin::Consumer, source: Arc<Source>) -> Self {
        Self { inner, source }
    }

    /// The consumer tag.
    #[must_use]
    pub fn tag(&self) -> ShortString {
        self.inner.tag()
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> ShortString {
        self.inner.queue()
    }

    /// Calls the delegate with each delivery, in tasks of their own.
    ///
    /// ```no_run
    /// use rabtrace_lapin::TracedConsumer;
    /// use rabtrace_lapin::lapin::options::BasicAckOptions;
    /// use rabtrace_lapin::message::DeliveryResult;
    ///
    /// # fn example(consumer: &TracedConsumer) {
    /// consumer.set_delegate(|delivery: DeliveryResult| async move {
    ///     if let Ok(Some(delivery)) = delivery {
    ///         // Spans and publishes in here belong to the delivery.
    ///         if let Err(error) = delivery.ack(BasicAckOptions::default()).await {
    ///             eprintln!("not acknowledged: {error}");
    ///         }
    ///     }
    /// });
    /// # }
    /// ```
    pub fn set_delegate<D: ConsumerDelegate + 'static>(&self, delegate: D) {
        self.inner.set_delegate(Traced {
            delegate,
            source: Arc::clone(&self.source),
        });
    }
}

impl Stream for TracedConsumer {
    type Item = lapin::Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        // Deliveries are large: none is moved about more often than it need be.
        match Pin::new(&mut self.inner).poll_next(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(delivery))) => {
                let how = HandOut {
                    ambient: &Context::current(),
                    taken: Taken::ByTask,
                    operation: Operation::Process,
                };
                Poll::Ready(Some(Ok(self.source.hand_out(delivery, how))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.source.stopped(Some(&error));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.source.stopped(None);
                Poll::Ready(None)
            }
        }
    }
}

/// lapin's [`ConsumerDelegate`](lapin::ConsumerDelegate) for traced deliveries. Any
/// `Fn(DeliveryResult) -> impl Future<Output = ()>` is one.
pub trait ConsumerDelegate: Send + Sync {
    /// Called with each delivery, with `None` when the consumer is cancelled, and with errors.
    fn on_new_delivery(&self, delivery: DeliveryResult)
    -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Called when deliveries that were not handled yet are to be given up.
    fn drop_prefetched_messages(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(future::ready(()))
    }
}

impl<F, H> ConsumerDelegate for H
where
    F: Future<Output = ()> + Send + 'static,
    H: Fn(DeliveryResult) -> F + Send + Sync + 'static,
{
    fn on_new_delivery(
        &self,
        delivery: DeliveryResult,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self(delivery))
    }
}

struct Traced<D> {
    delegate: D,
    source: Arc<Source>,
}

impl<D: ConsumerDelegate> lapin::ConsumerDelegate for Traced<D> {
    fn on_new_delivery(
        &self,
        delivery: lapin::message::DeliveryResult,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let delivery = match delivery {
            Ok(Some(delivery)) => delivery,
            Ok(None) => {
                self.source.stopped(None);
                return self.delegate.on_new_delivery(Ok(None));
            }
            Err(error) => {
                self.source.stopped(Some(&error));
                return self.delegate.on_new_delivery(Err(error));
            }
        };
        // lapin's thread calls this: what is active there is not the application's.
        let how = HandOut {
            ambient: &Context::new(),
            taken: Taken::ByDelegate,
            operation: Operation::Process,
        };
        let delivery = self.source.hand_out(delivery, how);
        let context = delivery.context();
        let handled = {
            let _active = context.clone().attach();
            self.delegate.on_new_delivery(Ok(Some(delivery)))
        };
        Box::pin(handled.with_context(context))
    }

    fn drop_prefetched_messages(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.delegate.drop_prefetched_messages()
    }
}
