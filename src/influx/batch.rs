//! Whole lines as the body of one request: gzip above 1 KiB, plain below.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::spool::Record;

/// From this size on a body is compressed.
const GZIP_FROM: usize = 1024;

/// Lines that are ready to be sent. A clone shares the body.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    body: Bytes,
    gzip: bool,
    lines: u64,
}

/// What is written together: lines of whole records of the spool.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// What is still to be sent, the next piece first.
    pub(super) pieces: Vec<Batch>,
    /// The records that all of it came from, without their payloads.
    pub(super) records: Vec<Record>,
    /// Whether the server took some of it: then what it refuses is to blame.
    pub(super) is_proven: bool,
    /// Whether it is what an attempt left.
    pub(super) is_rest: bool,
    /// Lines of the records that are written or given up.
    pub(super) settled: u64,
}

impl Group {
    /// Bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        let records = self.records.len() * size_of::<Record>();
        self.pieces.iter().map(Batch::size).sum::<usize>() + records
    }

    /// Lines that are still to be sent.
    pub(super) fn lines(&self) -> u64 {
        self.pieces.iter().map(Batch::lines).sum()
    }
}

impl Batch {
    /// Makes the body of `text`, which is `lines` lines, each with its newline.
    pub(super) fn seal(text: &[u8], lines: u64) -> Self {
        let packed = (text.len() >= GZIP_FROM).then(|| gzip(text).ok()).flatten();
        let gzip = packed.is_some();
        let body = packed.unwrap_or_else(|| text.to_vec());
        Self {
            // A boxed slice has no spare capacity: what is counted is what is kept.
            body: Bytes::from(body.into_boxed_slice()),
            gzip,
            lines,
        }
    }

    /// The body as it is sent.
    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Whether the body is compressed.
    pub(super) fn is_gzip(&self) -> bool {
        self.gzip
    }

    /// How many lines it has.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        self.body.len() + size_of::<Self>()
    }

    /// The lines again, each with its newline.
    ///
    /// # Errors
    /// If the body cannot be inflated.
    pub(super) fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        if self.gzip {
            GzDecoder::new(self.body.as_ref()).read_to_string(&mut text)?;
        } else {
            self.body.as_ref().read_to_string(&mut text)?;
        }
        Ok(text)
    }

    /// Its lines in `parts` of much the same size, fewer where it has fewer lines; none when it has
    /// one line or cannot be read.
    pub(super) fn cut(&self, parts: u64) -> Vec<Self> {
        let text = self.text().unwrap_or_default();
        let (mut rest, mut lines, mut cut) = (text.as_str(), self.lines, Vec::new());
        for left in (2..=parts).rev() {
            let first = lines / left;
            if let Some(at) = end_of(rest, first) {
                let (head, tail) = rest.split_at(at);
                cut.push(Self::seal(head.as_bytes(), first));
                (rest, lines) = (tail, lines - first);
            }
        }
        if !cut.is_empty() {
            cut.push(Self::seal(rest.as_bytes(), lines));
        }
        cut
    }

    /// The `first` lines and the others; none when one of both were empty, or it cannot be read.
    pub(super) fn parts(&self, first: u64) -> Option<(Self, Self)> {
        if first == 0 || first >= self.lines {
            return None;
        }
        let text = self.text().ok()?;
        let (head, tail) = text.split_at(end_of(&text, first)?);
        Some((
            Self::seal(head.as_bytes(), first),
            Self::seal(tail.as_bytes(), self.lines - first),
        ))
    }
}

/// Where so many lines end; none when there are not as many, or it is none.
fn end_of(text: &str, lines: u64) -> Option<usize> {
    let place = usize::try_from(lines).ok()?.checked_sub(1)?;
    text.match_indices('\n').nth(place).map(|(at, _)| at + 1)
}

fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::Batch;

    fn lines(number: usize) -> String {
        (0..number).map(|n| format!("m f={n}i {n}\n")).collect()
    }

    #[test]
    fn parts_together_are_the_whole() {
        for (number, parts, sizes) in [
            (2, 2, vec![1, 1]),
            (3, 2, vec![1, 2]),
            (3, 4, vec![1, 1, 1]),
            (7, 4, vec![1, 2, 2, 2]),
            (400, 4, vec![100; 4]),
        ] {
            let text = lines(number);
            let batch = Batch::seal(text.as_bytes(), number as u64);
            assert_eq!(batch.is_gzip(), number == 400);
            assert_eq!(batch.text().unwrap(), text);
            let cut = batch.cut(parts);
            let counted: Vec<u64> = cut.iter().map(Batch::lines).collect();
            let texts: Vec<String> = cut.iter().map(|part| part.text().unwrap()).collect();
            let held: Vec<u64> = texts
                .iter()
                .map(|text| text.lines().count() as u64)
                .collect();
            assert_eq!((&counted, &held), (&sizes, &sizes), "{number} in {parts}");
            assert_eq!(texts.concat(), text);
        }
        assert!(Batch::seal(b"m f=1i 1\n", 1).cut(4).is_empty());
    }

    #[test]
    fn compression_makes_it_smaller() {
        let text = lines(5000);
        assert!(Batch::seal(text.as_bytes(), 5000).size() < text.len() / 2);
    }
}
