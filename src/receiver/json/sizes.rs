//! How vectors grow, and how long a length is in protobuf.

/// By how many places a vector grows when its `number`th element comes.
pub(super) const fn growth(number: u64) -> u64 {
    match number {
        1 => 4,
        5.. if (number - 1).is_power_of_two() => number - 1,
        _ => 0,
    }
}

/// Places of a vector of `number` elements that came one by one, and of its old self half as many.
pub(super) const fn grown(number: u64) -> u64 {
    match number {
        0 => 0,
        1..=4 => 4,
        _ => number.next_power_of_two() / 2 * 3,
    }
}

/// Tag and length of what has `length` bytes in protobuf.
pub(super) const fn prefix(length: u64) -> u64 {
    match length {
        0..0x80 => 2,
        0x80..0x4000 => 3,
        _ => 6,
    }
}
