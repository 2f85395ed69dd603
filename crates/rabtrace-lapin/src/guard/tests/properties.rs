//! What holds for all tables, whole and damaged, in pieces of all sizes.

use amq_protocol::frame::parse_frame;
use proptest::prelude::*;

use super::{deep, depth, frame, header_frame, headers, pass, short_string, with_length};

/// A value and its type octet.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |octets: &'static [u8], width: usize| {
        let bytes = proptest::collection::vec(any::<u8>(), width);
        (proptest::sample::select(octets), bytes)
            .prop_map(|(octet, bytes)| [vec![octet], bytes].concat())
    };
    let bytes = proptest::collection::vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        fixed(b"V", 0),
        fixed(b"tbB", 1),
        fixed(b"sUu", 2),
        fixed(b"Iif", 4),
        fixed(b"D", 5),
        fixed(b"LldT", 8),
        (proptest::sample::select(&b"Sx"[..]), bytes).prop_map(|(octet, bytes)| [
            vec![octet],
            with_length(bytes)
        ]
        .concat()),
    ];
    leaf.prop_recursive(12, 60, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|values| [
                b"A".to_vec(),
                with_length(values.concat())
            ]
            .concat()),
            table(inner).prop_map(|table| [b"F".to_vec(), table].concat()),
        ]
    })
}

/// No key twice: lapin keeps the last, and what the first held would not be seen.
fn table(values: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let entries = proptest::collection::vec(("[a-z]{0,9}", values), 0..5);
    entries.prop_map(|entries| {
        let entries = entries.into_iter().enumerate();
        let entries = entries.map(|(at, (key, value))| {
            let key = format!("{at}{key}");
            [short_string(key.as_bytes()), value].concat()
        });
        with_length(entries.collect::<Vec<_>>().concat())
    })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1_usize..40, 1..8)
}

proptest! {
    #[test]
    fn nothing_deeper_than_the_limit_comes_out_and_shallow_tables_stay(
        tables in proptest::collection::vec(table(value()), 1..4),
        limit in 1_usize..8,
        pieces in pieces(),
    ) {
        let before = tables.iter().map(|table| header_frame(table)).collect::<Vec<_>>();
        let body = frame(3, &header_frame(&deep(limit + 1)));
        let stream = before.iter().flat_map(|frame| [&frame[..], &body].concat()).collect();
        let (after, count) = pass(stream, limit, &pieces);
        let mut too_deep = 0;
        let mut after = &after[..];
        for frame in before {
            let (ours, rest) = after.split_at(frame.len());
            let levels = depth(&headers(&frame));
            prop_assert_eq!(depth(&headers(ours)), levels.min(limit));
            prop_assert!(levels > limit || ours == frame);
            too_deep += u64::from(levels > limit);
            prop_assert!(rest.starts_with(&body));
            after = &rest[body.len()..];
        }
        prop_assert_eq!(count, too_deep);
    }

    /// What comes out of anything is read by lapin on a stack of 2 MiB, which 2,000 levels
    /// overflow; and where nothing was changed, not a byte is.
    #[test]
    fn damage_smuggles_no_depth(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        deep_damage in proptest::collection::vec((0_usize..400, any::<u8>()), 0..4),
        pieces in pieces(),
    ) {
        let mut bytes = [header_frame(&deep(2_000)), header_frame(&deep(2_000))].concat();
        for (at, octet) in damage {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        for (at, octet) in deep_damage {
            bytes[at] = octet;
        }
        let (after, count) = pass(bytes.clone(), 64, &pieces);
        prop_assert!(count > 0 || after == bytes);
        prop_assert_eq!(pass(bytes, 64, &[usize::MAX]), (after.clone(), count));
        let mut left = &after[..];
        while let Ok((rest, _)) = parse_frame(left) {
            left = rest;
        }
    }

    #[test]
    fn anything_passes(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 1_u8..4, pieces in pieces()) {
        let bytes = [frame(kind, &bytes), bytes].concat();
        let (after, count) = pass(bytes.clone(), 1, &pieces);
        prop_assert_eq!(after.len(), bytes.len());
        prop_assert!(count > 0 || after == bytes);
    }
}
