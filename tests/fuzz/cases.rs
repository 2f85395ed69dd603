//! Cases from a seed: the same everywhere, and broken in the ways in which bytes break.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Characters that some reader takes for more than themselves.
const CHARACTERS: [char; 24] = [
    ',', '=', ' ', '\\', '"', '\'', '\n', '\r', '\t', '\0', '#', '%', '&', '+', ';', '/', '{', '[',
    ':', '-', '9', 'a', 'é', '😀',
];

/// What a case is made from.
pub(crate) struct Cases(fastrand::Rng);

impl Cases {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn number(&mut self) -> u64 {
        match self.0.u8(..4) {
            0 => self.0.u64(..8),
            1 => u64::MAX - self.0.u64(..4),
            2 => 1 << self.0.u32(..64),
            _ => self.0.u64(..),
        }
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit)
    }

    /// Whether this one of so many cases is it.
    pub(crate) fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    pub(crate) fn choice<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.0.u8(..)).collect()
    }

    /// A text of characters that mean something, and any others.
    pub(crate) fn text(&mut self, most: usize) -> String {
        let length = self.below(most + 1);
        let character = |_| match self.0.u8(..4) {
            0 => self.0.char(..),
            _ => CHARACTERS[self.0.usize(..CHARACTERS.len())],
        };
        (0..length).map(character).collect()
    }

    /// Does to `bytes` what happens to bytes, a few times.
    pub(crate) fn breaks(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            let to = bytes.len().min(at + self.below(64));
            match self.below(10) {
                0 => bytes.truncate(at),
                1..=4 => bytes[at] ^= 1 << self.below(8),
                5 => bytes.insert(at, self.0.u8(..)),
                6 => drop(bytes.drain(at..to)),
                7 => bytes[at] = self.choice(&[0, 1, 0x7f, 0x80, 0xff]),
                8 => {
                    let part = bytes[at..to].to_vec();
                    let place = self.below(bytes.len());
                    bytes.splice(place..place, part);
                }
                _ => bytes[at..to]
                    .iter_mut()
                    .for_each(|byte| *byte = self.0.u8(..)),
            }
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Runs cases as long as it may; a case is `true` if it came to what is looked for, and at least
/// every `share`th must.
pub(crate) fn fuzz(what: &str, share: u64, mut run: impl FnMut(&mut Cases) -> bool) {
    let seconds = variable("RABTRACE_FUZZ_SECONDS").unwrap_or(2);
    let first = variable("RABTRACE_FUZZ_SEED").unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut seed, mut reached) = (first, 0);
    loop {
        match catch_unwind(AssertUnwindSafe(|| run(&mut Cases::new(seed)))) {
            Ok(came_there) => reached += u64::from(came_there),
            Err(_) => panic!("{what}: RABTRACE_FUZZ_SEED={seed} RABTRACE_FUZZ_SECONDS=0 fails"),
        }
        seed = seed.wrapping_add(1);
        if Instant::now() >= end {
            break;
        }
    }
    let tried = seed.wrapping_sub(first);
    println!("{what}: {tried} cases from seed {first}, {reached} of them reached its end");
    assert!(
        seconds == 0 || reached * share >= tried,
        "{reached} of {tried}: is this still looking?"
    );
}
