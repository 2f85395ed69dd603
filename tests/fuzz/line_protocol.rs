//! Points of any texts and numbers, written and read back by another's parser.

use influxdb_line_protocol::{FieldValue as Parsed, parse_lines};
use rabtrace::influx::encode;
use rabtrace::model::{FieldValue, Point};

use crate::cases::{Cases, fuzz};

const KEYS: [&str; 8] = ["a", "b", "k k", "k=v", "k,v", "k\\", "é", ""];
const MEASUREMENTS: [&str; 4] = ["spans", "m m", "#m", "m,x=y"];

fn value(cases: &mut Cases) -> FieldValue {
    match cases.below(5) {
        0 => FieldValue::Int(cases.number().cast_signed()),
        1 => FieldValue::Float(f64::from_bits(cases.number())),
        2 => FieldValue::Bool(cases.one_in(2)),
        3 => FieldValue::Bytes(cases.bytes(40)),
        _ => FieldValue::Text(cases.text(40).into()),
    }
}

fn point(cases: &mut Cases) -> Point {
    let time = cases.number().cast_signed();
    let mut point = Point::new(cases.choice(&MEASUREMENTS), time);
    for _ in 0..cases.below(5) {
        point = point.tag(cases.choice(&KEYS), cases.text(20));
    }
    for key in KEYS.iter().take(1 + cases.below(KEYS.len())) {
        point.fields.push((key, value(cases)));
    }
    point
}

/// Numbers and truths come back exactly.
fn check_fields(point: &Point, parsed: &[(String, Parsed<'_>)]) {
    let mut fields = parsed.iter();
    for (key, value) in point.fields.iter().filter(|(key, _)| !key.is_empty()) {
        if matches!(value, FieldValue::Float(number) if !number.is_finite()) {
            continue;
        }
        let (name, parsed) = fields.next().unwrap();
        assert_eq!(*name, key.replace('\\', "/"));
        match (value, parsed) {
            (FieldValue::Int(number), Parsed::I64(parsed)) => assert_eq!(number, parsed),
            (FieldValue::Float(number), Parsed::F64(parsed)) => assert!(number == parsed),
            (FieldValue::Bool(truth), Parsed::Boolean(parsed)) => assert_eq!(truth, parsed),
            (FieldValue::Text(_) | FieldValue::Bytes(_), Parsed::String(_)) => {}
            (value, parsed) => panic!("{value:?} came back as {parsed:?}"),
        }
    }
    assert!(fields.next().is_none());
}

#[test]
fn lines_are_read_as_they_were_meant() {
    fuzz("line protocol", 2, |cases| {
        let point = point(cases);
        let mut bytes = b"before f=1\n".to_vec();
        if !encode(&point, &mut bytes) {
            assert_eq!(bytes, b"before f=1\n");
            return false;
        }
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(
            text.matches('\n').count(),
            2,
            "one point, one line: {text:?}"
        );
        assert!(!text.contains('\r'));
        let lines: Vec<_> = parse_lines(text).map(Result::unwrap).collect();
        let line = &lines[1];
        assert_eq!(lines.len(), 2);
        assert_eq!(line.timestamp, Some(point.time_unix_nano));
        let mut tags: Vec<&str> = point
            .tags
            .iter()
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .map(|(key, _)| *key)
            .collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(line.series.tag_set.iter().flatten().count(), tags.len());
        let fields: Vec<_> = line
            .field_set
            .iter()
            .map(|(key, value)| (key.to_string(), value.clone()))
            .collect();
        check_fields(&point, &fields);
        true
    });
}
