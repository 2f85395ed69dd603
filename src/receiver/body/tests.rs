use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Arrived, Arriving, BEGINNING, Chunks, INFLATE_BYTES, Kind, Refusal};
use crate::model::{Budget, Signal};
use crate::receiver::Encoding;

const LIMIT: usize = 16 << 20;
const PLAIN: Kind = Kind {
    signal: Signal::Traces,
    encoding: Encoding::Protobuf,
    is_gzip: false,
    told: None,
};
const GZIP: Kind = Kind {
    is_gzip: true,
    ..PLAIN
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A field that no OTLP message has, with so many bytes in it: it is skipped, whatever they are.
fn unknown_field(bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![0xfa, 0x3f];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

/// What comes of `body` in chunks of 16 KiB, how many of its bytes were read, and the most that
/// was held meanwhile.
async fn arrive(
    kind: Kind,
    body: &[u8],
    budget: &Budget,
) -> (Result<Arrived, Refusal>, usize, u64) {
    let read = Arc::new(AtomicUsize::new(0));
    let chunks: Vec<Bytes> = body.chunks(16 << 10).map(Bytes::copy_from_slice).collect();
    let counted = Arc::clone(&read);
    let stream = futures_util::stream::iter(chunks).map(move |chunk| {
        counted.fetch_add(chunk.len(), Ordering::Relaxed);
        Ok::<_, Infallible>(chunk)
    });
    let stream = Body::from_stream(stream).into_data_stream();
    let mut chunks = Chunks::new(stream, budget.clone());
    let mut most = 0;
    let outcome = async {
        let mut arriving = Arriving::new(kind, LIMIT, budget)?;
        while let Some(chunk) = chunks.next().await? {
            arriving.push(&chunk).await?;
            most = most.max(budget.held_bytes());
        }
        arriving.finish()
    };
    let outcome = outcome.await;
    (outcome, read.load(Ordering::Relaxed), most)
}

#[tokio::test]
async fn a_body_holds_what_it_takes_until_it_is_dropped() {
    let budget = Budget::new(8 * LIMIT as u64);
    let body = unknown_field(&[7; 300_000]);
    let told = Some(body.len() as u64);
    let two = [gzip(&body[..1_000]), gzip(&body[1_000..])].concat();
    for (kind, sent) in [
        (PLAIN, body.clone()),
        (Kind { told, ..PLAIN }, body.clone()),
        (GZIP, gzip(&body)),
        (GZIP, two),
    ] {
        let (arrived, read, most) = arrive(kind, &sent, &budget).await;
        let Ok(arrived) = arrived else {
            panic!("it was refused")
        };
        assert!(arrived.bytes == body && read == sent.len());
        assert_eq!(budget.held_bytes(), body.len() as u64);
        let above = most - body.len() as u64;
        match kind.told {
            Some(_) => assert_eq!(above, 0, "it is known how long it becomes"),
            None => assert!(above <= (body.len() + INFLATE_BYTES) as u64),
        }
        drop(arrived);
        assert_eq!(budget.held_bytes(), 0);
    }
}

#[tokio::test]
async fn what_cannot_become_a_request_is_refused_at_its_beginning() {
    let budget = Budget::new(2 * LIMIT as u64);
    let wrap = |tag: u8, inner: Vec<u8>| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.extend(inner);
        outer
    };
    let spans = wrap(0x0a, wrap(0x12, [0x12, 0].repeat(7 << 20)));
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}"#,
        "{},".repeat(3 << 20)
    );
    let as_json = Kind {
        encoding: Encoding::Json,
        ..PLAIN
    };
    for (name, kind, body) in [
        ("zeros", PLAIN, vec![0; LIMIT]),
        ("spans", PLAIN, spans.clone()),
        ("json", as_json, json.into_bytes()),
    ] {
        let (plain, read, most) = arrive(kind, &body, &budget).await;
        assert!(plain.is_err() && read < 5 * BEGINNING, "{name}: {read}");
        assert!(most < 8 * BEGINNING as u64, "{name}: {most}");
        let kind = Kind {
            is_gzip: true,
            ..kind
        };
        let (inflated, _, most) = arrive(kind, &gzip(&body), &budget).await;
        assert_eq!(inflated.err(), plain.err(), "{name}");
        assert!(most < (8 * BEGINNING + INFLATE_BYTES) as u64, "{name}");
        assert_eq!(budget.held_bytes(), 0, "{name}");
    }
}

#[tokio::test]
async fn what_is_too_large_or_broken_is_refused_and_holds_nothing() {
    let budget = Budget::new(4 * LIMIT as u64);
    let too_large = Refusal::TooLarge { limit: LIMIT };
    let body = unknown_field(&vec![7; LIMIT]);
    let (outcome, read, _) = arrive(PLAIN, &body, &budget).await;
    assert_eq!(outcome.err(), Some(too_large.clone()));
    assert!(read > LIMIT, "its beginning may be a request's");
    let (outcome, ..) = arrive(GZIP, &gzip(&body), &budget).await;
    assert_eq!(outcome.err(), Some(too_large.clone()));
    let told = Kind {
        told: Some(LIMIT as u64 + 1),
        ..PLAIN
    };
    let (outcome, read, most) = arrive(told, &body, &budget).await;
    assert_eq!((outcome.err(), read, most), (Some(too_large), 0, 0));
    let whole = gzip(b"\x0a\x00");
    let (cut, mut changed) = (&whole[..whole.len() - 3], whole.clone());
    *changed.last_mut().unwrap() ^= 1;
    for broken in [&b""[..], b"no gzip", cut, &changed] {
        let (outcome, ..) = arrive(GZIP, broken, &budget).await;
        assert!(matches!(outcome, Err(Refusal::Malformed(_))), "{broken:?}");
    }
    assert_eq!(budget.held_bytes(), 0);
}

#[tokio::test]
async fn without_room_a_body_is_not_kept() {
    let budget = Budget::new(2 * LIMIT as u64);
    let mut others = budget.hold();
    others
        .grow_to(budget.max_request_bytes() - 100_000)
        .unwrap();
    let held = budget.held_bytes();
    let body = unknown_field(&vec![7; LIMIT / 2]);
    let told = Kind {
        told: Some(body.len() as u64),
        ..PLAIN
    };
    let (outcome, read, _) = arrive(told, &body, &budget).await;
    assert_eq!((outcome.err(), read), (Some(Refusal::NoRoom), 0));
    for (kind, sent) in [(PLAIN, body.clone()), (GZIP, gzip(&body))] {
        let (outcome, ..) = arrive(kind, &sent, &budget).await;
        assert_eq!(outcome.err(), Some(Refusal::NoRoom));
        assert_eq!(budget.held_bytes(), held);
    }
    let (outcome, ..) = arrive(GZIP, &gzip(&unknown_field(&[7; 10_000])), &budget).await;
    assert!(
        outcome.is_ok(),
        "small requests find the room that is left to them"
    );
}
