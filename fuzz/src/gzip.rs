//! Blocks as gzip members: never more than a block can hold, whatever they say.

use std::io::Read;

use auditctl::audit::files::examine::{examine, leaves};
use auditctl::audit::files::gzip::{MAX_BLOCK_BYTES, Packer, Unpacker};
use auditctl::audit::member_lengths;
use auditctl::audit::record::peek_seq;

use super::memory::Memory;

/// As members, and as lines to be made one.
pub fn check(data: &[u8]) {
    let mut lines = Vec::new();
    let unpacked = Unpacker::new().unpack(data, &mut lines);
    assert!(lines.capacity() <= 2 * MAX_BLOCK_BYTES, "{} bytes", lines.capacity());
    if unpacked.is_ok() {
        assert!(lines.len() <= MAX_BLOCK_BYTES);
        assert_eq!(other(data).as_deref(), Some(&lines[..]), "gzip reads something else");
        assert_eq!(member_lengths(&Memory(data)).expect("members"), [data.len() as u64]);
        block(&lines);
    }
    if let Ok(lengths) = member_lengths(&Memory(data)) {
        assert_eq!(lengths.iter().sum::<u64>(), data.len() as u64, "nothing between members");
    }
    block(data);
    let member = Packer::new(1).member(data).expect("packed");
    Unpacker::new().unpack(&member, &mut lines).expect("unpacked");
    assert_eq!(lines, data);
}

/// What another decoder makes of it, as far as a block goes.
fn other(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(data).take(MAX_BLOCK_BYTES as u64 + 1);
    decoder.read_to_end(&mut out).ok().map(|_| out)
}

fn block(lines: &[u8]) {
    let Some(first_seq) = peek_seq(lines) else { return };
    let Ok(block) = examine(lines, first_seq, (0, 0)) else { return };
    let newlines = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!((block.first_seq, block.records), (first_seq, newlines));
    assert_eq!(block.raw_bytes, lines.len() as u64);
    assert_eq!(block.tree.end() - block.tree.begin(), newlines);
    assert_eq!(leaves(lines).count() as u64, newlines);
    assert!(block.min_timestamp <= block.max_timestamp);
}
