//! What the tests of the spool share: payloads that tell who they are, and folders.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rabtrace::metrics::{Metrics, Stage};
use rabtrace::spool::{Count, Limits, Reader, Record, Spool, SpoolError, SpoolSetup, Writer};

/// Small segments, so that there are many, and no waiting for others.
pub(crate) fn limits() -> Limits {
    Limits {
        disk_bytes: 64 << 20,
        segment_bytes: 8 << 10,
        commit_interval: Duration::ZERO,
        ..Limits::default()
    }
}

pub(crate) fn setup(folder: &Path, limits: Limits) -> SpoolSetup {
    SpoolSetup {
        folder: folder.to_owned(),
        sink: Stage::Influx,
        limits,
        metrics: Metrics::new().unwrap(),
    }
}

pub(crate) fn open(folder: &Path, limits: Limits) -> (Writer, Reader) {
    Spool::open(setup(folder, limits)).unwrap()
}

/// The payload of that number: the number, and bytes that follow from it, half of which pack well.
pub(crate) fn payload(number: u64, length: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(number);
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((length as u64).to_le_bytes());
    let mut content = vec![b'x'; length];
    if number.is_multiple_of(2) {
        random.fill(&mut content);
    }
    bytes.extend(content);
    bytes.into()
}

/// How many items the tests put into the payload of that number.
pub(crate) fn items(number: u64) -> u32 {
    u32::try_from(number % 7).unwrap()
}

/// The number that a payload was made from, if nothing in it has changed.
pub(crate) fn number(record: &Record) -> u64 {
    let word = |at: usize| u64::from_le_bytes(record.payload[at..at + 8].try_into().unwrap());
    let length = usize::try_from(word(8)).unwrap();
    assert_eq!(record.payload, payload(word(0), length));
    assert_eq!(record.items, items(word(0)));
    assert_eq!(record.kind, kind(word(0)));
    word(0)
}

pub(crate) fn kind(number: u64) -> u8 {
    u8::try_from(number % 3).unwrap()
}

pub(crate) async fn append(writer: &Writer, number: u64, length: usize) -> Result<(), SpoolError> {
    let payload = payload(number, length);
    writer.append(kind(number), items(number), payload).await
}

/// Ends the spool, and waits for it.
pub(crate) async fn close(writer: Writer, reader: Reader) {
    let spool = writer.spool();
    drop((writer, reader));
    spool.closed().await;
}

/// The numbers of all records that are left, each done.
pub(crate) async fn drain(writer: Writer, mut reader: Reader) -> Vec<u64> {
    let spool = writer.spool();
    drop(writer);
    let mut numbers = Vec::new();
    while let Some(record) = reader.next().await {
        numbers.push(number(&record));
        reader.done(record).await;
    }
    drop(reader);
    spool.closed().await;
    numbers
}

/// Nothing is unaccounted for.
pub(crate) fn check_balance(spool: &Spool) {
    let stats = spool.stats();
    for pick in [|count: Count| count.records, |count: Count| count.items] {
        let came = pick(stats.found) + pick(stats.appended);
        let gone = pick(stats.delivered) + pick(stats.dropped) + pick(stats.damaged);
        assert_eq!(came, gone + pick(stats.waiting), "{stats:?}");
    }
}
