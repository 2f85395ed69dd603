//! An exchange.

use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;

use super::encode::{Resourced, Times, count_point, text};
use super::metrics as of;
use crate::model::ExchangeSample;

/// One exchange; none if nothing was counted of it.
pub(super) fn exchange(
    cluster: &str,
    exchange: &ExchangeSample,
    times: Times,
) -> Option<ResourceMetrics> {
    let counted = times.since(exchange.counted_since_unix_nano);
    // The default exchange has an empty name, as the receiver has it.
    let mut metrics = Resourced::new(cluster)
        .attribute("rabbitmq.vhost.name", Some(&exchange.vhost))
        .name("rabbitmq.exchange.name", &exchange.exchange)
        .attribute("rabbitmq.exchange.type", exchange.exchange_type.as_deref());
    metrics.count(&of::PUBLISHED_IN, counted, exchange.messages_publish_in);
    metrics.count(&of::PUBLISHED_OUT, counted, exchange.messages_publish_out);
    metrics.count(&of::CONFIRMED, counted, exchange.messages_confirmed);
    let reasons = [
        ("returned", exchange.messages_returned),
        ("dropped", exchange.messages_dropped),
    ];
    let dropped = |(reason, count): (&str, Option<u64>)| {
        Some(count_point(counted, count?, vec![text("reason", reason)]))
    };
    metrics.points(&of::DROPPED, reasons.into_iter().filter_map(dropped));
    metrics.count(&of::EXCHANGES_FOLDED, times, exchange.folded);
    metrics.done()
}
