//! What holds for every header table and every context.

use std::sync::LazyLock;

use lapin::types::{DecimalValue, FieldArray};
use opentelemetry::baggage::KeyValueMetadata;
use proptest::prelude::*;

use super::*;
use crate::path::{Direction, Step, checkpoint};

mod every_type;
mod foreign;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(ShortString::from(*key), value.clone());
    }
    table
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn header(properties: &BasicProperties, key: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(key)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        other => panic!("{key} is no long string: {other:?}"),
    }
}

static PATH: LazyLock<PathContext> = LazyLock::new(|| PathContext::parse(VALUE).unwrap());
/// Hash 1, from 2 to 5 microseconds.
const VALUE: &str = "1AAAAAAAAAAEAAAAAAAACAAAAAAADAAAA";
const MEMBER: &str = "rabtrace=1AAAAAAAAAAEAAAAAAAACAAAAAAADAAAA";

fn context() -> SpanContext {
    span_context(PARENT.as_bytes(), TraceState::default).unwrap()
}

fn with_state(state: &TraceState) -> SpanContext {
    span_context(PARENT.as_bytes(), || state.clone()).unwrap()
}

fn injected(properties: BasicProperties, state: &TraceState, frame_max: u32) -> BasicProperties {
    let baggage = Baggage::from_iter([KeyValueMetadata::new("user", "a b", "")]);
    let injection = Injection {
        context: &with_state(state),
        path: &PATH,
        baggage: Some(&baggage),
        frame_max,
    };
    inject_into(properties, &injection)
}

fn inject_into(mut properties: BasicProperties, injection: &Injection<'_>) -> BasicProperties {
    if let (Some(headers), _) = inject(&properties, injection) {
        properties = properties.with_headers(headers);
    }
    properties
}

fn check(parent: &str, valid: bool) {
    let values = [long(parent), AMQPValue::ByteArray(parent.as_bytes().into())];
    for value in values {
        let extracted = extract(Some(&headers(&[(TRACEPARENT, value)])));
        assert_eq!(extracted.creation.is_some(), valid, "{parent}");
    }
}

#[test]
fn only_strict_traceparents_are_read() {
    check(PARENT, true);
    check(
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        true,
    );
    check(
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
        true,
    );
    check(
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
        true,
    );
    check(
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what",
        false,
    );
    check(
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
        false,
    );
    check(
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        false,
    );
    check(
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        false,
    );
    check(
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        false,
    );
    check(
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        false,
    );
    check(
        "00-0af7651916cd43dd8448eb211c80319c-+7ad6b7169203331-01",
        false,
    );
    check("00-42-42-01", false);
    check("", false);
    check(
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        false,
    );
}

#[test]
fn other_types_and_spellings_count_as_absent() {
    let number = headers(&[(TRACEPARENT, AMQPValue::LongLongInt(1))]);
    assert!(extract(Some(&number)).creation.is_none());
    let capital = headers(&[("Traceparent", long(PARENT))]);
    assert!(extract(Some(&capital)).creation.is_none());
    let short = headers(&[(TRACEPARENT, AMQPValue::ShortString(PARENT.into()))]);
    assert_eq!(extract(Some(&short)).creation, Some(context()));
    assert!(extract(None).creation.is_none());
}

#[test]
fn broken_members_of_tracestate_leave_the_others() {
    let table = headers(&[
        (TRACEPARENT, long(PARENT)),
        (
            TRACESTATE,
            long(&format!("a=1, =x,no,{MEMBER},ctl=\u{1},b=2")),
        ),
    ]);
    let extracted = extract(Some(&table));
    assert_eq!(extracted.path, Some(*PATH));
    let state = extracted.creation.unwrap().trace_state().header();
    assert_eq!(state, "a=1,b=2");
}

#[test]
fn the_path_goes_to_the_front_and_the_others_stay() {
    let check = |state: &str, expect: &str| {
        let written = tracestate(&state.parse().unwrap(), &PATH);
        let written = String::from_utf8(written.unwrap()).unwrap();
        assert_eq!(written, expect, "{state}");
    };
    let both = format!("{MEMBER},a=1,b=2");
    check("a=1,b=2", &both);
    check(&format!("a=1,{MEMBER},b=2"), &both);
    check("a=1,rabtrace=1-000000000000001f-10-ff,b=2", &both);
    check("a=1,rabtrace=2new", "a=1,rabtrace=2new");
    check("rabtrace=nonsense", MEMBER);
    check("", MEMBER);
}

#[test]
fn what_is_left_of_another_context_goes() {
    let stale = headers(&[
        (TRACEPARENT, long(PARENT)),
        (TRACESTATE, long("old=1")),
        (BAGGAGE, long("old=1")),
        ("mine", AMQPValue::Void),
    ]);
    let stale = BasicProperties::default().with_headers(stale);
    let nothing = Baggage::default();
    let context = context();
    let mut injection = Injection {
        context: &context,
        path: &PATH,
        baggage: Some(&nothing),
        frame_max: 131_072,
    };
    let properties = inject_into(stale.clone(), &injection);
    assert_eq!(header(&properties, TRACEPARENT).as_deref(), Some(PARENT));
    assert_eq!(header(&properties, TRACESTATE).as_deref(), Some(MEMBER));
    assert_eq!(header(&properties, BAGGAGE), None);
    assert!(properties.headers().as_ref().unwrap().contains_key("mine"));
    // Baggage that is switched off is the application's affair.
    injection.baggage = None;
    let properties = inject_into(stale, &injection);
    assert_eq!(header(&properties, BAGGAGE).as_deref(), Some("old=1"));
}

#[test]
fn an_invalid_context_changes_nothing() {
    let injection = Injection {
        context: &SpanContext::empty_context(),
        path: &PATH,
        baggage: None,
        frame_max: 131_072,
    };
    let properties = inject_into(BasicProperties::default(), &injection);
    assert_eq!(properties, BasicProperties::default());
}

#[test]
fn what_does_not_fit_into_the_frame_is_left_out_in_order() {
    let state: TraceState = "a=1".parse().unwrap();
    let keys = |filler: usize| {
        let filler = headers(&[("filler", long(&"x".repeat(filler)))]);
        let properties = BasicProperties::default().with_headers(filler);
        let properties = injected(properties, &state, 4_096);
        let keys = [TRACEPARENT, TRACESTATE, BAGGAGE];
        keys.map(|key| header(&properties, key).is_some())
    };
    let seen: Vec<[bool; 3]> = (3_800..4_096).map(keys).collect();
    let mut distinct = seen.clone();
    distinct.dedup();
    let expect = [
        [true, true, true],
        [true, true, false],
        [true, false, false],
        [false, false, false],
    ];
    assert_eq!(distinct, expect);
}

#[test]
fn a_long_tracestate_loses_long_members_first() {
    let long = format!("long={}", "x".repeat(150));
    let short = |name: char| format!("{name}={}", "y".repeat(98));
    let members = [
        short('a'),
        long.clone(),
        short('b'),
        short('c'),
        short('d'),
        short('e'),
    ];
    let state: TraceState = members.join(",").parse().unwrap();
    let written = String::from_utf8(tracestate(&state, &PATH).unwrap()).unwrap();
    let expect = [
        MEMBER.to_owned(),
        short('a'),
        short('b'),
        short('c'),
        short('d'),
    ]
    .join(",");
    assert_eq!(written, expect);
}

fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        Just(AMQPValue::Void),
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        (any::<u8>(), any::<u32>())
            .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        ".{0,60}".prop_map(|text| AMQPValue::ShortString(text.into())),
        any::<Vec<u8>>().prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        any::<Vec<u8>>().prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        // A context as AMQP 1.0 had it once.
        any::<[u8; 29]>().prop_map(|bytes| AMQPValue::LongString(bytes.to_vec().into())),
        Just(long(PARENT)),
        "[a-z=,;%0-9 -]{0,80}".prop_map(|text| long(&text)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values))),
            table(inner).prop_map(AMQPValue::FieldTable),
        ]
    })
}

fn table(value: impl Strategy<Value = AMQPValue>) -> impl Strategy<Value = FieldTable> {
    let key = prop_oneof![
        Just(TRACEPARENT.to_owned()),
        Just(TRACESTATE.to_owned()),
        Just(BAGGAGE.to_owned()),
        "[a-zA-Z-]{0,12}",
    ];
    proptest::collection::vec((key, value), 0..6).prop_map(|entries| {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert(key.into(), value);
        }
        table
    })
}

/// The header frame as lapin writes it.
fn frame_length(properties: &BasicProperties) -> usize {
    use lapin::protocol::basic::gen_properties;
    let written = gen_properties::<Vec<u8>>(properties)(Vec::new().into());
    // Frame header and end, class, weight, body size.
    written.unwrap().into_inner().0.len() + 8 + 12
}

proptest! {
    #[test]
    fn any_headers_can_be_read_and_written(
        table in table(value()),
        state in "[a-z=,0-9]{0,40}",
        frame_max in 0..400_u32,
    ) {
        let _ = extract(Some(&table));
        let before = BasicProperties::default().with_headers(table.clone());
        let after = injected(before.clone(), &trace_state(state.as_bytes()).1, frame_max);
        for (key, value) in table.inner() {
            if ![TRACEPARENT, TRACESTATE, BAGGAGE].contains(&key.as_str()) {
                let kept = after.headers().as_ref().and_then(|after| after.inner().get(key.as_str()));
                // NaN is not equal to itself.
                prop_assert_eq!(format!("{:?}", kept), format!("{:?}", Some(value)));
            }
        }
        if frame_max > 0 {
            let limit = frame_length(&before).max(usize::try_from(frame_max).unwrap());
            prop_assert!(frame_length(&after) <= limit);
        }
    }

    #[test]
    fn a_context_comes_back_as_it_went(
        trace_id in 1..u128::MAX,
        span_id in 1..u64::MAX,
        sampled: bool,
        entries in proptest::collection::vec(("[a-z][a-z0-9_*/-]{0,20}", "[!-+.-<>-~]{1,40}"), 0..9),
        path in ("[a-c]{1,9}", 0..1_u64 << 55, any::<u32>()),
        baggage in proptest::collection::hash_map("[a-zA-Z0-9_.-]{1,10}", ".{0,30}", 0..5),
    ) {
        let step = |service| Step::new(service, Direction::Out, "tasks");
        let origin = checkpoint(None, &step(path.0.as_str()), path.1).context;
        let path = checkpoint(Some(&origin), &step("d"), path.1 + u64::from(path.2)).context;
        let mut state = TraceState::NONE;
        for (key, value) in &entries {
            state = state.insert(key.as_str(), value.as_str()).unwrap();
        }
        let context = SpanContext::new(
            TraceId::from(trace_id),
            SpanId::from(span_id),
            TraceFlags::default().with_sampled(sampled),
            true,
            state.clone(),
        );
        let baggage: Baggage = baggage.iter()
            .map(|(key, value)| KeyValueMetadata::new(key.clone(), value.clone(), ""))
            .collect();
        let injection = Injection { context: &context, path: &path, baggage: Some(&baggage), frame_max: 0 };
        let properties = inject_into(BasicProperties::default(), &injection);
        let length = header(&properties, TRACESTATE).map_or(0, |state| state.len());
        prop_assert!(length <= TRACESTATE_LENGTH);
        let extracted = extract(properties.headers().as_ref());
        prop_assert_eq!(extracted.path, Some(path));
        prop_assert_eq!(extracted.creation, Some(context));
        prop_assert_eq!(extracted.baggage.len(), baggage.len());
        for (key, (value, _)) in &baggage {
            prop_assert_eq!(extracted.baggage.get(key), Some(value));
        }
    }
}
