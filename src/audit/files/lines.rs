//! Stored lines as they are, good or not: of a block that the manifest notes, or of a file
//! about which nothing is known. Nothing is judged here.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

use super::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES, Unpacker};
use super::manifest::Segment;
use super::segment::Block;
use crate::fsio::{FileReader, FsFile};

/// A block's lines as they are stored, or why they cannot be read.
pub(in crate::audit) fn lines_of_block(
    file: &dyn FsFile,
    segment: &Segment,
    block: &Block,
    unpacker: &mut Unpacker,
) -> Result<Vec<u8>, String> {
    let most = if segment.is_compressed() { MAX_MEMBER_BYTES } else { MAX_BLOCK_BYTES };
    let length = usize::try_from(block.stored_bytes).ok().filter(|length| *length <= most);
    let length = length.ok_or("it is larger than a block can be")?;
    let mut stored = vec![0; length];
    file.read_exact_at(&mut stored, block.offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the file ends before them".to_owned(),
        _ => error.to_string(),
    })?;
    if !segment.is_compressed() {
        return Ok(stored);
    }
    let mut raw = Vec::new();
    unpacker.unpack(&stored, &mut raw).map_err(|error| error.to_string())?;
    Ok(raw)
}

/// A file's lines. Of a compressed one, those of every member that can be read.
pub(in crate::audit) fn lines_of_file(
    is_compressed: bool,
    file: &dyn FsFile,
) -> std::io::Result<Vec<u8>> {
    const MAGIC: [u8; 4] = [0x1f, 0x8b, 8, 0];
    let mut stored = Vec::new();
    FileReader { file, offset: 0 }.read_to_end(&mut stored)?;
    if !is_compressed {
        return Ok(stored);
    }
    let (mut lines, mut at) = (Vec::new(), 0);
    while at < stored.len() {
        let mut rest = &stored[at..];
        let mut member = Vec::new();
        // One member at a time on purpose: behind a damaged one the next is looked for.
        #[allow(clippy::disallowed_methods)]
        let decoder = GzDecoder::new(&mut rest);
        let read = decoder.take(MAX_BLOCK_BYTES as u64 + 1).read_to_end(&mut member);
        if read.is_ok_and(|length| length <= MAX_BLOCK_BYTES) {
            lines.append(&mut member);
            at = stored.len() - rest.len();
        } else {
            match memchr::memmem::find(&stored[at + 1..], &MAGIC) {
                Some(next) => at += 1 + next,
                None => break,
            }
        }
    }
    Ok(lines)
}
