//! Making columns, block by block.

use std::collections::HashMap;
use std::io;

use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest, Sha256};

use super::stripe::{Codes, Texts, encode_times};
use super::{MAX_BLOCKS, MAX_PART_BYTES, MAX_RECORDS, Made, PARTS, Part, Place, Stripe, encode};
use crate::audit::files::segment::Block;
use crate::audit::record::head::{Field, Head};
use crate::clock::Timestamp;

/// A field is kept where it takes at most one in so many bytes of its compressed blocks: else
/// reading these is not much more.
const PAYS: u64 = 8;
/// It pays always while it takes no more than this.
const LITTLE: u64 = 512;
const LEVEL: i32 = 6;
/// Longer than any name that is taken from a sender.
const MAX_TEXT_BYTES: usize = u16::MAX as usize;

/// Makes a segment's columns.
pub(crate) struct Builder {
    first_seq: u64,
    stripes: Vec<Stripe>,
    body: Vec<u8>,
    open: Option<Open>,
    compressor: Compressor,
}

/// The stripe that grows.
struct Open {
    first_seq: u64,
    blocks: usize,
    stored: u64,
    times: Vec<i64>,
    fields: [Names; Field::ALL.len()],
}

/// What its records have in a field.
#[derive(Default)]
struct Names {
    of: HashMap<Box<[u8]>, u16>,
    codes: Vec<u16>,
}

impl Builder {
    pub(crate) fn new(first_seq: u64) -> Self {
        let compressor = Compressor::new(CompressionLvl::new(LEVEL).unwrap_or_default());
        Self { first_seq, stripes: Vec::new(), body: Vec::new(), open: None, compressor }
    }

    /// Adds the next block, whose lines these are, compressed to so many bytes. Where one of
    /// them is not what the log's writer writes, it has no columns.
    pub(crate) fn block(&mut self, block: &Block, lines: &[u8], stored: u64) -> io::Result<()> {
        let Some(rows) = rows(block, lines) else { return self.close() };
        let is_full = |open: &Open| {
            let records = open.times.len() as u64 + block.records;
            let follows = open.first_seq + open.times.len() as u64 == block.first_seq;
            !follows || open.blocks >= MAX_BLOCKS || records > MAX_RECORDS
        };
        if self.open.as_ref().is_some_and(is_full) {
            self.close()?;
        }
        if block.records > MAX_RECORDS {
            return Ok(());
        }
        let open = self.open.get_or_insert_with(|| Open::new(block.first_seq));
        open.blocks += 1;
        open.stored += stored;
        for (head, time) in &rows {
            open.times.push(time.micros());
            for (names, field) in open.fields.iter_mut().zip(Field::ALL) {
                names.push(head.text(field));
            }
        }
        Ok(())
    }

    /// The file. Where there is nothing to say it says so, and nobody tries again.
    pub(crate) fn finish(mut self) -> io::Result<Made> {
        self.close()?;
        let mut file = encode(self.first_seq, &self.stripes)?;
        let sha256 = crate::audit::files::restore::sha256_hex(&file);
        file.append(&mut self.body);
        Ok(Made { file, sha256 })
    }

    /// Ends the stripe.
    fn close(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut parts = [Place::default(); PARTS];
        let pays = (open.stored / PAYS).max(LITTLE);
        let times = self.add(&[encode_times(&open.times)], u64::MAX)?;
        parts[Part::Times.place()] = times.first().copied().unwrap_or_default();
        for (names, field) in open.fields.into_iter().zip(Field::ALL) {
            let both = self.add(&names.encode(), pays)?;
            if let [texts, codes] = both[..] {
                parts[Part::Texts(field).place()] = texts;
                parts[Part::Codes(field).place()] = codes;
            }
        }
        let records = open.times.len() as u64;
        self.stripes.push(Stripe { first_seq: open.first_seq, records, parts });
        Ok(())
    }

    /// Adds parts, where they pay.
    fn add(&mut self, raw: &[Vec<u8>], pays: u64) -> io::Result<Vec<Place>> {
        if raw.iter().any(|raw| raw.len() > MAX_PART_BYTES) {
            return Ok(Vec::new());
        }
        let packed: Vec<Vec<u8>> =
            raw.iter().map(|raw| self.pack(raw)).collect::<io::Result<_>>()?;
        if packed.iter().map(|part| part.len() as u64).sum::<u64>() > pays {
            return Ok(Vec::new());
        }
        let place = |(raw, packed): (&Vec<u8>, &Vec<u8>)| Place {
            // Known to whoever reads the index.
            offset: 0,
            stored: packed.len() as u32,
            raw: raw.len() as u32,
            sha256: Sha256::digest(packed).into(),
        };
        let places = raw.iter().zip(&packed).map(place).collect();
        packed.iter().for_each(|part| self.body.extend_from_slice(part));
        Ok(places)
    }

    /// As deflate, where that is shorter.
    fn pack(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        let mut packed = vec![0; self.compressor.deflate_compress_bound(raw.len())];
        let length = self.compressor.deflate_compress(raw, &mut packed);
        packed.truncate(length.map_err(|error| io::Error::other(error.to_string()))?);
        Ok(if packed.len() < raw.len() { packed } else { raw.to_vec() })
    }
}

impl Open {
    fn new(first_seq: u64) -> Self {
        Self { first_seq, blocks: 0, stored: 0, times: Vec::new(), fields: Default::default() }
    }
}

impl Names {
    fn push(&mut self, text: Option<&[u8]>) {
        let next = self.of.len() as u16 + 1;
        let code = match text {
            None => 0,
            Some(text) => match self.of.get(text) {
                Some(code) => *code,
                None => *self.of.entry(text.into()).or_insert(next),
            },
        };
        self.codes.push(code);
    }

    /// Its texts, sorted, and which of them each record has.
    fn encode(self) -> [Vec<u8>; 2] {
        let mut sorted: Vec<(Box<[u8]>, u16)> = self.of.into_iter().collect();
        sorted.sort_unstable();
        let mut new = vec![0_u16; sorted.len() + 1];
        let mut texts = Texts::default();
        for (nth, (text, old)) in sorted.iter().enumerate() {
            new[usize::from(*old)] = nth as u16 + 1;
            texts.push(text);
        }
        let codes: Vec<u16> = self.codes.iter().map(|code| new[usize::from(*code)]).collect();
        [texts.encode(), Codes::encode(&codes, texts.len())]
    }
}

/// The fields of a block's records and their times; `None` unless they are as the log's
/// writer writes them.
pub(crate) fn rows<'l>(block: &Block, lines: &'l [u8]) -> Option<Vec<(Head<'l>, Timestamp)>> {
    let mut rows = Vec::new();
    let mut spelled = Vec::new();
    for (seq, line) in (block.first_seq..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
        let head = Head::of_the_writer(line.strip_suffix(b"\n")?)?;
        let is_long = |field| head.text(field).is_some_and(|text| text.len() > MAX_TEXT_BYTES);
        let time: Timestamp = std::str::from_utf8(&head.timestamp).ok()?.parse().ok()?;
        spelled.clear();
        time.write_to(&mut spelled);
        if head.seq != seq || *spelled != *head.timestamp || Field::ALL.into_iter().any(is_long) {
            return None;
        }
        rows.push((head, time));
    }
    (rows.len() as u64 == block.records).then_some(rows)
}

/// The columns of blocks and their lines.
#[cfg(test)]
pub(crate) fn columns_of(
    segment: &crate::audit::files::manifest::Segment,
    lines: &[&[u8]],
) -> Option<Made> {
    let mut builder = Builder::new(segment.first_seq);
    for (block, lines) in segment.blocks.iter().zip(lines) {
        builder.block(block, lines, block.stored_bytes).ok()?;
    }
    builder.finish().ok()
}
