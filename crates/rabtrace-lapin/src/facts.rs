//! What happened to a message before a delivery: attempts, dead-lettering, where its time went.
//!
//! Input: a delivery, its queue, the context and the path that it brought. Output: facts for its
//! span, and the edge by which its path came here.

use lapin::message::Delivery;
use opentelemetry::KeyValue;

use crate::history::{self, Death, History, Waits};
use crate::path::{EdgeKind, PathContext};
use crate::propagation::Found;
use crate::recent::{self, Attempt, Ids};
use crate::semconv::{self, Destination};

/// A delivery as it came.
#[derive(Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) queue: &'a str,
    pub(crate) found: Found<'a>,
    /// The publish of the message.
    pub(crate) creation: Option<Ids>,
    pub(crate) path: Option<&'a PathContext>,
}

/// What happened to the message before, and where its time went.
pub(crate) struct Facts<'a> {
    pub(crate) attempt: u64,
    history: History<'a>,
    waits: Waits,
    /// The attempt before.
    pub(crate) previous: Option<Attempt>,
    /// When the broker got the message, in microseconds since the Unix epoch.
    pub(crate) received_us: Option<u64>,
}

impl<'a> Facts<'a> {
    pub(crate) fn read(arrived: Arrived<'a>, now_us: u64) -> Self {
        let Arrived {
            delivery, queue, ..
        } = arrived;
        let headers = delivery.properties.headers().as_ref();
        let told = headers.filter(|_| arrived.found.has_history || delivery.redelivered);
        let Some(headers) = told else {
            return Self {
                attempt: 1 + u64::from(delivery.redelivered),
                history: History::default(),
                waits: Waits::default(),
                previous: None,
                received_us: None,
            };
        };
        let history = history::history(headers);
        let published = arrived.path.map(PathContext::last_us);
        let again = delivery.redelivered || history != History::default();
        let waits = if again {
            // What the stamps tell is from before the attempts.
            Waits::default()
        } else {
            history::waits(headers, published, now_us)
        };
        let creation = arrived.creation.filter(|_| again);
        // It was here before, or else in a queue that gave it up.
        let here = delivery.redelivered.then_some(queue);
        let gave_up = history::deaths(headers).map(|death| death.queue);
        let mut queues = here.into_iter().chain(gave_up);
        let previous =
            creation.and_then(|creation| queues.find_map(|queue| recent::attempt(creation, queue)));
        let told = history.failed_attempts.max(u64::from(delivery.redelivered));
        let seen = previous.as_ref().map_or(0, |attempt| attempt.number);
        Self {
            attempt: told.max(seen).saturating_add(1),
            history,
            waits,
            previous,
            received_us: history::received_us(headers),
        }
    }

    /// Whether nobody had the message before.
    pub(crate) fn is_first(&self, delivery: &Delivery) -> bool {
        !delivery.redelivered && self.history == History::default()
    }

    /// The last time that the message was dead-lettered, if nobody published it since. A program
    /// that publishes headers again hands on what the broker wrote into them.
    fn death(&self, path: Option<&PathContext>) -> Option<&Death<'a>> {
        let death = self.history.death.as_ref()?;
        // The broker cuts the time to the second.
        let end_us = death
            .time
            .map(|time| time.saturating_add(1).saturating_mul(1_000_000));
        let is_stale = end_us
            .zip(path)
            .is_some_and(|(end, path)| path.last_us() > end);
        (!is_stale).then_some(death)
    }

    /// What led to the delivery.
    pub(crate) fn kind(&self, arrived: &Arrived<'_>) -> EdgeKind {
        let delivery = arrived.delivery;
        if delivery.redelivered {
            let here = recent::mark_of(arrived.queue);
            let mine = self.previous.as_ref().filter(|it| it.queue == here);
            return match mine {
                Some(attempt) if attempt.settlement.is_requeue() => EdgeKind::Requeue,
                _ => EdgeKind::Redelivery,
            };
        }
        if self.death(arrived.path).is_some() {
            return EdgeKind::DeadLetter;
        }
        let is_correlated = delivery.properties.correlation_id().is_some();
        if semconv::is_direct_reply(arrived.queue)
            || (is_correlated
                && delivery.exchange.as_str().is_empty()
                && semconv::collapsed(arrived.queue) != arrived.queue)
        {
            return EdgeKind::Reply;
        }
        EdgeKind::Forward
    }

    /// The destination by which the path goes on where that is not the delivery's own: that of the
    /// first delivery from this queue, or the queue that gave the message up.
    pub(crate) fn destination(&self, arrived: &Arrived<'a>) -> Option<Destination<'a>> {
        let death = self.death(arrived.path)?;
        let headers = arrived.delivery.properties.headers().as_ref()?;
        let queue = Some(arrived.queue);
        let (exchange, routing_key) = match history::first_death_in(headers, arrived.queue) {
            Some(first) => (first.exchange, first.routing_key),
            None => ("", death.queue),
        };
        Some(Destination {
            exchange,
            routing_key,
            queue,
        })
    }

    /// Which attempt at the message it is, on a path that came back so often: a round of a loop
    /// repeats a publish and a delivery.
    pub(crate) fn attempt_on(&self, path: &PathContext) -> u64 {
        let rounds = u64::from(path.repeats().div_ceil(2));
        self.attempt.saturating_add(rounds)
    }

    pub(crate) fn add_to(&self, attributes: &mut Vec<KeyValue>, path: &PathContext) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let attempt = self.attempt_on(path);
        if attempt > 1 {
            attributes.push(KeyValue::new(semconv::RABTRACE_ATTEMPT, number(attempt)));
        }
        if let Some(death) = &self.history.death {
            let (reason, queue) = (death.reason.to_owned(), death.queue.to_owned());
            attributes.push(KeyValue::new(semconv::RABTRACE_DEATH_REASON, reason));
            attributes.push(KeyValue::new(semconv::RABTRACE_DEATH_QUEUE, queue));
            let count = number(death.count);
            attributes.push(KeyValue::new(semconv::RABTRACE_DEATH_COUNT, count));
        }
        let waits = [
            (semconv::RABTRACE_WAIT_INGRESS_DURATION, self.waits.ingress),
            (semconv::RABTRACE_WAIT_BROKER_DURATION, self.waits.broker),
            (
                semconv::RABTRACE_WAIT_PREFETCH_DURATION,
                self.waits.prefetch,
            ),
        ];
        for (key, wait) in waits {
            if let Some(wait) = wait {
                attributes.push(KeyValue::new(key, wait.as_secs_f64()));
            }
        }
    }
}
