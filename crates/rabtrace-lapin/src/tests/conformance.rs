//! The page of conformance against the names in the code, spans and series as they are made, and
//! the tests that it names.

mod golden;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use opentelemetry::Value;
use opentelemetry_sdk::trace::SpanData;

use self::golden::AT_START;
use super::attribute;
use super::metrics::all_instruments;
use crate::operation::Operation;
use crate::outcome::PublishOutcome;
use crate::outcome::Settlement;
use crate::path::EdgeKind;
use crate::semconv;

const PAGE: &str = include_str!("../conformance.md");
const TYPES: [&str; 4] = ["send", "receive", "process", "settle"];

/// The rows of the tables under a heading, cell by cell.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let heading = format!("# {heading}\n");
    let (_, below) = PAGE
        .split_once(&heading)
        .unwrap_or_else(|| panic!("{heading}"));
    let section = below.split("\n# ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with('|'));
    let rows: Vec<_> = lines
        .skip(2)
        .map(|line| line.trim_matches('|').split(" |").map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "{heading}");
    rows
}

/// The words between backticks.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn name(text: &str) -> &str {
    let names = names(text);
    assert_eq!(names.len(), 1, "{text}");
    names[0]
}

/// What the page says of one attribute.
struct Row {
    attribute: &'static str,
    kind: &'static str,
    /// Whether it is there, by type of operation: none if never, true if always.
    on: BTreeMap<&'static str, bool>,
    at_start: &'static str,
}

fn attributes() -> Vec<Row> {
    let conventions = rows("Attributes of the conventions")
        .into_iter()
        .map(|row| {
            let levels = TYPES.into_iter().zip(&row[2..6]);
            let on = levels.filter(|(_, level)| {
                let word = level.split(' ').next().unwrap();
                assert!(["R", "CR", "Rec", "OI", "-"].contains(&word), "{level}");
                **level != "-" && !level.ends_with(" no")
            });
            Row {
                attribute: name(row[0]),
                kind: row[1],
                on: on.map(|(place, level)| (place, *level == "R")).collect(),
                at_start: row[6],
            }
        });
    let own = rows("Attributes of this crate").into_iter().map(|row| Row {
        attribute: name(row[0]),
        kind: row[2],
        on: row[1].split(", ").map(|place| (place, false)).collect(),
        at_start: row[4],
    });
    conventions.chain(own).collect()
}

fn text(span: &SpanData, name: &str) -> String {
    attribute(span, name).unwrap_or_else(|| panic!("{} has no {name}", span.name))
}

/// Whether it concerns the whole channel, which has no destination.
fn has_no_destination(span: &SpanData) -> bool {
    let name = text(span, semconv::MESSAGING_OPERATION_NAME);
    ["recover", "commit", "rollback"].contains(&name.as_str())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::I64(_) => "int",
        Value::F64(_) => "double",
        Value::Bool(_) => "bool",
        _ => "?",
    }
}

#[tokio::test]
async fn spans_are_as_the_page_says() {
    let (service, _meters) = golden::service().await;
    let spans = service.spans();
    let mut operations = BTreeSet::new();
    for span in &spans {
        operations.insert(text(span, semconv::MESSAGING_OPERATION_NAME));
        check_operation(span);
        check_attributes(span);
    }
    let listed = rows("Operations");
    let listed: BTreeSet<String> = listed.iter().map(|row| name(row[0]).to_owned()).collect();
    assert_eq!(operations, listed);
    assert_eq!(operations.len(), Operation::COUNT);
    // And all that the page promises is really there.
    for row in attributes() {
        for place in row.on.keys().filter(|place| TYPES.contains(place)) {
            let there = spans.iter().any(|span| {
                let is_there = text(span, semconv::MESSAGING_OPERATION_TYPE) == **place;
                is_there && attribute(span, row.attribute).is_some()
            });
            assert!(there, "no {place} span has {}", row.attribute);
        }
    }
}

fn check_operation(span: &SpanData) {
    let operation = text(span, semconv::MESSAGING_OPERATION_NAME);
    let listed = rows("Operations");
    let row = listed.iter().find(|row| name(row[0]) == operation).unwrap();
    assert_eq!(text(span, semconv::MESSAGING_OPERATION_TYPE), name(row[1]));
    let is_kept = operation == "publish" && !span.links.is_empty();
    let kinds: Vec<&str> = row[2].split("; ").collect();
    let kind = kinds[usize::from(is_kept)].split(' ').next().unwrap();
    assert_eq!(format!("{:?}", span.span_kind).to_uppercase(), kind);
    let template = attribute(span, semconv::MESSAGING_DESTINATION_TEMPLATE);
    let destination = attribute(span, semconv::MESSAGING_DESTINATION_NAME);
    let label = template.or(destination);
    let label = label.unwrap_or_else(|| "broker.example:5672".to_owned());
    assert_eq!(span.name, format!("{operation} {label}"));
    let schema = span.instrumentation_scope.schema_url();
    assert_eq!(schema, Some(semconv::SCHEMA_URL));
    assert!(PAGE.contains(semconv::SCHEMA_URL));
}

fn check_attributes(span: &SpanData) {
    let rows = attributes();
    let place = text(span, semconv::MESSAGING_OPERATION_TYPE);
    let at_start = text(span, AT_START);
    let at_start: Vec<&str> = at_start.split(' ').collect();
    let mut seen = BTreeSet::new();
    for attribute in span
        .attributes
        .iter()
        .filter(|it| it.key.as_str() != AT_START)
    {
        let key = attribute.key.as_str();
        assert!(seen.insert(key), "{}: {key} twice", span.name);
        let row = rows.iter().find(|row| row.attribute == key);
        let row = row.unwrap_or_else(|| panic!("the page has no {key}"));
        assert!(
            row.on.contains_key(place.as_str()),
            "{key} on {}",
            span.name
        );
        assert_eq!(kind_of(&attribute.value), row.kind, "{key}");
        let expect = if at_start.contains(&key) { "yes" } else { "no" };
        assert_eq!(row.at_start, expect, "{key} on {}", span.name);
    }
    for row in &rows {
        let is_required = row.on.get(place.as_str()) == Some(&true);
        let is_exempt =
            row.attribute == semconv::MESSAGING_DESTINATION_NAME && has_no_destination(span);
        if is_required && !is_exempt {
            assert!(
                seen.contains(row.attribute),
                "{}: {}",
                span.name,
                row.attribute
            );
        }
    }
}

#[tokio::test]
async fn metrics_are_as_the_page_says() {
    let (service, meters) = golden::service().await;
    all_instruments(&service);
    let mut listed = rows("Metrics of the conventions");
    listed.extend(rows("Metrics of this crate"));
    let instruments = meters.instruments();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in meters.series() {
        let keys = series.attributes.iter();
        let keys = keys.map(|it| it.split_once('=').unwrap().0.to_owned());
        seen.entry(series.metric).or_default().extend(keys);
    }
    let found: BTreeSet<&str> = instruments.iter().map(|it| it.name.as_str()).collect();
    let expect: BTreeSet<&str> = listed.iter().map(|row| name(row[0])).collect();
    assert_eq!(found, expect);
    for instrument in &instruments {
        let own = listed.iter().find(|row| name(row[0]) == instrument.name);
        let row = own.unwrap();
        assert_eq!(instrument.kind, row[1], "{}", instrument.name);
        assert_eq!(instrument.unit, name(row[2]), "{}", instrument.name);
        let expect: BTreeSet<String> = names(row[3]).into_iter().map(str::to_owned).collect();
        assert_eq!(seen[&instrument.name], expect, "{}", instrument.name);
    }
}

/// The names that `semconv.rs` has.
fn constants() -> BTreeSet<&'static str> {
    let source = include_str!("../semconv.rs");
    let code = source.split("#[cfg(test)]").next().unwrap();
    let found = code.split("pub const ").skip(1).filter_map(|constant| {
        let (head, _) = constant.split_once(';')?;
        let (_, value) = head.split_once("= ").or_else(|| head.split_once("=\n"))?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        (value.contains('.') && !value.contains('/')).then_some(value)
    });
    let found: BTreeSet<&str> = found.collect();
    assert!(found.len() > 40, "{found:?}");
    found
}

#[test]
fn every_name_in_the_code_is_on_the_page_and_back() {
    let rows_of_attributes = attributes();
    let set = rows_of_attributes.iter().filter(|row| !row.on.is_empty());
    let mut listed: BTreeSet<&str> = set.map(|row| row.attribute).collect();
    for heading in ["Metrics of the conventions", "Metrics of this crate"] {
        listed.extend(rows(heading).iter().map(|row| name(row[0])));
    }
    assert_eq!(constants(), listed);
}

#[test]
fn what_is_not_set_has_a_reason() {
    let reasons = rows("Not set, and why");
    let reasons: String = reasons.into_iter().map(|row| row[0]).collect();
    for row in rows("Attributes of the conventions") {
        if row[2..6].iter().any(|level| level.ends_with(" no")) {
            assert!(names(&reasons).contains(&name(row[0])), "{}", row[0]);
        }
    }
}

fn values(heading: &str) -> Vec<&'static str> {
    let rows = rows(heading);
    rows.into_iter().flat_map(|row| names(row[0])).collect()
}

const SETTLEMENTS: [Settlement; Settlement::COUNT] = [
    Settlement::Ack,
    Settlement::NackRequeue,
    Settlement::NackDiscard,
    Settlement::RejectRequeue,
    Settlement::RejectDiscard,
    Settlement::NoAck,
    Settlement::DroppedUnsettled,
    Settlement::ChannelLost,
    Settlement::Recovered,
];

#[test]
fn all_values_are_on_the_page() {
    let outcomes = [
        PublishOutcome::Acked,
        PublishOutcome::Nacked,
        PublishOutcome::Returned,
        PublishOutcome::Unconfirmed,
        PublishOutcome::Committed,
        PublishOutcome::RolledBack,
        PublishOutcome::Dropped,
        PublishOutcome::Failed,
        PublishOutcome::ChannelLost,
    ];
    assert_eq!(outcomes.len(), PublishOutcome::COUNT);
    let listed = values("Values of `rabtrace.publish.outcome`");
    assert_eq!(listed, outcomes.map(PublishOutcome::as_str));
    assert_eq!(SETTLEMENTS.len(), Settlement::COUNT);
    let listed = values("Values of `rabtrace.settlement`");
    assert_eq!(listed, SETTLEMENTS.map(Settlement::as_str));
    let listed = values("Values of `rabtrace.edge.kind`");
    assert_eq!(listed, EdgeKind::ALL.map(EdgeKind::as_str));
}

#[test]
fn all_error_types_are_on_the_page() {
    let listed: BTreeSet<&str> = values("Values of `error.type`").into_iter().collect();
    let source = include_str!("../semconv.rs");
    let code = source.split("#[cfg(test)]").next().unwrap();
    let (_, code) = code.split_once("pub fn error_type").unwrap();
    let named = code.split("=> \"").skip(1);
    let mut expect: BTreeSet<&str> = named.map(|it| it.split('"').next().unwrap()).collect();
    assert!(expect.len() > 25, "{expect:?}");
    expect.insert(semconv::ERROR_TYPE_OTHER);
    expect.extend(["nack", "panic", "connection_blocked"]);
    let refusals = SETTLEMENTS.into_iter().filter(|it| it.is_refusal());
    expect.extend(refusals.map(Settlement::as_str));
    assert_eq!(listed, expect);
    // The last three are where they are made.
    for (source, made) in [
        (include_str!("../returns/ledger.rs"), "Some((\"nack\""),
        (include_str!("../process.rs"), "fail(\"panic\""),
        (include_str!("../sending.rs"), "\"connection_blocked\""),
    ] {
        assert!(source.contains(made), "{made}");
    }
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut named = BTreeSet::new();
    for heading in [
        "Operations",
        "Attributes of the conventions",
        "Attributes of this crate",
        "Metrics of the conventions",
        "Metrics of this crate",
    ] {
        let rows = rows(heading);
        named.extend(rows.into_iter().filter_map(|row| {
            let cell = *row.last().unwrap();
            (cell != "-").then(|| name(cell))
        }));
    }
    assert!(named.len() > 15, "{named:?}");
    for test in named {
        let (module, function) = test.rsplit_once("::").unwrap();
        let path = module.trim_end_matches("::tests").replace("::", "/");
        let path = folder.join(format!("{path}.rs"));
        let source = std::fs::read_to_string(&path);
        let source = source.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let place = source.find(&format!("fn {function}("));
        let before = source[..place.unwrap_or_else(|| panic!("no {test}"))].trim_end();
        let before = before.trim_end_matches("async").trim_end();
        assert!(before.ends_with("test]"), "{test} is no test");
    }
}

/// Requirement levels on send, receive, process and settle, as
/// `docs/messaging/rabbitmq.md` of v1.44.0 has them.
const LEVELS: [(&str, &str); 21] = [
    ("messaging.system", "R R R R"),
    ("messaging.operation.name", "R R R R"),
    ("messaging.operation.type", "CR CR CR CR"),
    ("messaging.destination.name", "R R R R"),
    ("messaging.destination.template", "CR CR CR CR"),
    ("messaging.destination.anonymous", "CR CR CR -"),
    ("messaging.destination.temporary", "CR CR CR -"),
    ("messaging.rabbitmq.destination.routing_key", "CR CR CR -"),
    ("messaging.rabbitmq.message.delivery_tag", "- CR CR CR"),
    ("messaging.batch.message_count", "CR CR CR CR"),
    ("messaging.message.id", "Rec Rec Rec Rec"),
    ("messaging.message.conversation_id", "Rec Rec Rec Rec"),
    ("messaging.message.body.size", "OI OI OI -"),
    ("messaging.message.envelope.size", "OI OI OI -"),
    ("messaging.client.id", "Rec Rec Rec Rec"),
    ("messaging.destination.partition.id", "Rec Rec Rec Rec"),
    ("server.address", "Rec Rec Rec Rec"),
    ("server.port", "Rec Rec Rec Rec"),
    ("network.peer.address", "Rec Rec - Rec"),
    ("network.peer.port", "Rec Rec - Rec"),
    ("error.type", "CR CR CR CR"),
];

#[test]
fn the_page_has_the_levels_of_the_conventions() {
    let listed = rows("Attributes of the conventions")
        .into_iter()
        .map(|row| {
            let levels = row[2..6].iter().map(|level| level.trim_end_matches(" no"));
            (name(row[0]), levels.collect::<Vec<_>>().join(" "))
        });
    let expect = LEVELS.map(|(name, levels)| (name, levels.to_owned()));
    assert_eq!(listed.collect::<Vec<_>>(), expect);
}
