//! The filter against lapin's own parser.

mod properties;

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::AMQPMethod;
use futures_io::AsyncRead;
use lapin::types::parsing::parse_value;
use lapin::types::{AMQPValue, FieldTable};

use super::Guard;
use super::filter::Filter;
use super::layout::{Layout, of_value};
use super::stream::GuardedStream;

/// Passes `bytes` in pieces whose sizes repeat `pieces`: what comes out, and the count.
fn pass(mut bytes: Vec<u8>, limit: usize, pieces: &[usize]) -> (Vec<u8>, u64) {
    let neutralised = std::sync::Arc::default();
    let mut filter = Filter::new(limit, std::sync::Arc::clone(&neutralised));
    let mut left = bytes.as_mut_slice();
    for size in pieces.iter().cycle() {
        if left.is_empty() {
            break;
        }
        let (piece, rest) = left.split_at_mut((*size).clamp(1, left.len()));
        filter.pass(piece);
        left = rest;
    }
    let count = neutralised.load(std::sync::atomic::Ordering::Relaxed);
    (bytes, count)
}

fn long(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap().to_be_bytes()
}

fn with_length(inside: Vec<u8>) -> Vec<u8> {
    [long(inside.len()).to_vec(), inside].concat()
}

fn short_string(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, 1], &long(payload.len())[..], payload, &[0xCE]].concat()
}

/// A content header whose headers are `table` (length included), between other properties.
fn header_frame(table: &[u8]) -> Vec<u8> {
    let head = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0b1111_0000, 0];
    let strings = [short_string(b"text/plain"), short_string(b"utf-8")].concat();
    frame(2, &[&head[..], &strings, table, &[2]].concat())
}

fn heartbeat() -> Vec<u8> {
    vec![8, 0, 0, 0, 0, 0, 0, 0xCE]
}

/// A table of `levels` tables and arrays inside each other, itself counted, by turns; what stands
/// beside the nested one on every level is a `traceparent`.
fn deep(levels: usize) -> Vec<u8> {
    let beside = [&b"S"[..], &with_length(b"00-1-2-01".to_vec())].concat();
    let mut inside = Vec::new();
    for level in (0..levels).rev() {
        let key = |name: &[u8]| {
            if level % 2 == 0 {
                short_string(name)
            } else {
                Vec::new()
            }
        };
        let kind: &[u8] = if level % 2 == 0 { b"A" } else { b"F" };
        inside = match level + 1 == levels {
            true => with_length([key(b"traceparent"), beside.clone()].concat()),
            false => with_length(
                [
                    key(b"traceparent"),
                    beside.clone(),
                    key(b"n"),
                    kind.to_vec(),
                    inside,
                ]
                .concat(),
            ),
        };
    }
    inside
}

fn depth_of_value(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::FieldTable(table) => depth(table),
        AMQPValue::FieldArray(array) => {
            let inside = array.as_slice().iter().map(depth_of_value);
            1 + inside.max().unwrap_or(0)
        }
        _ => 0,
    }
}

fn depth(table: &FieldTable) -> usize {
    let inside = table.inner().values().map(depth_of_value);
    1 + inside.max().unwrap_or(0)
}

fn headers(bytes: &[u8]) -> FieldTable {
    let (rest, parsed) = parse_frame(bytes).unwrap();
    assert!(rest.is_empty());
    match parsed {
        AMQPFrame::Header(_, header) => header.properties.headers().clone().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_type_octet_is_as_wide_as_lapin_reads_it() {
    let mut unknown = 0;
    for octet in 0..=u8::MAX {
        let bytes = [&[octet][..], &[0; 32]].concat();
        let read = parse_value(&bytes[..]).map(|(rest, value)| (32 - rest.len(), value));
        match (of_value(octet), read) {
            (Layout::Unknown, Err(_)) => unknown += 1,
            (Layout::Fixed(width), Ok((read, _))) => assert_eq!(usize::from(width), read),
            (Layout::Bytes, Ok((4, AMQPValue::LongString(_) | AMQPValue::ByteArray(_)))) => {}
            (Layout::Nested(_), Ok((4, AMQPValue::FieldTable(_) | AMQPValue::FieldArray(_)))) => {}
            (ours, lapins) => panic!("{}: {ours:?}, {lapins:?}", octet as char),
        }
    }
    assert_eq!(unknown, 256 - 19);
}

#[test]
fn what_is_deep_enough_becomes_bytes_and_what_is_beside_it_stays() {
    for (levels, limit) in [(1, 1), (64, 64), (65, 64), (2_000, 64), (1_800, 3), (7, 1)] {
        let table = deep(levels);
        let before = [heartbeat(), header_frame(&table), heartbeat()].concat();
        let (after, count) = pass(before.clone(), limit, &[usize::MAX]);
        assert_eq!(
            count,
            u64::from(levels > limit),
            "{levels} levels, limit {limit}"
        );
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!(changed, usize::from(levels > limit));
        let header = &after[heartbeat().len()..after.len() - heartbeat().len()];
        let headers = headers(header);
        assert_eq!(depth(&headers), levels.min(limit));
        let beside = headers.inner().get("traceparent");
        assert_eq!(beside, Some(&AMQPValue::LongString("00-1-2-01".into())));
    }
}

#[test]
fn the_bytes_are_those_of_the_table() {
    let (after, _) = pass(header_frame(&deep(3)), 1, &[1]);
    let inside = deep(3);
    let inside = &inside[inside.iter().position(|octet| *octet == b'A').unwrap() + 5..];
    let headers = headers(&after);
    let bytes = headers.inner().get("n").unwrap();
    assert_eq!(bytes, &AMQPValue::ByteArray(inside.to_vec().into()));
}

/// Arrays that hold nothing but the next one: the most levels that so few bytes can have.
#[test]
fn the_shortest_chain_is_not_taken_for_a_shallow_table() {
    for limit in 1..=100 {
        for levels in [limit, limit + 1] {
            let mut inside = Vec::new();
            for _ in 1..levels {
                inside = [b"A".to_vec(), with_length(inside)].concat();
            }
            let key = short_string(b"");
            let entry = if inside.is_empty() {
                Vec::new()
            } else {
                [key, inside].concat()
            };
            let before = header_frame(&with_length(entry));
            let (after, count) = pass(before.clone(), limit, &[usize::MAX]);
            assert_eq!(count, u64::from(levels > limit), "limit {limit}");
            assert_eq!(pass(before, limit, &[1]), (after.clone(), count));
            assert_eq!(depth(&headers(&after)), limit);
        }
    }
}

/// A table that lapin refuses makes it recurse all the same, as far as it can be read.
#[test]
fn what_is_malformed_at_its_end_hides_no_depth() {
    let mut bytes = header_frame(&deep(2_000));
    let last = bytes.iter().rposition(|octet| *octet == b'S').unwrap();
    bytes[last] = b'?';
    let (after, count) = pass(bytes, 64, &[3, 1]);
    assert_eq!((count, depth(&headers(&after))), (1, 64));
    // Here the mistake stands in front of what is too deep: it is lapin's to tell.
    // The frame behind it is still seen as one.
    let mut bytes = header_frame(&deep(2_000));
    let first = bytes.iter().position(|octet| *octet == b'S').unwrap();
    bytes[first] = b'?';
    for pieces in [usize::MAX, 7] {
        let stream = [bytes.clone(), header_frame(&deep(65))].concat();
        let (after, count) = pass(stream, 64, &[pieces]);
        let (after, behind) = after.split_at(bytes.len());
        assert_eq!((after, count), (&bytes[..], 1));
        assert!(parse_frame(after).is_err());
        assert_eq!(depth(&headers(behind)), 64);
    }
}

/// Text that is full of type octets is looked into, and hides nothing.
#[test]
fn many_type_octets_in_a_text_are_no_levels() {
    for (levels, limit) in [(64, 64), (65, 64)] {
        for octets in [1, 190, 192, 255, 256, 5_000] {
            let text = [b"S".to_vec(), with_length(vec![b"FA"[octets % 2]; octets])].concat();
            let chain = [short_string(b"n"), b"F".to_vec(), deep(levels - 1)].concat();
            let table = with_length([short_string(b"t"), text, chain].concat());
            let (after, count) = pass(header_frame(&table), limit, &[usize::MAX]);
            assert_eq!(count, u64::from(levels > limit), "{octets} octets");
            assert_eq!(depth(&headers(&after)), limit);
        }
    }
}

/// Every method of every class, and every way in which a table can stand in one.
#[test]
fn no_method_that_lapin_reads_is_left_out() {
    let (table, behind) = (deep(12), header_frame(&deep(5)));
    let mut tables = 0;
    for class in [10_u8, 20, 30, 40, 50, 60, 85, 90] {
        for method in 0..=130_u8 {
            let mut seen = false;
            // The widths of what is read before and after a table; all zero.
            for (front, back) in (0..8).flat_map(|front| (0..10).map(move |back| (front, back))) {
                let head = [0, class, 0, method];
                let payload = [&head[..], &vec![0; front], &table, &vec![0; back]].concat();
                let parsed = parse_frame(&frame(1, &payload)[..]).is_ok();
                let stream = [frame(1, &payload), behind.clone()].concat();
                let (after, count) = pass(stream, 4, &[5]);
                let Ok((rest, AMQPFrame::Method(_, method))) = parse_frame(&after[..]) else {
                    assert!(!parsed);
                    continue;
                };
                // The frame behind it is still seen as one.
                assert_eq!(depth(&headers(rest)), 4, "{class} {method:?}");
                seen |= count == 2;
                // One in every other level.
                let levels = format!("{method:?}").matches("\"traceparent\"").count() * 2;
                assert!(levels <= 4, "{class} {method:?}");
            }
            tables += usize::from(seen);
        }
    }
    assert_eq!(tables, 9);
}

/// What a client that leaves the choice to the broker is offered: largest frame in, out.
#[test]
fn no_broker_offers_frames_without_end() {
    let offers = [
        (0, 131_072),
        (1, 1),
        (4_096, 4_096),
        (131_072, 131_072),
        (1_048_576, 1_048_576),
        (1_048_577, 1_048_576),
        (u32::MAX, 1_048_576),
    ];
    for (offered, expected) in offers {
        let payload = [
            &[0, 10, 0, 30, 7, 255],
            &offered.to_be_bytes()[..],
            &[0, 60],
        ]
        .concat();
        let tune = [frame(1, &payload), header_frame(&deep(65))].concat();
        for (piece, expected) in [
            (usize::MAX, expected),
            (17, expected),
            (1, 4_096),
            (15, 4_096),
        ] {
            let guard = Guard::new();
            let mut bytes = tune.clone();
            let mut filter = guard.filter();
            bytes.chunks_mut(piece).for_each(|piece| filter.pass(piece));
            let (rest, parsed) = parse_frame(&bytes[..]).unwrap();
            let AMQPFrame::Method(1, AMQPClass::Connection(AMQPMethod::Tune(tune))) = parsed else {
                panic!("{parsed:?}");
            };
            assert_eq!(
                tune.frame_max, expected,
                "of {offered}, {piece} bytes at once"
            );
            assert_eq!((tune.channel_max, tune.heartbeat), (0x07FF, 60));
            assert_eq!((depth(&headers(rest)), guard.neutralised()), (64, 1));
        }
        let (after, _) = pass(tune.clone(), 100, &[usize::MAX]);
        assert_eq!(after, tune, "the client has a limit of its own");
    }
}

/// Both ways in which lapin reads, into its ring of bytes.
#[test]
fn all_that_is_read_passes_the_filter() {
    let before = header_frame(&deep(65));
    let (expected, _) = pass(before.clone(), 64, &[usize::MAX]);
    let mut cx = Context::from_waker(Waker::noop());
    for vectored in [false, true] {
        let source = Pieces(before.clone().into());
        let mut stream = GuardedStream::new(source, Guard::new().filter());
        let mut after = Vec::new();
        while after.len() < before.len() {
            let (mut one, mut other) = ([0; 11], [0; 7]);
            let read = if vectored {
                let mut buffers = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
                Pin::new(&mut stream).poll_read_vectored(&mut cx, &mut buffers)
            } else {
                Pin::new(&mut stream).poll_read(&mut cx, &mut one)
            };
            let Poll::Ready(Ok(count)) = read else {
                panic!("{read:?}");
            };
            after.extend([&one[..], &other].concat().into_iter().take(count));
        }
        assert!(after == expected, "vectored: {vectored}");
    }
}

/// Fills whatever it is given.
struct Pieces(VecDeque<u8>);

impl AsyncRead for Pieces {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(std::io::Read::read(&mut self.get_mut().0, buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let read = buffers
            .iter_mut()
            .map(|buffer| std::io::Read::read(&mut this.0, buffer));
        Poll::Ready(read.sum())
    }
}
