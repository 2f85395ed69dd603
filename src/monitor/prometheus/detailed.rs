//! `/metrics/detailed`: depth, consumers and, from 4.0 on, counters of each queue of a node.

use std::borrow::Cow;
use std::sync::Arc;

use super::row::{Escaping, QueueRow, exchange_row, labels, queue_info, queue_row, split_metric};
use crate::monitor::per_name::PerName;

/// One queue as one node sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScrapedQueue {
    pub(crate) ready: Option<u64>,
    pub(crate) unack: Option<u64>,
    pub(crate) messages: Option<u64>,
    pub(crate) consumers: Option<u64>,
    pub(crate) publish: Option<u64>,
    pub(crate) deliver_get: Option<u64>,
    pub(crate) ack: Option<u64>,
    pub(crate) redeliver: Option<u64>,
    pub(crate) get_empty: Option<u64>,
    pub(crate) deliver_no_ack: Option<u64>,
    /// `classic`, `quorum` or `stream`, from 4.1 on.
    pub(crate) queue_type: Option<&'static str>,
}

/// One exchange as one node sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScrapedExchange {
    pub(crate) published: Option<u64>,
    pub(crate) confirmed: Option<u64>,
    pub(crate) returned: Option<u64>,
    pub(crate) dropped: Option<u64>,
}

impl ScrapedQueue {
    /// Whether the queue exists: counters of a deleted one stay for two minutes, depth does not.
    pub(crate) const fn exists(&self) -> bool {
        self.messages.is_some() || self.ready.is_some() || self.unack.is_some()
    }

    fn add(&mut self, metric: Metric, value: u64) {
        if let Metric::DeliverNoAck = metric {
            self.add(Metric::DeliverGet, value);
        }
        let place = match metric {
            Metric::Ready => &mut self.ready,
            Metric::Unack => &mut self.unack,
            Metric::Messages => &mut self.messages,
            Metric::Consumers => &mut self.consumers,
            Metric::Publish => &mut self.publish,
            Metric::DeliverGet => &mut self.deliver_get,
            Metric::Ack => &mut self.ack,
            Metric::Redeliver => &mut self.redeliver,
            Metric::GetEmpty => &mut self.get_empty,
            Metric::DeliverNoAck => &mut self.deliver_no_ack,
        };
        // Some are in several rows: one for each exchange, or each way of getting.
        *place = Some(place.unwrap_or(0).saturating_add(value));
    }
}

/// The answer of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct DetailedScrape {
    pub(crate) node: Option<Arc<str>>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) queues: PerName<ScrapedQueue>,
    pub(crate) exchanges: PerName<ScrapedExchange>,
    /// Whether the node has the families of counters, be they empty.
    pub(crate) has_counters: bool,
    /// Whether it has the family of exchanges.
    pub(crate) has_exchanges: bool,
    pub(crate) rows: u64,
    pub(crate) bad_rows: u64,
}

impl DetailedScrape {
    /// Reads the text; none if it is not that of `rabbitmq_prometheus`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        const DEPTH: &str = "# TYPE rabbitmq_detailed_queue_messages gauge";
        const DELIVERY: &str = "# TYPE rabbitmq_detailed_queue_messages_acked_total counter";
        const PUBLISH: &str =
            "# TYPE rabbitmq_detailed_queue_exchange_messages_published_total counter";
        const EXCHANGE: &str = "# TYPE rabbitmq_detailed_exchange_messages_published_total counter";
        let mut scrape = Self::default();
        scrape.read_info(text);
        let escaping = escaping(scrape.version.as_deref());
        let (mut depth, mut delivery, mut publish) = (false, false, false);
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            if line.starts_with('#') {
                depth |= line == DEPTH;
                delivery |= line == DELIVERY;
                publish |= line == PUBLISH;
                scrape.has_exchanges |= line == EXCHANGE;
            } else {
                scrape.read_row(line, escaping);
            }
        }
        scrape.has_counters = delivery && publish;
        depth.then_some(scrape)
    }

    fn read_info(&mut self, text: &str) {
        let mut take = |metric: &str| {
            // The broker's own row is the last: names of queues stand before it.
            let start = text.rfind(&format!("\n{metric}{{"))? + 1 + metric.len();
            labels(text.get(start..)?, |key, value: Cow<'_, str>| match key {
                "rabbitmq_version" => self.version = Some(value.into()),
                "rabbitmq_node" => self.node = Some(value.into()),
                "rabbitmq_cluster" => self.cluster = Some(value.into()),
                _ => {}
            })
        };
        take("rabbitmq_build_info");
        take("rabbitmq_identity_info");
    }

    fn read_row(&mut self, line: &str, escaping: Escaping) {
        let Some((name, rest)) = split_metric(line) else {
            self.bad_rows += 1;
            return;
        };
        let Some(metric) = Metric::of(name) else {
            match name {
                "rabbitmq_detailed_queue_info" => self.read_type(rest),
                _ => self.read_exchange(name, rest),
            }
            return;
        };
        match queue_row(rest, escaping) {
            Some(QueueRow {
                vhost,
                queue,
                value,
            }) => {
                self.rows += 1;
                if let Some(value) = value {
                    self.queues.entry(&vhost, &queue).add(metric, value);
                }
            }
            None => self.bad_rows += 1,
        }
    }

    /// The type that a leader says of its queue.
    fn read_type(&mut self, rest: &str) {
        let Some((vhost, queue, kind)) = queue_info(rest) else {
            self.bad_rows += 1;
            return;
        };
        self.rows += 1;
        if let Some(kind) = kind {
            self.queues.entry(&vhost, &queue).queue_type = Some(kind);
        }
    }

    fn read_exchange(&mut self, name: &str, rest: &str) {
        let Some(metric) = name.strip_prefix("rabbitmq_detailed_exchange_messages_") else {
            return;
        };
        let Some((vhost, exchange, value)) = exchange_row(rest) else {
            self.bad_rows += 1;
            return;
        };
        self.rows += 1;
        let exchange = self.exchanges.entry(&vhost, &exchange);
        match metric {
            "published_total" => exchange.published = value,
            "confirmed_total" => exchange.confirmed = value,
            "unroutable_returned_total" => exchange.returned = value,
            "unroutable_dropped_total" => exchange.dropped = value,
            _ => {}
        }
    }
}

/// Label values are escaped from 3.13 on; a row that is not escaped after all is read raw.
fn escaping(version: Option<&str>) -> Escaping {
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
    let mut parts = version.unwrap_or_default().split('.');
    match (number(parts.next()), number(parts.next())) {
        (Some(major), Some(minor)) if (major, minor) < (3, 13) => Escaping::Raw,
        _ => Escaping::Escaped,
    }
}

#[derive(Clone, Copy)]
enum Metric {
    Ready,
    Unack,
    Messages,
    Consumers,
    Publish,
    DeliverGet,
    Ack,
    Redeliver,
    GetEmpty,
    DeliverNoAck,
}

impl Metric {
    fn of(name: &str) -> Option<Self> {
        match name.strip_prefix("rabbitmq_detailed_queue_")? {
            "messages_ready" => Some(Self::Ready),
            "messages_unacked" => Some(Self::Unack),
            "messages" => Some(Self::Messages),
            "consumers" => Some(Self::Consumers),
            "exchange_messages_published_total" => Some(Self::Publish),
            "get_ack_total" | "messages_delivered_ack_total" => Some(Self::DeliverGet),
            "get_total" | "messages_delivered_total" => Some(Self::DeliverNoAck),
            "messages_acked_total" => Some(Self::Ack),
            "messages_redelivered_total" => Some(Self::Redeliver),
            "get_empty_total" => Some(Self::GetEmpty),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DetailedScrape, ScrapedQueue};

    const V3_10: &str = include_str!("../fixtures/detailed-3.10.8.txt");
    const V4_0: &str = include_str!("../fixtures/detailed-4.0.5.txt");

    fn names(scrape: &DetailedScrape) -> Vec<String> {
        let mut names: Vec<String> = scrape
            .queues
            .iter()
            .map(|(vhost, queue, _)| format!("{vhost} | {queue}"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn counters_of_4_0_with_escaped_names() {
        let scrape = DetailedScrape::parse(V4_0).unwrap();
        assert_eq!(
            names(&scrape),
            [
                r#"v "x"\ | c:\temp\"#,
                r#"v "x"\ | he said "hi""#,
                r#"v "x"\ | idle"#,
                r#"v "x"\ | orders"#
            ]
        );
        assert!(scrape.has_counters);
        assert_eq!(scrape.bad_rows, 0);
        assert_eq!(scrape.version.as_deref(), Some("4.0.5"));
        assert_eq!(scrape.node.as_deref(), Some("rabbit@localhost"));
        assert_eq!(
            scrape.queues.get(r#"v "x"\"#, "orders"),
            Some(&ScrapedQueue {
                ready: Some(3),
                unack: Some(0),
                messages: Some(3),
                consumers: Some(0),
                publish: Some(4),
                deliver_get: Some(3),
                ack: Some(0),
                redeliver: Some(1),
                get_empty: Some(0),
                deliver_no_ack: Some(1),
                queue_type: None,
            })
        );
        let idle = scrape.queues.get(r#"v "x"\"#, "idle").unwrap();
        assert_eq!(
            (idle.messages, idle.publish),
            (Some(0), None),
            "absent is not zero"
        );
    }

    #[test]
    fn names_of_3_10_are_not_escaped_and_cost_at_most_their_row() {
        let scrape = DetailedScrape::parse(V3_10).unwrap();
        let vhost = r#"odd v, "x"=\/é"#;
        let expect = [
            r#""} 5"#,
            "a b",
            "a,b",
            r"c:\temp\",
            r#"he said "hi""#,
            "plain",
        ];
        assert_eq!(
            names(&scrape),
            expect.map(|queue| format!("{vhost} | {queue}"))
        );
        assert!(!scrape.has_counters);
        assert_eq!(
            scrape.bad_rows, 4,
            "`\",queue=\"evil` in each of four metrics"
        );
        assert_eq!(scrape.cluster.as_deref(), Some("rabbit@vm"));
    }

    #[test]
    fn names_of_3_13_are_escaped_and_all_of_them_are_read() {
        // That of 3.10.8, written as the source of 3.13 writes it: the same families, escaped.
        let scrape =
            DetailedScrape::parse(include_str!("../fixtures/detailed-3.13.7.txt")).unwrap();
        assert_eq!((names(&scrape).len(), scrape.bad_rows), (7, 0));
        let evil = scrape.queues.get(r#"odd v, "x"=\/é"#, "\",queue=\"evil");
        assert_eq!(evil.unwrap().messages, Some(3));
        assert!(!scrape.has_counters);
    }

    #[test]
    fn what_looks_escaped_is_a_name_before_3_13_and_an_escape_after() {
        let check = |version, expect: &str| {
            let text = format!(
                "# TYPE rabbitmq_detailed_queue_messages gauge\n\
                 rabbitmq_detailed_queue_messages{{vhost=\"/\",queue=\"c:\\new\\\\x\"}} 1\n\
                 rabbitmq_build_info{{rabbitmq_version=\"{version}\"}} 1\n"
            );
            let scrape = DetailedScrape::parse(&text).unwrap();
            assert_eq!(names(&scrape), [format!("/ | {expect}")], "{version}");
        };
        check("3.10.8", r"c:\new\\x");
        check("3.12.14", r"c:\new\\x");
        check("3.13.0", "c:\new\\x");
        check("4.0.5", "c:\new\\x");
    }

    #[test]
    fn a_line_that_a_name_broke_is_counted_and_the_rest_stays() {
        let broken = V3_10.replace("\"plain\"} 3", "\"pl\nain\"} 3");
        let scrape = DetailedScrape::parse(&broken).unwrap();
        assert_eq!(scrape.bad_rows, 4 + 4, "two metrics with two halves each");
        assert_eq!(
            scrape
                .queues
                .get(r#"odd v, "x"=\/é"#, "a b")
                .unwrap()
                .messages,
            Some(3)
        );
    }

    #[test]
    fn a_queue_of_which_only_counters_are_left_does_not_exist() {
        let gone = V4_0
            .split('\n')
            .filter(|line| {
                !(line.contains("\"orders\"")
                    && line.contains("_messages_")
                    && !line.contains("_total"))
            })
            .filter(|line| {
                !line.starts_with(
                    r#"rabbitmq_detailed_queue_messages{vhost="v \"x\"\\",queue="orders""#,
                )
            })
            .collect::<Vec<_>>()
            .join("\n");
        let scrape = DetailedScrape::parse(&gone).unwrap();
        let ghost = scrape.queues.get(r#"v "x"\"#, "orders").unwrap();
        assert_eq!(ghost.publish, Some(4));
        assert!(!ghost.exists());
    }

    #[test]
    fn the_leader_of_a_queue_says_its_type() {
        let text = concat!(
            "# TYPE rabbitmq_detailed_queue_messages gauge\n",
            "rabbitmq_detailed_queue_messages{vhost=\"/\",queue=\"a\"} 1\n",
            "rabbitmq_detailed_queue_info{vhost=\"/\",queue=\"a\",",
            "queue_type=\"rabbit_quorum_queue\",membership=\"leader\"} 1\n",
            "rabbitmq_detailed_queue_info{vhost=\"/\",queue=\"b\",",
            "queue_type=\"rabbit_quorum_queue\",membership=\"follower\"} 1\n"
        );
        let scrape = DetailedScrape::parse(text).unwrap();
        assert_eq!(
            scrape.queues.get("/", "a").unwrap().queue_type,
            Some("quorum")
        );
        assert_eq!((scrape.queues.get("/", "b"), scrape.bad_rows), (None, 0));
    }

    #[test]
    fn another_text_is_refused() {
        for text in ["", "<html>", "up 1\n", "{\"error\":\"x\"}"] {
            assert!(DetailedScrape::parse(text).is_none(), "{text}");
        }
    }
}
