//! Headers of every type that a table can hold.

use super::*;

/// One of each type that a table can hold. A new type does not compile until it is here.
fn one_of_each() -> Vec<AMQPValue> {
    let raw = [0, 0, 0xff, 1, 0xc3, 2].repeat(5)[..29].to_vec();
    let nested = headers(&[(TRACEPARENT, long(PARENT))]);
    let values = vec![
        AMQPValue::Boolean(true),
        AMQPValue::ShortShortInt(-1),
        AMQPValue::ShortShortUInt(1),
        AMQPValue::ShortInt(-1),
        AMQPValue::ShortUInt(1),
        AMQPValue::LongInt(-1),
        AMQPValue::LongUInt(1),
        AMQPValue::LongLongInt(i64::MIN),
        AMQPValue::Float(f32::NAN),
        AMQPValue::Double(f64::NAN),
        AMQPValue::DecimalValue(DecimalValue { scale: 1, value: 1 }),
        AMQPValue::ShortString("00".into()),
        AMQPValue::LongString(raw.clone().into()),
        AMQPValue::FieldArray(FieldArray::from(vec![long(PARENT)])),
        AMQPValue::Timestamp(u64::MAX),
        AMQPValue::FieldTable(nested),
        AMQPValue::ByteArray(raw.into()),
        AMQPValue::Void,
    ];
    let places: std::collections::BTreeSet<usize> = values.iter().map(place).collect();
    assert_eq!(places.len(), 18);
    values
}

fn place(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::Boolean(_) => 0,
        AMQPValue::ShortShortInt(_) => 1,
        AMQPValue::ShortShortUInt(_) => 2,
        AMQPValue::ShortInt(_) => 3,
        AMQPValue::ShortUInt(_) => 4,
        AMQPValue::LongInt(_) => 5,
        AMQPValue::LongUInt(_) => 6,
        AMQPValue::LongLongInt(_) => 7,
        AMQPValue::Float(_) => 8,
        AMQPValue::Double(_) => 9,
        AMQPValue::DecimalValue(_) => 10,
        AMQPValue::ShortString(_) => 11,
        AMQPValue::LongString(_) => 12,
        AMQPValue::FieldArray(_) => 13,
        AMQPValue::Timestamp(_) => 14,
        AMQPValue::FieldTable(_) => 15,
        AMQPValue::ByteArray(_) => 16,
        AMQPValue::Void => 17,
    }
}

#[test]
fn headers_of_every_type_are_absent_or_read_but_never_an_error() {
    for value in one_of_each() {
        for key in [TRACEPARENT, TRACESTATE, BAGGAGE] {
            let mut table = headers(&[(TRACEPARENT, long(PARENT)), ("mine", value.clone())]);
            table.insert(key.into(), value.clone());
            let extracted = extract(Some(&table));
            assert_eq!(
                extracted.creation.is_some(),
                key != TRACEPARENT,
                "{value:?}"
            );
            assert!(extracted.path.is_none() && extracted.baggage.is_empty());
            // Whatever it was, a publish puts its own in its place.
            let before = BasicProperties::default().with_headers(table);
            let after = injected(before, &TraceState::NONE, 131_072);
            let read = extract(after.headers().as_ref());
            assert_eq!(read.creation, Some(context()), "{value:?}");
            assert_eq!((read.path, read.baggage.len()), (Some(*PATH), 1));
            let mine = after.headers().as_ref().unwrap().inner().get("mine");
            assert_eq!(format!("{mine:?}"), format!("{:?}", Some(&value)));
        }
    }
}
