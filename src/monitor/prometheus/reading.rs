//! The text of `/metrics/detailed`, read as it comes: chunk by chunk, line by line.
//!
//! Input: chunks of the answer. Output: a [`DetailedScrape`]. Ten thousand queues are fourteen
//! megabytes of text: it is never held whole, and a row allocates nothing but the name of a queue
//! that is new. Whether the broker escapes names is told by its version, which comes last: rows
//! that can be read in two ways wait for it.

use super::detailed::{DetailedScrape, Metric};
use super::node::NodeScrape;
use super::row::{
    Escaping, QueueRow, exchange_row, expected_info, expected_row, labels, plain_row, queue_info,
    queue_row, split_metric,
};
use super::table::Order;

/// An answer that is being read.
#[derive(Debug)]
pub(in crate::monitor) struct Reading {
    scrape: DetailedScrape,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// The metric of the last row.
    metric: String,
    kind: Kind,
    /// Rows that wait for the version.
    late: Vec<(Metric, String)>,
    /// The broker's own row; names of queues stand before it.
    build: String,
    identity: String,
    has_depth: bool,
    has_delivery: bool,
    has_publish: bool,
}

/// What the rows of a metric tell of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Queue(Metric),
    QueueType,
    Exchange,
    Node(&'static str),
    Build,
    Identity,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        if let Some(metric) = Metric::of(name) {
            return Self::Queue(metric);
        }
        match name {
            "rabbitmq_detailed_queue_info" => Self::QueueType,
            "rabbitmq_build_info" => Self::Build,
            "rabbitmq_identity_info" => Self::Identity,
            _ if name.starts_with(EXCHANGE) => Self::Exchange,
            _ => NodeScrape::own_metric(name).map_or(Self::Other, Self::Node),
        }
    }
}

const EXCHANGE: &str = "rabbitmq_detailed_exchange_messages_";

impl Reading {
    /// Begins with the names of an earlier answer of that node, if there is one.
    pub(in crate::monitor) fn new(earlier: Option<DetailedScrape>) -> Self {
        let mut scrape = DetailedScrape::default();
        if let Some(earlier) = earlier {
            (scrape.queues, scrape.exchanges) = (earlier.queues, earlier.exchanges);
            scrape.queues.begin();
            scrape.exchanges.begin();
        }
        Self {
            scrape,
            partial: Vec::new(),
            metric: String::new(),
            kind: Kind::Other,
            late: Vec::new(),
            build: String::new(),
            identity: String::new(),
            has_depth: false,
            has_delivery: false,
            has_publish: false,
        }
    }

    /// Reads the lines that end in this chunk.
    pub(in crate::monitor) fn take(&mut self, chunk: &[u8]) {
        let Some(end) = chunk.iter().rposition(|byte| *byte == b'\n') else {
            self.partial.extend_from_slice(chunk);
            return;
        };
        let (mut lines, rest) = (&chunk[..end], &chunk[end + 1..]);
        if !self.partial.is_empty() {
            let first = lines.iter().position(|byte| *byte == b'\n');
            let (line, others) = lines.split_at(first.unwrap_or(lines.len()));
            self.partial.extend_from_slice(line);
            let mut whole = std::mem::take(&mut self.partial);
            self.read_lines(&whole);
            whole.clear();
            self.partial = whole;
            lines = others.get(1..).unwrap_or_default();
        }
        self.read_lines(lines);
        self.partial.extend_from_slice(rest);
    }

    /// What the whole answer says; none if it is not that of `rabbitmq_prometheus`.
    pub(in crate::monitor) fn finish(mut self) -> Option<DetailedScrape> {
        let last = std::mem::take(&mut self.partial);
        self.read_lines(&last);
        self.read_info();
        let escaping = escaping(self.scrape.version.as_deref());
        for (metric, row) in std::mem::take(&mut self.late) {
            self.read_late(metric, &row, escaping);
        }
        self.scrape.has_counters = self.has_delivery && self.has_publish;
        self.scrape.queues.end();
        self.scrape.exchanges.end();
        self.has_depth.then_some(self.scrape)
    }

    fn read_lines(&mut self, lines: &[u8]) {
        match std::str::from_utf8(lines) {
            Ok(lines) => lines.split('\n').for_each(|line| self.read_line(line)),
            // Names are bytes to the broker: one that is not UTF-8 must not cost the whole answer.
            Err(_) => lines
                .split(|byte| *byte == b'\n')
                .for_each(|line| self.read_line(&String::from_utf8_lossy(line))),
        }
    }

    fn read_line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        if line.starts_with('#') {
            self.read_comment(line);
            return;
        }
        let of_last = line.strip_prefix(&*self.metric);
        let rest = match of_last.filter(|rest| rest.starts_with('{')) {
            Some(rest) => rest,
            None => {
                let Some((name, rest)) = split_metric(line) else {
                    self.scrape.bad_rows += 1;
                    return;
                };
                name.clone_into(&mut self.metric);
                self.kind = Kind::of(name);
                rest
            }
        };
        match self.kind {
            Kind::Queue(metric) => self.read_queue(metric, rest),
            Kind::QueueType => self.read_type(rest),
            Kind::Exchange => self.read_exchange(rest),
            Kind::Node(metric) => self.scrape.own.take_own(metric, rest),
            Kind::Build => rest.clone_into(&mut self.build),
            Kind::Identity => rest.clone_into(&mut self.identity),
            Kind::Other => {}
        }
    }

    fn read_comment(&mut self, line: &str) {
        match line {
            "# TYPE rabbitmq_detailed_queue_messages gauge" => self.has_depth = true,
            "# TYPE rabbitmq_detailed_queue_consumers gauge" => self.scrape.has_consumers = true,
            "# TYPE rabbitmq_detailed_queue_messages_acked_total counter" => {
                self.has_delivery = true;
            }
            "# TYPE rabbitmq_detailed_queue_exchange_messages_published_total counter" => {
                self.has_publish = true;
            }
            "# TYPE rabbitmq_detailed_exchange_messages_published_total counter" => {
                self.scrape.has_exchanges = true;
            }
            _ => {}
        }
    }

    fn read_queue(&mut self, metric: Metric, row: &str) {
        let has_exchange = metric == Metric::Publish;
        let queues = &mut self.scrape.queues;
        let order = metric.order();
        let expected = queues.expected(order);
        if let Some(value) = expected.and_then(|names| expected_row(row, names, has_exchange)) {
            self.scrape.rows += 1;
            if let Some(queue) = queues.take_expected(order) {
                queue.add(metric, value);
            }
        } else if let Some((vhost, queue, value)) = plain_row(row, has_exchange) {
            self.scrape.rows += 1;
            queues.entry(order, vhost, queue).add(metric, value);
        } else {
            self.late.push((metric, row.to_owned()));
        }
    }

    fn read_late(&mut self, metric: Metric, row: &str, escaping: Escaping) {
        let Some(row) = queue_row(row, escaping) else {
            self.scrape.bad_rows += 1;
            return;
        };
        let QueueRow {
            vhost,
            queue,
            value,
        } = row;
        self.scrape.rows += 1;
        if let Some(value) = value {
            let queues = &mut self.scrape.queues;
            let queue = queues.entry(metric.order(), &vhost, &queue);
            queue.add(metric, value);
        }
    }

    /// The type that a leader says of its queue.
    fn read_type(&mut self, row: &str) {
        let queues = &mut self.scrape.queues;
        let expected = queues.expected(Order::Types);
        if let Some(kind) = expected.and_then(|names| expected_info(row, names)) {
            self.scrape.rows += 1;
            if let Some(queue) = queues.take_expected(Order::Types) {
                queue.queue_type = Some(kind);
            }
            return;
        }
        let Some((vhost, queue, kind)) = queue_info(row) else {
            self.scrape.bad_rows += 1;
            return;
        };
        self.scrape.rows += 1;
        if let Some(kind) = kind {
            let queue = queues.entry(Order::Types, &vhost, &queue);
            queue.queue_type = Some(kind);
        }
    }

    fn read_exchange(&mut self, row: &str) {
        let Some((vhost, exchange, value)) = exchange_row(row) else {
            self.scrape.bad_rows += 1;
            return;
        };
        self.scrape.rows += 1;
        let exchanges = &mut self.scrape.exchanges;
        let exchange = exchanges.entry(Order::Counts, &vhost, &exchange);
        match self.metric.strip_prefix(EXCHANGE) {
            Some("published_total") => exchange.published = value,
            Some("confirmed_total") => exchange.confirmed = value,
            Some("unroutable_returned_total") => exchange.returned = value,
            Some("unroutable_dropped_total") => exchange.dropped = value,
            _ => {}
        }
    }

    fn read_info(&mut self) {
        let scrape = &mut self.scrape;
        for row in [&self.build, &self.identity] {
            labels(row, |key, value| match key {
                "rabbitmq_version" => scrape.version = Some(value.into()),
                "rabbitmq_node" => scrape.node = Some(value.into()),
                "rabbitmq_cluster" => scrape.cluster = Some(value.into()),
                _ => {}
            });
        }
        let node = scrape.node.clone().unwrap_or_default();
        scrape.own.name(node, scrape.version.clone());
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
