//! What tells one series from another, as a hash of 128 bits that stays the same over restarts.

use crate::model::{PathRecord, SeriesKey};

/// Two lanes that see the same words and mix them differently.
struct Mixer([u64; 2]);

impl Mixer {
    fn number(&mut self, number: u64) {
        let [one, other] = self.0;
        self.0 = [
            mix(one ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            mix(other.rotate_left(23).wrapping_add(number)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f),
        ];
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word.iter_mut()
                .zip(chunk)
                .for_each(|(place, byte)| *place = *byte);
            self.number(u64::from_le_bytes(word));
        }
    }
}

/// MurmurHash3's finaliser of 64 bits.
const fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

/// The key of the series that a point is of.
pub(super) fn of(record: &PathRecord) -> SeriesKey {
    let mut mixer = Mixer([1, 2]);
    mixer.text(&record.service);
    mixer.text(&record.instance);
    mixer.text(&record.destination);
    for text in [&record.via, &record.error_type] {
        mixer.number(u64::from(text.is_some()));
        mixer.text(text.as_deref().unwrap_or_default());
    }
    mixer.number(record.hash);
    mixer.number(record.parent.unwrap_or(0));
    mixer.number(record.direction as u64 | (record.kind as u64) << 8);
    mixer.number(record.measure as u64);
    if record.cumulative {
        mixer.number(record.start_unix_nano);
    }
    let [one, other] = mixer.0.map(|lane| mix(lane).to_le_bytes());
    let mut key = [0; 16];
    key.iter_mut()
        .zip(one.into_iter().chain(other))
        .for_each(|(place, byte)| *place = byte);
    key
}

/// Stands for the process that sent a point.
pub(super) fn instance(record: &PathRecord) -> u64 {
    let mut mixer = Mixer([3, 4]);
    mixer.text(&record.service);
    mixer.text(&record.instance);
    mix(mixer.0[0])
}
