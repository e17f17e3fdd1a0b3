//! Block filters: which names may occur in a block, so that a query for a rare
//! one reads only the blocks that may have it.
//!
//! `audit.<first seq>.filter` stands beside a compressed segment: for each of its
//! blocks a Bloom filter over the `event_type`, `actor`, `source` and `target` of
//! its records. It is an index and nothing else: made again when it is lost, and
//! taken only for the very file whose SHA-256 it names.
//!
//! # Format
//! `AUDFILT1`, the segment's SHA-256 (32 bytes), the number of blocks (4 bytes,
//! little-endian as all numbers); for each block the filter's length in bytes
//! (4 bytes) and the filter; CRC-32 of all before (4 bytes). A name is in a
//! filter of `m` bits if the bits `(a + i * b) mod m`, for `i` from 0 to 7, are
//! set, `a` and `b` being the first two 8-byte words of SHA-256 over the field's
//! number in stored order (one byte) and the name, `b` made odd.

use std::collections::HashSet;
use std::io;

use sha2::{Digest, Sha256};

use crate::audit::record::head::{Field, Head};
use crate::audit::tree::merkle::Hash;

const MAGIC: &[u8] = b"AUDFILT1";
const HEADER_BYTES: usize = 8 + 32 + 4;
/// With eight probes one name in three hundred is found that is not there.
const BITS_A_NAME: usize = 12;
const PROBES: u64 = 8;
/// A segment's filters take at most so much.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// The fields that filters know.
const FIELDS: [Field; 4] = [Field::EventType, Field::Actor, Field::Source, Field::Target];

/// Whether filters know a field.
pub(crate) fn covers(field: Field) -> bool {
    FIELDS.contains(&field)
}

/// A name, ready to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe(u64, u64);

impl Probe {
    pub(crate) fn new(field: Field, name: &[u8]) -> Self {
        let digest = Sha256::new().chain_update([field as u8]).chain_update(name).finalize();
        let word = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&digest[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        Self(word(0), word(8) | 1)
    }

    fn bits(self, of: u64) -> impl Iterator<Item = u64> {
        (0..PROBES).map(move |nth| self.0.wrapping_add(nth.wrapping_mul(self.1)) % of)
    }
}

/// The filter of a block's lines; `None` when one of them is no record.
pub(crate) fn filter_of(lines: &[u8]) -> Option<Vec<u8>> {
    let mut names: HashSet<(Field, Vec<u8>)> = HashSet::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let head = Head::parse(line)?;
        for field in FIELDS {
            if let Some(name) = head.text(field) {
                names.insert((field, name.to_vec()));
            }
        }
    }
    let bytes = (names.len() * BITS_A_NAME).div_ceil(8).max(8);
    let mut filter = vec![0_u8; bytes];
    for (field, name) in names {
        for bit in Probe::new(field, &name).bits(bytes as u64 * 8) {
            filter[(bit / 8) as usize] |= 1 << (bit % 8);
        }
    }
    Some(filter)
}

/// A segment's filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockFilters(Vec<Vec<u8>>);

impl BlockFilters {
    pub(crate) fn new(filters: Vec<Vec<u8>>) -> Self {
        Self(filters)
    }

    /// Whether a block may have one of the names.
    pub(crate) fn may_have(&self, block: usize, names: &[Probe]) -> bool {
        let Some(filter) = self.0.get(block) else { return true };
        let is_set = |bit: u64| filter[(bit / 8) as usize] & 1 << (bit % 8) != 0;
        names.iter().any(|name| name.bits(filter.len() as u64 * 8).all(is_set))
    }

    /// Whether a block's filter is the one that these lines make.
    pub(crate) fn is_of(&self, block: usize, lines: &[u8]) -> bool {
        self.0.get(block).is_some_and(|filter| filter_of(lines).is_some_and(|of| of == *filter))
    }

    /// The file, for the segment with that SHA-256.
    pub(crate) fn encode(&self, sha256: &str) -> io::Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&digest(sha256).ok_or(io::ErrorKind::InvalidInput)?);
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        for filter in &self.0 {
            out.extend_from_slice(&(filter.len() as u32).to_le_bytes());
            out.extend_from_slice(filter);
        }
        out.extend_from_slice(&crc32(&out).to_le_bytes());
        Ok(out)
    }

    /// Reads the file back; `None` unless it is whole and that segment's.
    pub(crate) fn decode(bytes: &[u8], sha256: &str, blocks: usize) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        let (header, mut rest) = body.split_at_checked(HEADER_BYTES)?;
        let fits = crc == crc32(body).to_le_bytes()
            && header.starts_with(MAGIC)
            && header[8..40] == digest(sha256)?
            && header[40..] == u32::try_from(blocks).ok()?.to_le_bytes();
        if !fits {
            return None;
        }
        let mut filters = Vec::with_capacity(blocks);
        for _ in 0..blocks {
            let (length, after) = rest.split_at_checked(4)?;
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
            let (filter, after) = after.split_at_checked(length as usize)?;
            if filter.is_empty() {
                return None;
            }
            filters.push(filter.to_vec());
            rest = after;
        }
        rest.is_empty().then_some(Self(filters))
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    hex.parse().ok().map(|hash: Hash| *hash.as_bytes())
}

fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(range: std::ops::Range<u32>) -> Vec<u8> {
        range
            .map(|n| format!("{{\"seq\":{n},\"timestamp\":\"2026-02-04T21:09:40.000000Z\",\"event_type\":\"e\",\"actor\":\"user{n}\",\"origin\":{{}}}}\n"))
            .collect::<String>()
            .into_bytes()
    }

    #[test]
    fn a_name_that_is_there_is_never_missed_and_one_that_is_not_seldom_found() {
        let filters = BlockFilters::new(vec![filter_of(&lines(0..2000)).expect("records")]);
        let probe = |n: u32| Probe::new(Field::Actor, format!("user{n}").as_bytes());
        assert!((0..2000).all(|n| filters.may_have(0, &[probe(n)])));
        let wrong = (2000..12_000).filter(|n| filters.may_have(0, &[probe(*n)])).count();
        assert!(wrong < 100, "{wrong} of 10,000");
        assert!(!filters.may_have(0, &[Probe::new(Field::Target, b"user1")]));
        assert!(filters.may_have(1, &[probe(1)]), "a block without a filter may have anything");
        assert_eq!(filter_of(b"no record\n"), None);
    }

    #[test]
    fn the_published_filters_have_the_names_that_are_said_of_them() {
        let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors");
        let read = |name: &str| std::fs::read(home.join(name)).expect("a vector");
        let index: serde_json::Value = serde_json::from_slice(&read("index.json")).expect("json");
        let cases = index["cases"].as_array().expect("cases");
        let case = cases.iter().find(|case| case["kind"] == "filter").expect("a filter");
        let segment = Sha256::digest(read(case["segment"].as_str().expect("a file")));
        let sha256 = crate::units::hex(&segment);
        let file = read(case["path"].as_str().expect("a file"));
        let filters = BlockFilters::decode(&file, &sha256, 1).expect("its filters");
        for (member, is_there) in [("has", true), ("has_not", false)] {
            for pair in case[member].as_array().expect("pairs") {
                let field = FIELDS.into_iter().find(|field| pair[0] == field.as_str());
                let name = pair[1].as_str().expect("a name");
                let probe = Probe::new(field.expect("a field"), name.as_bytes());
                assert_eq!(filters.may_have(0, &[probe]), is_there, "{pair}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_whole_or_another_segments_is_not_taken() {
        let filters = BlockFilters::new(vec![vec![1; 8], vec![2; 16]]);
        let (ours, other) = ("ab".repeat(32), "cd".repeat(32));
        let file = filters.encode(&ours).expect("file");
        assert_eq!(BlockFilters::decode(&file, &ours, 2), Some(filters));
        assert_eq!(BlockFilters::decode(&file, &other, 2), None);
        assert_eq!(BlockFilters::decode(&file, &ours, 3), None);
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert_eq!(BlockFilters::decode(&bad, &ours, 2), None, "byte {at}");
            assert_eq!(BlockFilters::decode(&file[..at], &ours, 2), None, "cut at {at}");
        }
    }
}
