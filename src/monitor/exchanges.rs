//! Exchanges: counters of the nodes where they have them (from 4.0 on), else those of the listing.

use std::sync::Arc;
use std::time::Instant;

use super::history::When;
use super::listing::reply;
use super::management::ExchangeList;
use super::per_name::PerName;
use super::prometheus::ScrapedExchange;
use super::rates::Rates;
use super::roster::Attendance;
use super::round::Round;
use super::select::Selector;
use super::totals::Totals;
use crate::model::ExchangeSample;

#[derive(Clone, Debug, Default)]
struct History {
    round: u64,
    totals: Totals<4>,
    rates: Rates<2>,
    counted_since_unix_nano: Option<i64>,
    /// What a listing told last.
    listed: [Option<u64>; 2],
}

/// What is remembered of exchanges.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    round: u64,
    known: PerName<History>,
    /// Types as they were listed last; none of one that was not listed.
    types: PerName<Option<Arc<str>>>,
    has_untyped: bool,
    /// Whether the nodes counted last, who count from elsewhere than a listing does.
    from_nodes: Option<bool>,
}

impl Exchanges {
    /// The exchanges of a round that `selector` lets in; none if no source of it has any.
    pub(super) fn merge(
        &mut self,
        attendance: &Attendance<'_>,
        round: &Round,
        (selector, when): (&Selector, When),
    ) -> Vec<ExchangeSample> {
        self.round += 1;
        let mut nodes = attendance.scrapes().peekable();
        let from_nodes = nodes.peek().is_some() && nodes.all(|(_, scrape)| scrape.has_exchanges);
        let listing = reply(round.exchanges.as_ref());
        if let Some(listing) = listing {
            self.learn(&listing.value, selector);
        }
        if from_nodes || listing.is_some() {
            self.stand_on(from_nodes);
        }
        let samples = match (from_nodes, listing) {
            (true, _) => self.counted(attendance, selector, when),
            (false, Some(listing)) => {
                let listed = listing.value.exchanges.iter();
                let listed = listed.filter(|exchange| selector.admits_vhost(&exchange.vhost));
                let mut samples: Vec<ExchangeSample> = listed.cloned().collect();
                for sample in &mut samples {
                    let history = self.known.shared_entry(&sample.vhost, &sample.exchange);
                    history.round = self.round;
                    history.take_listed(sample);
                    history.rate((listing.at, when.unix_nano), sample);
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
    fn learn(&mut self, list: &ExchangeList, selector: &Selector) {
        let mut types: PerName<Option<Arc<str>>> = PerName::default();
        for (vhost, exchange, _) in self.known.iter() {
            let before = self.types.get(vhost, exchange).cloned();
            types.insert(vhost, exchange, before.flatten());
        }
        let listed = list.exchanges.iter();
        for exchange in listed.filter(|exchange| selector.admits_vhost(&exchange.vhost)) {
            let kind = exchange.exchange_type.clone();
            types.insert(&exchange.vhost, &exchange.exchange, kind);
        }
        self.types = types;
    }

    fn stand_on(&mut self, from_nodes: bool) {
        if self.from_nodes.replace(from_nodes) == Some(!from_nodes) {
            self.known.values_mut().for_each(History::begin_anew);
        }
    }

    /// No rate spans what comes next.
    pub(super) fn forget_rates(&mut self) {
        self.known
            .values_mut()
            .for_each(|history| history.rates.clear());
    }

    fn counted(
        &mut self,
        attendance: &Attendance<'_>,
        selector: &Selector,
        when: When,
    ) -> Vec<ExchangeSample> {
        let at = attendance.at.unwrap_or(when.at);
        let mut names: PerName<()> = PerName::default();
        for (_, scrape) in attendance.scrapes() {
            let told = scrape.exchanges.iter();
            for (vhost, exchange, _) in told.filter(|(vhost, ..)| selector.admits_vhost(vhost)) {
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
                history.begin_anew();
            }
            if !seen.gap && !attendance.has_stranger {
                [
                    sample.messages_publish_in,
                    sample.messages_confirmed,
                    sample.messages_returned,
                    sample.messages_dropped,
                ] = seen.totals;
                history.rate((at, when.unix_nano), &mut sample);
            }
            sample
        };
        names.iter().map(sample).collect()
    }
}

impl History {
    /// What comes next cannot be compared with what was before.
    fn begin_anew(&mut self) {
        self.rates.clear();
        self.counted_since_unix_nano = None;
    }

    /// A listing whose counts fell, or went away, is of an exchange that was made anew.
    fn take_listed(&mut self, sample: &ExchangeSample) {
        let now = [sample.messages_publish_in, sample.messages_publish_out];
        let fell = |(before, now): (&Option<u64>, &Option<u64>)| now < before;
        if self.listed.iter().zip(&now).any(fell) {
            self.begin_anew();
        }
        self.listed = now;
    }

    fn rate(&mut self, (at, unix_nano): (Instant, i64), sample: &mut ExchangeSample) {
        let since = self.counted_since_unix_nano.get_or_insert(unix_nano);
        sample.counted_since_unix_nano = Some(*since);
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
