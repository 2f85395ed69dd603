//! Payloads packed by zstd, each by itself, so that damage to one harms no other.

use bytes::Bytes;

use super::format::{Packing, RecordHeader};

/// Below this a payload is stored as it is: zstd's own frame takes most of what it saves.
const PACK_FROM: usize = 128;
/// Level 1 packs line protocol eight times, faster than a disk takes it.
const LEVEL: i32 = 1;

/// Packs and unpacks, with the memory of zstd kept between payloads.
pub(super) struct Packer {
    packer: Option<zstd::bulk::Compressor<'static>>,
    unpacker: Option<zstd::bulk::Decompressor<'static>>,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self {
            packer: zstd::bulk::Compressor::new(LEVEL).ok(),
            unpacker: zstd::bulk::Decompressor::new().ok(),
        }
    }

    /// Writes `payload` behind what is in `buffer`, packed if that makes it smaller.
    pub(super) fn pack(&mut self, payload: &[u8], buffer: &mut Vec<u8>) -> Packing {
        if payload.len() >= PACK_FROM
            && let Some(packer) = &mut self.packer
            && let Ok(packed) = packer.compress(payload)
            && packed.len() < payload.len()
        {
            buffer.extend_from_slice(&packed);
            return Packing::Zstd;
        }
        buffer.extend_from_slice(payload);
        Packing::Plain
    }

    /// The payload again; none if it is not what the header says.
    pub(super) fn unpack(&mut self, header: &RecordHeader, stored: &[u8]) -> Option<Bytes> {
        let unpacked = usize::try_from(header.unpacked).ok()?;
        let payload = match header.packing {
            Packing::Plain => stored.to_vec(),
            Packing::Zstd => self.unpacker.as_mut()?.decompress(stored, unpacked).ok()?,
        };
        (payload.len() == unpacked).then(|| Bytes::from(payload))
    }
}
