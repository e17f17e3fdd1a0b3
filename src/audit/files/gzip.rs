//! Blocks as gzip members. Each member is a whole gzip file of its own, so that
//! `zcat` reads any run of them, and any one of them can be read alone.

use std::io;

use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use super::segment::BLOCK_BYTES;
use crate::audit::record::event::MAX_LINE_BYTES;

/// The most that a member holds, uncompressed. A promise of the format, to whoever reads
/// members one by one: a block closes with the record that fills it.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;
const _: () = assert!(
    BLOCK_BYTES as usize - 1 + MAX_LINE_BYTES + b"\n".len() <= MAX_BLOCK_BYTES,
    "the longest line, in a block that is one byte from full, and its LF"
);
/// The most bytes a member can have: deflate stores what it cannot compress, at
/// 5 bytes for each 64 KiB.
pub const MAX_MEMBER_BYTES: usize = MAX_BLOCK_BYTES + MAX_BLOCK_BYTES / 1024 + 1024;
/// CRC-32 and length, at a member's end.
const TRAILER_BYTES: usize = 8;
/// The shortest member: header, an empty block, trailer.
const LEAST_BYTES: usize = 10 + 2 + TRAILER_BYTES;

/// Why some bytes are not one member that holds a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Shorter than any member.
    #[error("{0} bytes are too few for a gzip member")]
    TooShort(usize),
    /// It says that it holds more than a block can.
    #[error("it claims to hold {0} bytes, more than a block can ({MAX_BLOCK_BYTES})")]
    TooLarge(usize),
    /// Its header, its deflate data or its checksum is wrong, or it holds
    /// another number of bytes than it says.
    #[error("it is not a complete gzip member: {0}")]
    Damaged(String),
}

/// Compresses blocks. Keeps its working memory, so one is best used for many.
pub struct Packer {
    compressor: Compressor,
    unpacker: Unpacker,
    back: Vec<u8>,
    room: Vec<u8>,
}

impl Packer {
    /// At a level from 1 (fast) to 9 (small); others are taken for the nearest.
    #[must_use]
    pub fn new(level: u32) -> Self {
        let level = CompressionLvl::new(level.clamp(1, 9) as i32).unwrap_or_default();
        let (back, room) = (Vec::new(), Vec::new());
        Self { compressor: Compressor::new(level), unpacker: Unpacker::new(), back, room }
    }

    /// One member, for whoever reads it back from where it is stored before it is trusted.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn member_unread(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        self.room.resize(self.compressor.gzip_compress_bound(raw.len()), 0);
        let length = self
            .compressor
            .gzip_compress(raw, &mut self.room)
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(self.room[..length].to_vec())
    }

    /// One member, read back before it is trusted: compressors have had bugs.
    ///
    /// # Errors
    /// When what comes back is not what went in.
    pub fn member(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        let member = self.member_unread(raw)?;
        let same = self.unpacker.unpack(&member, &mut self.back).is_ok() && self.back == raw;
        if same {
            return Ok(member);
        }
        Err(io::Error::other("a block did not decompress to what was compressed"))
    }
}

/// Decompresses blocks, never more than one can hold.
pub struct Unpacker(Decompressor);

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

impl Unpacker {
    /// Ready.
    #[must_use]
    pub fn new() -> Self {
        Self(Decompressor::new())
    }

    /// Replaces `out` with what the member holds. Its checksum is checked.
    ///
    /// # Errors
    /// See [`MemberError`]; what is in `out` then is meaningless.
    pub fn unpack(&mut self, member: &[u8], out: &mut Vec<u8>) -> Result<(), MemberError> {
        let Some(trailer) = member.len().checked_sub(TRAILER_BYTES) else {
            return Err(MemberError::TooShort(member.len()));
        };
        if member.len() < LEAST_BYTES {
            return Err(MemberError::TooShort(member.len()));
        }
        let word = |at: usize| {
            u32::from_le_bytes([member[at], member[at + 1], member[at + 2], member[at + 3]])
        };
        let claimed = word(trailer + 4) as usize;
        if claimed > MAX_BLOCK_BYTES {
            return Err(MemberError::TooLarge(claimed));
        }
        let damaged = |reason: &str| Err(MemberError::Damaged(reason.to_owned()));
        if member[3] != 0 {
            // No name, comment or checksum of its own: decoders differ in whether
            // they check that, and nothing is to be hidden there.
            return damaged("its header has fields that no block's has");
        }
        out.resize(claimed, 0);
        match self.0.gzip_decompress(member, out) {
            Ok(length) if length != claimed => damaged("it holds less than it says"),
            // The decompressor stops where the data ends: what is stuck on behind
            // it would not be found, were the end not the trailer of that data.
            Ok(_) if word(trailer) != crc32(out) || ends_early(member, trailer) => {
                damaged("more follows than one member")
            }
            Ok(_) => Ok(()),
            Err(DecompressionError::InsufficientSpace) => damaged("it holds more than it says"),
            Err(DecompressionError::BadData) => damaged("bad data or a wrong checksum"),
        }
    }
}

/// Whether the member that begins there ends before the bytes do, though these
/// end in its trailer. The trailer would then be there twice.
fn ends_early(member: &[u8], trailer: usize) -> bool {
    let twice = memchr::memmem::find(&member[..member.len() - 1], &member[trailer..]).is_some();
    // One member on purpose: the question is where it ends. Its size was checked.
    #[allow(clippy::disallowed_methods)]
    let mut decoder = flate2::bufread::GzDecoder::new(member);
    twice && (io::copy(&mut decoder, &mut io::sink()).is_err() || !decoder.into_inner().is_empty())
}

fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn lines(bytes: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for n in 0_u64.. {
            if text.len() >= bytes {
                break;
            }
            text.extend_from_slice(format!("{{\"seq\":{n},\"x\":\"{}\"}}\n", n * 7919).as_bytes());
        }
        text
    }

    #[test]
    fn a_member_comes_back_and_any_gzip_reads_it() {
        for bytes in [0, 1, 100, 1 << 20] {
            let raw = lines(bytes);
            for level in [1, 6, 9] {
                let member = Packer::new(level).member(&raw).expect("packed");
                let mut out = Vec::new();
                Unpacker::new().unpack(&member, &mut out).expect("unpacked");
                assert_eq!(out, raw);
                let mut other = Vec::new();
                flate2::read::MultiGzDecoder::new(&member[..])
                    .read_to_end(&mut other)
                    .expect("gzip");
                assert_eq!(other, raw);
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_the_data_and_every_cut_is_found() {
        let raw = lines(2_000);
        let member = Packer::new(6).member(&raw).expect("packed");
        let mut out = Vec::new();
        let mut found = 0;
        // The header's time, flags for nobody and system id carry nothing.
        for at in 10..member.len() {
            for bit in 0..8 {
                let mut bad = member.clone();
                bad[at] ^= 1 << bit;
                // The bits between the last code and the trailer carry nothing.
                let told = Unpacker::new().unpack(&bad, &mut out).is_err() || out == raw;
                assert!(told, "byte {at}, bit {bit}");
                found += usize::from(out != raw);
            }
        }
        assert!(found > member.len() * 7, "{found} of {}", member.len() * 8);
        for end in 0..member.len() {
            assert!(Unpacker::new().unpack(&member[..end], &mut out).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_follows_a_member_is_no_part_of_it() {
        let mut out = Vec::new();
        let member = Packer::new(6).member(&lines(500)).expect("packed");
        for more in [&b"x"[..], &[0; 40], &member] {
            let both = [&member[..], more].concat();
            assert!(Unpacker::new().unpack(&both, &mut out).is_err(), "{} more", more.len());
        }
    }

    /// What any other gzip makes of it: `Packer` makes none that is too large.
    fn packed_elsewhere(raw: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(raw).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn a_member_holds_two_mebibytes_and_not_a_byte_more() {
        let mut out = Vec::new();
        for bytes in [MAX_BLOCK_BYTES - 1, MAX_BLOCK_BYTES] {
            let raw = lines(bytes)[..bytes].to_vec();
            let own = Packer::new(1).member(&raw).expect("it is written");
            for member in [own, packed_elsewhere(&raw)] {
                Unpacker::new().unpack(&member, &mut out).expect("it is read");
                assert!(out == raw, "{bytes}");
            }
        }
        let raw = lines(MAX_BLOCK_BYTES + 1)[..=MAX_BLOCK_BYTES].to_vec();
        assert!(Packer::new(1).member(&raw).is_err(), "not written");
        let error = Unpacker::new().unpack(&packed_elsewhere(&raw), &mut out).expect_err("above");
        assert_eq!(error, MemberError::TooLarge(MAX_BLOCK_BYTES + 1));
    }

    #[test]
    fn what_cannot_be_compressed_fits_into_a_stored_member() {
        // The hashes of counters are as random as anything.
        let mut noise = Vec::with_capacity(MAX_BLOCK_BYTES);
        for n in 0_u64.. {
            if noise.len() >= MAX_BLOCK_BYTES {
                break;
            }
            noise.extend_from_slice(
                crate::audit::tree::merkle::leaf_hash(&n.to_le_bytes()).as_bytes(),
            );
        }
        let member = Packer::new(1).member(&noise[..MAX_BLOCK_BYTES]).expect("packed");
        assert!((MAX_BLOCK_BYTES..=MAX_MEMBER_BYTES).contains(&member.len()), "{}", member.len());
    }

    #[test]
    fn a_gzip_bomb_is_refused_before_there_is_room_for_it() {
        let mut member = Packer::new(9).member(&vec![b'a'; MAX_BLOCK_BYTES]).expect("packed");
        let end = member.len();
        member[end - 4..].copy_from_slice(&(MAX_BLOCK_BYTES as u32 + 1).to_le_bytes());
        let mut out = Vec::new();
        let error = Unpacker::new().unpack(&member, &mut out).expect_err("too large");
        assert_eq!(error, MemberError::TooLarge(MAX_BLOCK_BYTES + 1));
        assert!(out.capacity() <= MAX_BLOCK_BYTES);
        // Nor when it says less than it holds.
        member[end - 4..].copy_from_slice(&10_u32.to_le_bytes());
        assert!(Unpacker::new().unpack(&member, &mut out).is_err());
    }
}
