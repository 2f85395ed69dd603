//! The body of a request as it arrives: inflated, limited, and in memory only where there is room.
//!
//! Input: chunks of the connection. Output: [`Arrived`], the whole body and its room in the
//! budget. Room is taken before a chunk is kept, inflated or not, as large as the allocation for
//! it; nobody waits for it. What the sender says of the length is believed only as far as it
//! refuses: who says much and sends nothing holds nothing.
//!
//! - A body that cannot become a request is refused as soon as its beginning shows that.
//! - A body that takes long gives its room back when room is short.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use super::intake::Encoding;
use super::json;
use super::refusal::Refusal;
use super::scan::scan_beginning;
use crate::model::{Budget, Held, Signal};

/// How long a request may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The same when room is short.
const SHORT_READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two looks whether room is short.
const LOOK: Duration = Duration::from_millis(250);
/// The beginning of a body is looked at when it is this long, and each time when it is so many
/// times as long: ordinary requests are shorter, and all looks cost no more than one at the end and a
/// third.
const BEGINNING: usize = 256 << 10;
const LONGER: usize = 4;
/// What inflating takes beside its output: the window, the tables and a buffer.
const INFLATE_BYTES: usize = 96 << 10;
/// So much is inflated at once; it becomes a thousand times as much at most.
const SLICE: usize = 8 << 10;
/// Others get their turn after so much.
const TURN: usize = 1 << 20;

/// What a body is to become.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    /// Whether it is compressed by gzip.
    pub(super) is_gzip: bool,
    /// Its bytes as the sender tells them, if it does.
    pub(super) told: Option<u64>,
}

/// A whole body, and its room.
pub(super) struct Arrived {
    pub(super) bytes: Bytes,
    pub(super) held: Held,
}

/// The chunks of a connection, as long as they may take.
pub(super) struct Chunks {
    pub(super) stream: BodyDataStream,
    begun: Instant,
    budget: Budget,
}

impl Chunks {
    pub(super) fn new(stream: BodyDataStream, budget: Budget) -> Self {
        Self {
            stream,
            begun: Instant::now(),
            budget,
        }
    }

    /// The next chunk; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let taken = self.begun.elapsed();
            if taken >= READ_TIMEOUT {
                return Err(Refusal::TooSlow);
            }
            if taken >= SHORT_READ_TIMEOUT && self.budget.is_short() {
                return Err(Refusal::NoRoom);
            }
            match timeout(LOOK, self.stream.next()).await {
                Ok(Some(Ok(chunk))) => return Ok(Some(chunk)),
                Ok(Some(Err(error))) => return Err(Refusal::Malformed(error.to_string())),
                Ok(None) => return Ok(None),
                Err(_) => {}
            }
        }
    }
}

/// A body of which some is there.
pub(super) enum Arriving {
    Plain(Beginning),
    Gzip(Box<MultiGzDecoder<Beginning>>),
}

impl Arriving {
    /// A body of at most `limit` bytes, of which nothing is there.
    ///
    /// # Errors
    /// If what the sender tells is too large, or finds no room now.
    pub(super) fn new(kind: Kind, limit: usize, budget: &Budget) -> Result<Self, Refusal> {
        let told = kind.told.unwrap_or(0);
        if told > limit as u64 {
            return Err(Refusal::TooLarge { limit });
        }
        if !budget.has_room(told) {
            return Err(Refusal::NoRoom);
        }
        let mut beginning = Beginning {
            kind,
            limit,
            budget: budget.clone(),
            beside: 0,
            held: budget.hold(),
            bytes: Vec::new(),
            next_look: BEGINNING,
            refusal: None,
        };
        if !kind.is_gzip {
            return Ok(Self::Plain(beginning));
        }
        beginning.beside = INFLATE_BYTES;
        beginning.held.grow_to(INFLATE_BYTES as u64)?;
        Ok(Self::Gzip(Box::new(MultiGzDecoder::new(beginning))))
    }

    /// Takes a chunk in.
    pub(super) async fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let decoder = match self {
            Self::Plain(beginning) => return beginning.push(chunk),
            Self::Gzip(decoder) => decoder,
        };
        let mut turn = decoder.get_ref().bytes.len();
        for slice in chunk.chunks(SLICE) {
            if let Err(error) = decoder.write_all(slice) {
                return Err(decoder.get_mut().refused(&error));
            }
            let inflated = decoder.get_ref().bytes.len();
            if inflated - turn > TURN {
                turn = inflated;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// The body, when all of it came.
    pub(super) fn finish(self) -> Result<Arrived, Refusal> {
        let beginning = match self {
            Self::Plain(beginning) => beginning,
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(decoder.get_mut().refused(&error));
                }
                let finished = decoder.finish();
                finished.map_err(|error| Refusal::Malformed(error.to_string()))?
            }
        };
        Ok(beginning.arrived())
    }
}

/// What is there of a body, inflated.
pub(super) struct Beginning {
    kind: Kind,
    limit: usize,
    budget: Budget,
    /// What is held beside the bytes themselves.
    beside: usize,
    held: Held,
    bytes: Vec<u8>,
    next_look: usize,
    /// Why nothing more is taken.
    refusal: Option<Refusal>,
}

impl Beginning {
    fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let needed = self.bytes.len() + chunk.len();
        if needed > self.limit {
            return Err(Refusal::TooLarge { limit: self.limit });
        }
        if needed > self.bytes.capacity() {
            self.reserve(needed)?;
        }
        self.bytes.extend_from_slice(chunk);
        if self.bytes.len() >= self.next_look {
            self.next_look = self.bytes.len().saturating_mul(LONGER);
            self.look()?;
        }
        Ok(())
    }

    /// Makes the allocation larger, when there is room for that.
    fn reserve(&mut self, needed: usize) -> Result<(), Refusal> {
        let told = self.kind.told.filter(|_| !self.kind.is_gzip);
        let most = told.and_then(|told| usize::try_from(told).ok());
        let most = most.unwrap_or(self.limit);
        let capacity = (self.bytes.capacity() * 2).min(most).max(needed);
        self.held.grow_to((capacity + self.beside) as u64)?;
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    /// Whether this can become a request that would be taken, and finds room so far.
    fn look(&self) -> Result<(), Refusal> {
        let most = self.budget.max_request_bytes();
        let decoded = match self.kind.encoding {
            Encoding::Protobuf => {
                scan_beginning(self.kind.signal, &self.bytes, most)?.decoded_bytes
            }
            Encoding::Json => json::scan(&self.bytes, most)?,
        };
        if self.budget.has_room(decoded) {
            Ok(())
        } else {
            Err(Refusal::NoRoom)
        }
    }

    /// What the sender is told after `error` of the decoder.
    fn refused(&mut self, error: &io::Error) -> Refusal {
        let own = self.refusal.clone();
        own.unwrap_or_else(|| Refusal::Malformed(format!("gzip: {error}")))
    }

    fn arrived(mut self) -> Arrived {
        self.bytes.shrink_to_fit();
        self.held.shrink_to(self.bytes.capacity() as u64);
        Arrived {
            bytes: self.bytes.into(),
            held: self.held,
        }
    }
}

impl Write for Beginning {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        // The decoder writes once more what it has when it is dropped.
        if self.refusal.is_none() {
            self.refusal = self.push(chunk).err();
        }
        match &self.refusal {
            None => Ok(chunk.len()),
            Some(refusal) => Err(io::Error::other(refusal.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
