//! Leaves for tests: those of others, and our own.

use super::{Range, leaf_hash};

/// The leaves of the certificate-transparency project's own tests.
pub(in crate::audit) fn vectors() -> [Vec<u8>; 8] {
    [
        vec![],
        vec![0x00],
        vec![0x10],
        vec![0x20, 0x21],
        vec![0x30, 0x31],
        (0x40..=0x43).collect(),
        (0x50..=0x57).collect(),
        (0x60..=0x6f).collect(),
    ]
}

/// Something like a record with that number.
pub(in crate::audit) fn line(number: u64) -> Vec<u8> {
    format!("{{\"seq\":{number}}}").into_bytes()
}

/// The tree over the lines of these numbers.
pub(in crate::audit) fn range(begin: u64, end: u64) -> Range {
    let mut range = Range::empty(begin);
    for number in begin..end {
        range.append(leaf_hash(&line(number)));
    }
    range
}
