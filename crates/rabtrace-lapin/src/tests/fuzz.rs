//! A fuzz target on stable: header tables, from bytes and from structure, through a delivery, a
//! publish under it, and back.
//!
//! The tables come from a generator with a seed: half of them are built, half are built, written as
//! bytes, broken and read again, as a broker would send them. `RABTRACE_FUZZ_SECONDS` says for how
//! long (2 if absent), `RABTRACE_FUZZ_SEED` where to begin; what fails is said with the seed of its
//! case, which runs alone with `RABTRACE_FUZZ_SEED` set to it and `RABTRACE_FUZZ_SECONDS` to 0.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::types::generation::gen_field_table;
use lapin::types::parsing::parse_field_table;
use lapin::types::{AMQPValue, ByteArray, DecimalValue, FieldArray, FieldTable};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::trace::Sampler;

use super::{AckMode, Service, hand_out, message};
use crate::config::TraceConfig;
use crate::propagation;
use crate::rules::{ExistingContext, Relation, Rule};

const OWN: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// Keys that something here reads.
const READ: [&str; 12] = [
    "traceparent",
    "tracestate",
    "baggage",
    "x-death",
    "x-delivery-count",
    "timestamp_in_ms",
    "x-opt-rabbitmq-sent-time",
    "count",
    "reason",
    "queue",
    "",
    "mine",
];
const TEXTS: [&str; 9] = [
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    "rabtrace=1AAAAAAAAAAEAAAAAAAACAAAAAAADAAAA,vendor=1,other=a b",
    "rabtrace=2what,rabtrace=1AAAAAAAAAB__________________________",
    "user=a%20b;p=1,x=%ff,=,;,k=v",
    "rejected",
    "",
    "\u{e9}\u{1f600}\0,=",
];

/// SplitMix64: the same cases for the same seed, everywhere.
struct Cases(u64);

impl Cases {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.next() % limit).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// One of the texts, most often broken somewhere.
    fn text(&mut self) -> Vec<u8> {
        let mut text = TEXTS[self.below(TEXTS.len())].as_bytes().to_vec();
        match self.below(5) {
            0 => self.breaks(&mut text),
            1 => text.extend(TEXTS[self.below(TEXTS.len())].bytes()),
            2 => text = text.repeat(self.below(40)),
            _ => {}
        }
        text
    }

    fn breaks(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1..=5 => bytes[at] ^= 1 << self.below(8),
                6 => bytes.insert(at, self.next().to_le_bytes()[0]),
                _ => {
                    bytes.remove(at);
                }
            }
        }
    }

    fn value(&mut self, depth: usize) -> AMQPValue {
        let number = self.next();
        let signed = i64::from_le_bytes(number.to_le_bytes());
        let [a, b, c, d, ..] = number.to_le_bytes();
        match self.below(if depth == 0 { 18 } else { 20 }) {
            0 => AMQPValue::Void,
            1 => AMQPValue::Boolean(a > 127),
            2 => AMQPValue::ShortShortInt(i8::from_le_bytes([a])),
            3 => AMQPValue::ShortShortUInt(a),
            4 => AMQPValue::ShortInt(i16::from_le_bytes([a, b])),
            5 => AMQPValue::ShortUInt(u16::from_le_bytes([a, b])),
            6 => AMQPValue::LongInt(i32::from_le_bytes([a, b, c, d])),
            7 => AMQPValue::LongUInt(u32::from_le_bytes([a, b, c, d])),
            8 => AMQPValue::LongLongInt(signed),
            9 => AMQPValue::Timestamp(number),
            10 => AMQPValue::Float(f32::from_le_bytes([a, b, c, d])),
            11 => AMQPValue::Double(f64::from_bits(number)),
            12 => AMQPValue::DecimalValue(DecimalValue {
                scale: a,
                value: u32::from_le_bytes([a, b, c, d]),
            }),
            13 => {
                let text = String::from_utf8_lossy(&self.text())
                    .chars()
                    .take(60)
                    .collect();
                AMQPValue::ShortString(String::into(text))
            }
            // A context as AMQP 1.0 had it once: 29 bytes.
            14 => AMQPValue::LongString(self.bytes(29).into()),
            15 => AMQPValue::ByteArray(ByteArray::from(self.text())),
            16 | 17 => AMQPValue::LongString(self.text().into()),
            18 => {
                let values: Vec<_> = (0..self.below(4)).map(|_| self.value(depth - 1)).collect();
                AMQPValue::FieldArray(FieldArray::from(values))
            }
            _ => AMQPValue::FieldTable(self.table(depth - 1)),
        }
    }

    fn table(&mut self, depth: usize) -> FieldTable {
        let mut table = FieldTable::default();
        for _ in 0..self.below(7) {
            let key = READ[self.below(READ.len())];
            table.insert(key.into(), self.value(depth));
        }
        table
    }

    /// A table as a broker could send it; none if lapin could not read it.
    fn headers(&mut self) -> Option<FieldTable> {
        let table = self.table(4);
        if self.below(2) == 0 {
            return Some(table);
        }
        let bytes = written(&table);
        // What is broken can most often not be read: several tries.
        (0..6).find_map(|_| {
            let mut bytes = bytes.clone();
            self.breaks(&mut bytes);
            if self.below(16) == 0 {
                bytes = self.bytes(300);
            }
            let (_, read) = parse_field_table(bytes.as_slice()).ok()?;
            Some(read)
        })
    }
}

fn written(table: &FieldTable) -> Vec<u8> {
    let write = gen_field_table::<Vec<u8>>(table);
    write(Vec::new().into()).unwrap().into_inner().0
}

/// The whole header frame as lapin writes it.
fn frame_length(properties: &BasicProperties) -> usize {
    let write = lapin::protocol::basic::gen_properties::<Vec<u8>>(properties);
    write(Vec::new().into()).unwrap().into_inner().0.len() + 8 + 12
}

/// What is not the library's, as bytes: NaN is not equal to itself.
fn others(properties: &BasicProperties) -> Vec<u8> {
    let mut table = FieldTable::default();
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    for (key, value) in headers.into_iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            table.insert(key.clone(), value.clone());
        }
    }
    written(&table)
}

/// One case. `Some` if the headers could be read at all.
fn run(seed: u64, services: &[Service]) -> Option<()> {
    let mut cases = Cases(seed);
    let headers = cases.headers()?;
    let service = &services[cases.below(services.len())];
    let frame_max = usize::try_from(service.telemetry.frame_max).unwrap();
    let incoming = BasicProperties::default().with_headers(headers);
    let ambient = match cases.below(3) {
        0 => services[0].consume("other", incoming.clone()).context(),
        1 => Context::new().with_baggage([opentelemetry::KeyValue::new("k", "v")]),
        _ => Context::new(),
    };
    let source = service.source("tasks", AckMode::Manual);
    let mut received = message((cases.next(), "", "tasks"), incoming.clone());
    received.redelivered = cases.below(2) == 0;
    let delivery = hand_out(&source, received, &ambient);
    assert_eq!(
        delivery.properties.headers().is_some(),
        incoming.headers().is_some()
    );
    assert_eq!(others(&delivery.properties), others(&incoming));
    // The same headers again, under the delivery and by themselves.
    for context in [delivery.context(), ambient.clone()] {
        let (publish, sent) = service.start(("", "next"), incoming.clone(), &context);
        assert!(publish.is_traced());
        assert_eq!(others(&sent), others(&incoming));
        if frame_max > 0 {
            let limit = frame_length(&incoming).max(frame_max);
            assert!(
                frame_length(&sent) <= limit,
                "the frame grew beyond {limit}"
            );
        }
        // It can be read again, by lapin and by the library.
        let table = sent.headers().clone().unwrap();
        if table.inner().values().all(|value| !is_odd(value)) {
            let bytes = written(&table);
            let (rest, again) = parse_field_table(bytes.as_slice()).unwrap();
            assert!(rest.is_empty());
            assert_eq!(written(&again), bytes);
        }
        if let Some(ids) = propagation::creation_ids(sent.headers().as_ref()) {
            let extracted = propagation::extract(sent.headers().as_ref())
                .creation
                .unwrap();
            assert_eq!((extracted.trace_id(), extracted.span_id()), ids);
        }
        drop(publish);
    }
    assert!(delivery.context().has_active_span());
    drop(delivery);
    assert_eq!(source.open.len(), 0);
    service.exporter.reset();
    Some(())
}

/// RabbitMQ has no short strings in tables; lapin writes and reads them by a letter of its own.
fn is_odd(value: &AMQPValue) -> bool {
    match value {
        AMQPValue::ShortString(_) => true,
        AMQPValue::FieldTable(table) => table.inner().values().any(is_odd),
        AMQPValue::FieldArray(array) => array.as_slice().iter().any(is_odd),
        _ => false,
    }
}

fn services() -> Vec<Service> {
    let rule = |rule: Rule| move |config: TraceConfig| config.with_rule(rule);
    let base = Service::new("planner");
    let relation = |relation| Rule::queue("*").with_relation(relation);
    vec![
        base.configured(|config| config),
        base.configured(|config| config.with_frame_max(0)),
        base.configured(|config| config.with_frame_max(300)),
        base.configured(rule(relation(Relation::Link))),
        base.configured(rule(relation(Relation::Ignore))),
        base.configured(rule(
            Rule::queue("*").with_existing_context(ExistingContext::Replace),
        )),
        base.configured(TraceConfig::without_baggage),
        Service::sampled("planner", Sampler::AlwaysOff),
        Service::sampled("planner", Sampler::ParentBased(Box::new(Sampler::AlwaysOn))),
    ]
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

#[test]
fn no_header_table_breaks_anything() {
    let seconds = variable("RABTRACE_FUZZ_SECONDS").unwrap_or(2);
    let first = variable("RABTRACE_FUZZ_SEED").unwrap_or(0);
    let services = services();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut seed, mut read) = (first, 0_u64);
    loop {
        let case = AssertUnwindSafe(|| run(seed, &services));
        match catch_unwind(case) {
            Ok(found) => read += u64::from(found.is_some()),
            Err(_) => panic!("RABTRACE_FUZZ_SEED={seed} RABTRACE_FUZZ_SECONDS=0 fails"),
        }
        seed = seed.wrapping_add(1);
        if Instant::now() >= end {
            break;
        }
    }
    let tried = seed.wrapping_sub(first);
    eprintln!("{tried} header tables from seed {first}, {read} of them could be read");
    assert!(
        seconds == 0 || read * 4 > tried,
        "{read} of {tried}: is this still looking?"
    );
}
