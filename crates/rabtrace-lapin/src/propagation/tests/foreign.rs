//! What others write: contexts in W3C's binary form, and headers that only have a known name.

use super::*;

#[test]
fn the_binary_form_is_read_where_it_is_whole() {
    let whole = [
        &[0, 0][..],
        &context().trace_id().to_bytes(),
        &[1],
        &context().span_id().to_bytes(),
        &[2, 1],
    ]
    .concat();
    let read = |binary: Vec<u8>| {
        let values = [
            AMQPValue::LongString(binary.clone().into()),
            AMQPValue::ByteArray(binary.into()),
        ];
        let [one, other] =
            values.map(|value| extract(Some(&headers(&[(TRACEPARENT, value)]))).creation);
        assert_eq!(one, other);
        one
    };
    assert_eq!(read(whole.clone()), Some(context()));
    let changed = |at: usize, byte: u8| {
        let mut changed = whole.clone();
        changed[at] = byte;
        read(changed)
    };
    for at in [0, 1, 18, 27] {
        assert_eq!(changed(at, 7), None, "{at}");
    }
    assert!(!changed(28, 0).unwrap().is_sampled());
    assert_eq!(changed(28, 0xff), Some(context()));
    let mut empty = whole.clone();
    empty[2..18].fill(0);
    assert_eq!(read(empty), None);
    assert_eq!(read(whole[..28].to_vec()), None);
    assert_eq!(read([&whole[..], &[0]].concat()), None);
}

#[test]
fn a_header_of_the_application_that_is_called_baggage_stays() {
    let (nothing, context) = (Baggage::default(), context());
    let injection = Injection {
        context: &context,
        path: &PATH,
        baggage: Some(&nothing),
        frame_max: 131_072,
    };
    let own = headers(&[(BAGGAGE, long("two suitcases"))]);
    let properties = inject_into(BasicProperties::default().with_headers(own), &injection);
    assert_eq!(
        header(&properties, BAGGAGE).as_deref(),
        Some("two suitcases")
    );
}
