//! Columns: what the records of a compressed segment have in the fields that questions name,
//! field by field, so that counting them reads no record.
//!
//! `audit.<first seq>.columns` stands beside a compressed segment. It is derived from the
//! records and nothing else: made again when it is lost, in no backup, and taken only where
//! the manifest that the log's key signed has the SHA-256 of its index. The index has the
//! SHA-256 of every part, so that a question hashes only what it reads.
//!
//! # Format
//! Numbers are little-endian. The index: `AUDCOLS1`; the segment's first seq (8 bytes); the
//! number of stripes (4 bytes); for each stripe its first seq (8 bytes), its number of records
//! (4 bytes) and its eleven parts: the length as stored (4 bytes), the length unpacked
//! (4 bytes), the SHA-256 as stored (32 bytes). Behind the index the parts follow each other.
//! A part is raw deflate, or as it is where both lengths are the same. A length of 0: the
//! field is not in this stripe. A stripe is of whole blocks that follow each other. The parts:
//!
//! - the times: for each record what its `timestamp` is later than the one before, in
//!   microseconds, the first one since 1970: as LEB128 of the zigzag code;
//! - for each of `event_type`, `actor`, `source`, `target` and `outcome` its different texts,
//!   sorted by their bytes: how many (2 bytes), each one's length (2 bytes), and their bytes;
//! - and then for each record the number of its text, from 1; 0 where it has none. In one byte
//!   each where there are at most 255 texts, else in two.

mod build;
mod judge;
mod stripe;

use std::io;

use sha2::{Digest, Sha256};

use super::manifest::Segment;
use super::restore::sha256_hex;
use crate::audit::paths::LogPaths;
use crate::audit::record::head::Field;
use crate::fsio::{Fs, FsFile, OpenMode};

pub(crate) use build::Builder;
pub(crate) use judge::Judge;
use stripe::times;
pub(crate) use stripe::{Codes, Texts};

const MAGIC: &[u8; 8] = b"AUDCOLS1";
/// The magic, the first seq, the number of stripes.
const HEADER_BYTES: usize = 8 + 8 + 4;
const PART_BYTES: usize = 4 + 4 + 32;
/// The times, and texts and codes of five fields.
const PARTS: usize = 1 + 2 * Field::ALL.len();
const STRIPE_BYTES: usize = 8 + 4 + PARTS * PART_BYTES;
/// A stripe has at most so many records: a number of a text has two bytes.
const MAX_RECORDS: u64 = u16::MAX as u64;
/// A stripe has at most so many blocks.
const MAX_BLOCKS: usize = 64;
/// A part is at most so long, unpacked.
pub(crate) const MAX_PART_BYTES: usize = 2 << 20;

/// What a part of a stripe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Times,
    Texts(Field),
    Codes(Field),
}

impl Part {
    fn place(self) -> usize {
        match self {
            Self::Times => 0,
            Self::Texts(field) => 1 + 2 * field as usize,
            Self::Codes(field) => 2 + 2 * field as usize,
        }
    }
}

/// Where a part is, and what it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    offset: u64,
    stored: u32,
    raw: u32,
    sha256: [u8; 32],
}

/// The columns of some blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stripe {
    /// Its first record.
    pub(crate) first_seq: u64,
    /// Its number of records.
    pub(crate) records: u64,
    parts: [Place; PARTS],
}

impl Stripe {
    fn end(&self) -> u64 {
        self.first_seq + self.records
    }

    /// Whether it has that field of its records.
    pub(crate) fn has(&self, field: Field) -> bool {
        self.parts[Part::Codes(field).place()].raw > 0
    }
}

/// A segment's file of columns, held open.
#[derive(Debug)]
pub(crate) struct Columns {
    file: Box<dyn FsFile>,
    stripes: Vec<Stripe>,
}

impl Columns {
    /// Those of a segment, where they are there and are those that the log made of it.
    pub(crate) fn open(fs: &dyn Fs, paths: &LogPaths, segment: &Segment) -> Option<Self> {
        let noted = segment.columns_sha256.as_deref()?;
        let file = fs.open(&paths.columns(segment.first_seq), OpenMode::ReadOwn).ok()?;
        let mut index = vec![0; HEADER_BYTES];
        file.read_exact_at(&mut index, 0).ok()?;
        let count = usize::try_from(word(index.get(16..)?)?).ok()?;
        // Each has a block of its own.
        if count > segment.blocks.len() {
            return None;
        }
        let length = HEADER_BYTES + count * STRIPE_BYTES;
        if file.meta().ok()?.len < length as u64 {
            return None;
        }
        index.resize(length, 0);
        file.read_exact_at(&mut index[HEADER_BYTES..], HEADER_BYTES as u64).ok()?;
        if sha256_hex(&index) != noted {
            return None;
        }
        let stripes = decode(&index, segment)?;
        Some(Self { file, stripes })
    }

    /// Which stripe has these records.
    pub(crate) fn stripe_of(&self, first_seq: u64, end_seq: u64) -> Option<usize> {
        let nth = self.stripes.partition_point(|stripe| stripe.end() <= first_seq);
        let stripe = self.stripes.get(nth)?;
        (stripe.first_seq <= first_seq && end_seq <= stripe.end()).then_some(nth)
    }

    /// A stripe.
    pub(crate) fn stripe(&self, nth: usize) -> &Stripe {
        &self.stripes[nth]
    }

    /// The different texts of a field; `None` where they cannot be read or are not those of
    /// the index.
    pub(crate) fn texts(&self, nth: usize, field: Field, reader: &mut Reader) -> Option<Texts> {
        Texts::decode(self.part(nth, Part::Texts(field), reader)?)
    }

    /// Which of them each record has, as above.
    pub(crate) fn codes(
        &self,
        (nth, field): (usize, Field),
        texts: &Texts,
        reader: &mut Reader,
    ) -> Option<Codes> {
        let records = self.stripes[nth].records as usize;
        Codes::decode(self.part(nth, Part::Codes(field), reader)?, records, texts.len())
    }

    /// The times of the records, in microseconds, as above.
    pub(crate) fn times(&self, nth: usize, reader: &mut Reader) -> Option<Vec<i64>> {
        let records = self.stripes[nth].records as usize;
        times(self.part(nth, Part::Times, reader)?, records)
    }

    /// Whether every part is the one that the index says.
    pub(crate) fn are_whole(&self) -> bool {
        let mut reader = Reader::default();
        (0..self.stripes.len()).all(|nth| {
            let of = |field: Field, reader: &mut Reader| {
                let Some(texts) = self.texts(nth, field, reader) else { return false };
                self.codes((nth, field), &texts, reader).is_some()
            };
            self.times(nth, &mut reader).is_some()
                && Field::ALL
                    .into_iter()
                    .filter(|field| self.stripes[nth].has(*field))
                    .all(|field| of(field, &mut reader))
        })
    }

    fn part<'r>(&self, nth: usize, part: Part, reader: &'r mut Reader) -> Option<&'r [u8]> {
        let place = &self.stripes[nth].parts[part.place()];
        reader.stored.resize(place.stored as usize, 0);
        self.file.read_exact_at(&mut reader.stored, place.offset).ok()?;
        reader.bytes_read += u64::from(place.stored);
        if place.raw == 0 || Sha256::digest(&reader.stored)[..] != place.sha256[..] {
            return None;
        }
        if place.raw == place.stored {
            return Some(&reader.stored);
        }
        reader.raw.resize(place.raw as usize, 0);
        let length = reader.unpacker.deflate_decompress(&reader.stored, &mut reader.raw).ok()?;
        (length == reader.raw.len()).then_some(&reader.raw)
    }
}

/// Buffers and a decompressor, for many parts.
pub(crate) struct Reader {
    unpacker: libdeflater::Decompressor,
    stored: Vec<u8>,
    raw: Vec<u8>,
    /// What was read so far, as stored.
    pub(crate) bytes_read: u64,
}

impl Default for Reader {
    fn default() -> Self {
        let unpacker = libdeflater::Decompressor::new();
        Self { unpacker, stored: Vec::new(), raw: Vec::new(), bytes_read: 0 }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// A file of columns that has been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// All of it.
    pub(crate) file: Vec<u8>,
    /// The SHA-256 of its index, for the manifest.
    pub(crate) sha256: String,
}

fn encode(first_seq: u64, stripes: &[Stripe]) -> io::Result<Vec<u8>> {
    let mut index = MAGIC.to_vec();
    index.extend_from_slice(&first_seq.to_le_bytes());
    let count = u32::try_from(stripes.len()).map_err(io::Error::other)?;
    index.extend_from_slice(&count.to_le_bytes());
    for stripe in stripes {
        index.extend_from_slice(&stripe.first_seq.to_le_bytes());
        index.extend_from_slice(&(stripe.records as u32).to_le_bytes());
        for place in &stripe.parts {
            index.extend_from_slice(&place.stored.to_le_bytes());
            index.extend_from_slice(&place.raw.to_le_bytes());
            index.extend_from_slice(&place.sha256);
        }
    }
    Ok(index)
}

fn decode(index: &[u8], segment: &Segment) -> Option<Vec<Stripe>> {
    let (header, body) = index.split_at_checked(HEADER_BYTES)?;
    let is_of = header.starts_with(MAGIC) && header[8..16] == segment.first_seq.to_le_bytes();
    if !is_of {
        return None;
    }
    let mut offset = index.len() as u64;
    let mut next = segment.first_seq;
    let mut stripes = Vec::with_capacity(body.len() / STRIPE_BYTES);
    for bytes in body.chunks_exact(STRIPE_BYTES) {
        let first_seq = u64::from_le_bytes(*bytes.first_chunk()?);
        let records = u64::from(word(&bytes[8..])?);
        let mut parts = [Place::default(); PARTS];
        for (place, bytes) in parts.iter_mut().zip(bytes[12..].chunks_exact(PART_BYTES)) {
            let (stored, raw) = (word(bytes)?, word(&bytes[4..])?);
            if raw as usize > MAX_PART_BYTES || stored > raw {
                return None;
            }
            *place = Place { offset, stored, raw, sha256: *bytes[8..].first_chunk()? };
            offset += u64::from(stored);
        }
        let end = first_seq.checked_add(records)?;
        let fits = first_seq >= next && end <= segment.end_seq();
        if !fits || !(1..=MAX_RECORDS).contains(&records) {
            return None;
        }
        next = end;
        stripes.push(Stripe { first_seq, records, parts });
    }
    Some(stripes)
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests;
