use std::sync::Arc;

use influxdb_line_protocol::{FieldValue as Parsed, parse_lines};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;

use super::{InKey, InText, Special, TEXT_LIMIT, encode};
use crate::model::{FieldValue, Point, base64};

fn line(point: &Point) -> Option<String> {
    let mut buffer = Vec::new();
    encode(point, &mut buffer).then(|| String::from_utf8(buffer).unwrap())
}

fn check(point: &Point, expect: &str) {
    assert_eq!(line(point).as_deref(), Some(expect));
}

fn one(value: FieldValue) -> Point {
    Point {
        fields: vec![("f", value)],
        ..Point::new("m", 1)
    }
}

fn text(value: &str) -> Point {
    one(FieldValue::Text(value.into()))
}

#[test]
fn names_and_tags() {
    let point = |tag: &str| Point::new("m", -5).tag("t", tag).int("f", Some(1));
    check(&point("plain"), "m,t=plain f=1i -5\n");
    check(&point("a b,c=d"), "m,t=a\\ b\\,c\\=d f=1i -5\n");
    check(&point(r"C:\"), "m,t=C:/ f=1i -5\n");
    check(
        &point("a\nm,t=x f=9i"),
        "m,t=a\\ m\\,t\\=x\\ f\\=9i f=1i -5\n",
    );
    check(&point("\0\t\r\u{7f}"), "m,t=\\ \\ \\ \\  f=1i -5\n");
    check(&point("\"quoted\" ✓"), "m,t=\"quoted\"\\ ✓ f=1i -5\n");
    check(&point(""), "m f=1i -5\n");
    check(
        &Point::new("#a b,c=d\\", 0).int("f g", Some(1)),
        "_a\\ b\\,c=d/ f\\ g=1i 0\n",
    );
}

#[test]
fn both_ways_to_look_at_a_byte_agree() {
    for byte in 0..=u8::MAX {
        let (in_key, in_text) = (InKey::TABLE, InText::TABLE);
        assert_eq!(in_key[usize::from(byte)], InKey::has(byte), "{byte}");
        assert_eq!(in_text[usize::from(byte)], InText::has(byte), "{byte}");
    }
}

#[test]
fn tags_come_sorted_and_once() {
    let point = Point::new("m", 1)
        .tag("c", "3")
        .tag("a", "1")
        .tag("a", "2")
        .tag("b", "")
        .tag("b", "kept")
        .tag("", "no key")
        .int("f", Some(1));
    check(&point, "m,a=1,b=kept,c=3 f=1i 1\n");
}

#[test]
fn values() {
    check(
        &one(FieldValue::Int(i64::MIN)),
        "m f=-9223372036854775808i 1\n",
    );
    check(&one(FieldValue::Int(0)), "m f=0i 1\n");
    check(&one(FieldValue::Float(-3.0)), "m f=-3 1\n");
    check(&one(FieldValue::Float(0.1)), "m f=0.1 1\n");
    check(&one(FieldValue::Float(-12.070_300)), "m f=-12.0703 1\n");
    check(&one(FieldValue::Float(1e-6)), "m f=0.000001 1\n");
    check(&one(FieldValue::Float(1e-7)), "m f=1e-7 1\n");
    check(
        &one(FieldValue::Float(0.1 + 0.2)),
        "m f=0.30000000000000004 1\n",
    );
    check(&one(FieldValue::Float(1e300)), "m f=1e300 1\n");
    check(&one(FieldValue::Bool(true)), "m f=true 1\n");
    check(
        &text(r#"{"a":"x\"y"}"#),
        "m f=\"{\\\"a\\\":\\\"x\\\\\\\"y\\\"}\" 1\n",
    );
    check(&text("C:\\"), "m f=\"C:\\\\\" 1\n");
    check(&text("a\r\nb\0"), "m f=\"a\\\\r\\\\nb\u{fffd}\" 1\n");
    check(&text(""), "m f=\"\" 1\n");
}

#[test]
fn what_cannot_be_written_is_left_out() {
    let mut point = one(FieldValue::Float(f64::NAN));
    assert_eq!(line(&point), None);
    point.fields.push(("g", FieldValue::Float(f64::INFINITY)));
    point.fields.push(("", FieldValue::Int(1)));
    point.fields.push(("b", FieldValue::Bytes(vec![0; 50_000])));
    assert_eq!(line(&point), None);
    point.fields.push(("h", FieldValue::Int(2)));
    check(&point, "m h=2i 1\n");
    assert_eq!(line(&Point::new("", 1).int("f", Some(1))), None);
    let mut buffer = b"before\n".to_vec();
    assert!(!encode(&Point::new("m", 1), &mut buffer));
    assert_eq!(buffer, b"before\n");
}

#[test]
fn long_text_is_cut_between_characters() {
    let mut long = "x".repeat(TEXT_LIMIT - 1);
    long.push_str("éé");
    let written = line(&text(&long)).unwrap();
    assert_eq!(written.len(), "m f=\"\" 1\n".len() + TEXT_LIMIT - 1);
}

/// Texts of the characters that break line protocol, mixed with any others.
fn odd_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => prop::sample::select(vec![
            ',', '=', ' ', '\\', '"', '\'', '\n', '\r', '\t', '\0', '#', 'é', '😀', 'a', '1', 'i',
        ]),
        1 => any::<char>(),
    ];
    prop::collection::vec(character, 0..24).prop_map(|characters| characters.into_iter().collect())
}

fn odd_value() -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        any::<i64>().prop_map(FieldValue::Int),
        any::<f64>().prop_map(FieldValue::Float),
        prop_oneof![
            Just(0.0),
            Just(-1.5e-300),
            Just(9e15),
            Just(1e16),
            Just(f64::MAX)
        ]
        .prop_map(FieldValue::Float),
        (any::<i32>(), 0_i32..9).prop_map(|(number, decimals)| {
            FieldValue::Float(f64::from(number) / 10_f64.powi(decimals))
        }),
        any::<bool>().prop_map(FieldValue::Bool),
        odd_text().prop_map(|text| FieldValue::Text(text.into())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(FieldValue::Bytes),
    ]
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn odd_point() -> impl Strategy<Value = Point> {
    let tags = prop::collection::vec((odd_text(), odd_text()), 0..5);
    let fields = prop::collection::btree_map(odd_text(), odd_value(), 0..5);
    (odd_text(), tags, fields, any::<i64>()).prop_map(|(measurement, tags, fields, time)| Point {
        measurement: leak(measurement),
        tags: tags
            .into_iter()
            .map(|(key, value)| (leak(key), Arc::from(value)))
            .collect(),
        fields: fields
            .into_iter()
            .map(|(key, value)| (leak(key), value))
            .collect(),
        time_unix_nano: time,
    })
}

/// What a reader finds for a name or tag.
fn key_as_read(text: &str) -> String {
    let replace = |character: char| match character {
        '\\' => '/',
        '\0'..='\x1f' | '\x7f' => ' ',
        character => character,
    };
    text.chars().map(replace).collect()
}

fn text_as_read(text: &str) -> String {
    let text = text.replace('\0', "\u{fffd}");
    text.replace('\n', "\\n").replace('\r', "\\r")
}

fn value_as_read(value: &FieldValue, parsed: &Parsed<'_>) -> bool {
    match (value, parsed) {
        (FieldValue::Int(written), Parsed::I64(read)) => written == read,
        #[expect(clippy::float_cmp, reason = "the shortest digits read back the same")]
        (FieldValue::Float(written), Parsed::F64(read)) => written == read,
        (FieldValue::Bool(written), Parsed::Boolean(read)) => written == read,
        (FieldValue::Text(written), Parsed::String(read)) => text_as_read(written) == read.as_str(),
        (FieldValue::Bytes(written), Parsed::String(read)) => base64(written).eq(read.bytes()),
        _ => false,
    }
}

/// Tags as the rules leave them: sorted, none empty, the first of a key.
fn tags_as_read(point: &Point) -> Vec<(String, String)> {
    let mut tags: Vec<_> = point
        .tags
        .iter()
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .collect();
    tags.sort_by_key(|(key, _)| *key);
    tags.dedup_by_key(|(key, _)| *key);
    let read = |(key, value): &(&str, Arc<str>)| (key_as_read(key), key_as_read(value));
    tags.into_iter().map(read).collect()
}

proptest! {
    #[test]
    fn any_point_reads_back_as_the_rules_say(point in odd_point()) {
        let fields: Vec<_> = point
            .fields
            .iter()
            .filter(|(key, value)| !key.is_empty() && super::can_be_written(value))
            .collect();
        let Some(line) = line(&point) else {
            prop_assert!(fields.is_empty() || point.measurement.is_empty());
            return Ok(());
        };
        let parsed: Vec<_> = parse_lines(&line).collect();
        prop_assert_eq!(parsed.len(), 1, "{:?}", line);
        let parsed = parsed.into_iter().next().unwrap().unwrap();
        let name = match point.measurement.strip_prefix('#') {
            Some(rest) => format!("_{rest}"),
            None => point.measurement.to_owned(),
        };
        prop_assert_eq!(parsed.series.measurement.as_str(), key_as_read(&name));
        let tags: Vec<_> = parsed
            .series
            .tag_set
            .iter()
            .flatten()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        prop_assert_eq!(tags, tags_as_read(&point));
        prop_assert_eq!(parsed.field_set.len(), fields.len());
        for ((key, value), (read_key, read_value)) in fields.iter().zip(&parsed.field_set) {
            prop_assert_eq!(key_as_read(key), read_key.as_str());
            prop_assert!(value_as_read(value, read_value), "{:?} read as {:?}", value, read_value);
        }
        prop_assert_eq!(parsed.timestamp, Some(point.time_unix_nano));
    }

    #[test]
    fn points_and_lines_are_as_many(points in prop::collection::vec(odd_point(), 0..8)) {
        let mut buffer = Vec::new();
        let written = points.iter().filter(|point| encode(point, &mut buffer)).count();
        let text = String::from_utf8(buffer).unwrap();
        prop_assert_eq!(text.matches('\n').count(), written);
        prop_assert_eq!(parse_lines(&text).filter(Result::is_ok).count(), written);
    }
}
