//! Fan-in: the context of work on several deliveries at a time.
//!
//! Input: deliveries, and the context that is active. Output: a context in which every publish
//! continues the paths of all of them. Of the publishes that are linked to, those beyond 128 are
//! left out, as an SDK would.

use std::sync::Arc;

use opentelemetry::Context;

use crate::delivery::Delivery;
use crate::telemetry::{Handled, Several};

/// Links that a span has at most: the default of OpenTelemetry's SDKs.
const LINKS: usize = 128;

/// The active context, for messages that are made of several deliveries: a batch, or parts that
/// belong together. A publish under it has the paths of all of them as parents, and links to their
/// publishes. It is part of the active span's trace; without one it begins a trace of its own.
///
/// At most 16 different paths go in by name; what goes beyond them is one more,
/// [`OTHER_PATHS`](crate::path::OTHER_PATHS). Deliveries that are not traced do not count.
///
/// ```no_run
/// use rabtrace_lapin::lapin::options::{BasicAckOptions, BasicPublishOptions};
/// use rabtrace_lapin::lapin::{BasicProperties, Result};
/// use rabtrace_lapin::message::Delivery;
/// use rabtrace_lapin::opentelemetry::trace::FutureExt;
/// use rabtrace_lapin::{TracedChannel, merged_context};
///
/// # async fn example(channel: TracedChannel, batch: Vec<Delivery>) -> Result<()> {
/// let options = BasicPublishOptions::default();
/// let (body, properties) = (b"all of them", BasicProperties::default());
/// channel
///     .basic_publish("".into(), "joined".into(), options, body, properties)
///     .with_context(merged_context(&batch))
///     .await?;
/// for delivery in &batch {
///     delivery.ack(BasicAckOptions::default()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn merged_context<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> Context {
    let deliveries = deliveries.into_iter();
    let traced = deliveries.filter_map(|delivery| Some(&delivery.acker.process()?.traced));
    let (mut paths, mut creations) = (Vec::new(), Vec::new());
    for traced in traced {
        paths.push(traced.handled.path);
        if creations.len() < LINKS {
            creations.extend(traced.creation.clone());
        }
    }
    let context = Context::current();
    match paths.first().copied() {
        None => context,
        Some(path) => context.with_value(Handled {
            path,
            creation: None,
            reply_to: None,
            merged: Some(Arc::new(Several { paths, creations })),
        }),
    }
}
