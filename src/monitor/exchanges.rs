//! Exchanges: counters of the nodes where they have them (from 4.0 on), else those of the listing.

use std::sync::Arc;
use std::time::Instant;

use super::listing::reply;
use super::management::ExchangeList;
use super::per_name::PerName;
use super::prometheus::ScrapedExchange;
use super::rates::Rates;
use super::roster::Attendance;
use super::round::Round;
use super::totals::Totals;
use crate::model::ExchangeSample;

#[derive(Clone, Debug, Default)]
struct History {
    round: u64,
    totals: Totals<4>,
    rates: Rates<2>,
}

/// What is remembered of exchanges.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    round: u64,
    known: PerName<History>,
    /// Types as they were listed last; none of one that was not listed.
    types: PerName<Option<Arc<str>>>,
    has_untyped: bool,
}

impl Exchanges {
    /// The exchanges of a round; none if no source of it has any.
    pub(super) fn merge(
        &mut self,
        attendance: &Attendance<'_>,
        round: &Round,
        now: Instant,
    ) -> Vec<ExchangeSample> {
        self.round += 1;
        let mut nodes = attendance.scrapes().peekable();
        let from_nodes = nodes.peek().is_some() && nodes.all(|(_, scrape)| scrape.has_exchanges);
        let listing = reply(round.exchanges.as_ref());
        if let Some(listing) = listing {
            self.learn(&listing.value);
        }
        let samples = match (from_nodes, listing) {
            (true, _) => self.counted(attendance, attendance.at.unwrap_or(now)),
            (false, Some(listing)) => {
                let mut samples = listing.value.exchanges.clone();
                for sample in &mut samples {
                    let history = self.known.shared_entry(&sample.vhost, &sample.exchange);
                    history.round = self.round;
                    history.rate(listing.at, sample);
                }
                samples
            }
            (false, None) => return Vec::new(),
        };
        let round = self.round;
        if attendance.is_whole() {
            self.known.retain(|history| history.round == round);
        }
        let known = &self.known;
        self.types.retain_named(|vhost, exchange, kind| {
            kind.is_some() || known.get(vhost, exchange).is_some()
        });
        samples
    }

    /// Whether a node told of an exchange that came after the last listing.
    pub(super) const fn has_untyped(&self) -> bool {
        self.has_untyped
    }

    /// What was not listed is gone, or goes soon: it keeps its type, and is not asked for again.
    fn learn(&mut self, list: &ExchangeList) {
        let mut types: PerName<Option<Arc<str>>> = PerName::default();
        for (vhost, exchange, _) in self.known.iter() {
            let before = self.types.get(vhost, exchange).cloned();
            types.insert(vhost, exchange, before.flatten());
        }
        for exchange in &list.exchanges {
            let kind = exchange.exchange_type.clone();
            types.insert(&exchange.vhost, &exchange.exchange, kind);
        }
        self.types = types;
    }

    /// No rate spans what comes next.
    pub(super) fn forget_rates(&mut self) {
        self.known
            .values_mut()
            .for_each(|history| history.rates.clear());
    }

    fn counted(&mut self, attendance: &Attendance<'_>, at: Instant) -> Vec<ExchangeSample> {
        let mut names: PerName<()> = PerName::default();
        for (_, scrape) in attendance.scrapes() {
            for (vhost, exchange, _) in scrape.exchanges.iter() {
                names.insert(vhost, exchange, ());
            }
        }
        self.has_untyped = false;
        let sample = |(vhost, exchange, ()): (&Arc<str>, &Arc<str>, &())| {
            let kind = self.types.get(vhost, exchange);
            self.has_untyped |= kind.is_none();
            let mut sample = ExchangeSample {
                vhost: vhost.clone(),
                exchange: exchange.clone(),
                exchange_type: kind.cloned().flatten(),
                ..ExchangeSample::default()
            };
            let said = attendance.said(|scrape| {
                scrape
                    .exchanges
                    .get(vhost, exchange)
                    .map_or([None; 4], counts)
            });
            let history = self.known.shared_entry(vhost, exchange);
            history.round = self.round;
            let seen = history.totals.observe(said);
            if seen.broken {
                history.rates.clear();
            }
            if !seen.gap && !attendance.has_stranger {
                [
                    sample.messages_publish_in,
                    sample.messages_confirmed,
                    sample.messages_returned,
                    sample.messages_dropped,
                ] = seen.totals;
                history.rate(at, &mut sample);
            }
            sample
        };
        names.iter().map(sample).collect()
    }
}

impl History {
    fn rate(&mut self, at: Instant, sample: &mut ExchangeSample) {
        let totals = [sample.messages_publish_in, sample.messages_publish_out];
        [
            sample.messages_publish_in_rate,
            sample.messages_publish_out_rate,
        ] = self.rates.observe(at, totals);
    }
}

fn counts(exchange: &ScrapedExchange) -> [Option<u64>; 4] {
    [
        exchange.published,
        exchange.confirmed,
        exchange.returned,
        exchange.dropped,
    ]
}
