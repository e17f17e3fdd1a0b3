//! What goes over the wire (<https://c2sp.org/tlog-witness>): the body of
//! `add-checkpoint`, and the body of its answers.
//!
//! ```text
//! old 20852014
//! PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=     consistency proof, at most 63 lines
//!
//! example.com/behind-the-sofa                      the signed checkpoint
//! …
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, parse_decimal};
use crate::audit::tree::merkle::Hash;

/// A proof has no more lines.
pub(crate) const MAX_PROOF_LINES: usize = 63;
/// No request is larger: the note, the proof, the first line.
pub(crate) const MAX_BODY_BYTES: usize = MAX_NOTE_BYTES + 4_096;
/// The media type of a size.
pub(crate) const SIZE_TYPE: &str = "text/x.tlog.size";

/// A request, taken apart. The note is not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddCheckpoint<'a> {
    pub(crate) old_size: u64,
    pub(crate) proof: Vec<Hash>,
    pub(crate) note: &'a [u8],
}

impl<'a> AddCheckpoint<'a> {
    /// Reads a body; strict about its form.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, &'static str> {
        let (head, note) = split(body).ok_or("there is no empty line before the checkpoint")?;
        let head = std::str::from_utf8(head).map_err(|_| "the proof is not UTF-8")?;
        let mut lines = head.split('\n');
        let old_size = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(parse_decimal)
            .ok_or("the first line is not \"old\" and a plain decimal number")?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF_LINES {
                return Err("the proof has more than 63 lines");
            }
            let hash = STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
            proof.push(Hash::from_bytes(hash.ok_or("a proof line is not the base64 of 32 bytes")?));
        }
        Ok(Self { old_size, proof, note })
    }
}

fn split(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memmem::find(body, b"\n\n")?;
    Some((&body[..at], &body[at + 2..]))
}

/// A request's body.
#[cfg(feature = "witness")]
pub(crate) fn encode(old_size: u64, proof: &[Hash], note: &str) -> String {
    let lines = proof.iter().map(|hash| STANDARD.encode(hash.as_bytes()) + "\n");
    format!("old {old_size}\n{}\n{note}", lines.collect::<String>())
}

/// The size in the answer to a request with another one.
#[cfg(feature = "witness")]
pub(crate) fn parse_size(body: &[u8]) -> Option<u64> {
    parse_decimal(std::str::from_utf8(body).ok()?.strip_suffix('\n')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written_and_nothing_else_is_one() {
        let hash = Hash::from_bytes([9; 32]);
        let line = STANDARD.encode(hash.as_bytes());
        let read =
            |body: &str| AddCheckpoint::parse(body.as_bytes()).map(|r| (r.old_size, r.proof.len()));
        assert_eq!(read("old 0\n\nnote"), Ok((0, 0)));
        assert_eq!(read(&format!("old 7\n{line}\n{line}\n\nnote\n\n— x y\n")), Ok((7, 2)));
        assert_eq!(read(&format!("old 7\n{}\nx", format!("{line}\n").repeat(63))), Ok((7, 63)));
        let many = format!("old 7\n{}\nx", format!("{line}\n").repeat(64));
        let cases = [
            "",
            "old 7",
            "old 7\n",
            "old 07\n\nx",
            "old -1\n\nx",
            "old 7 \n\nx",
            "old\n\nx",
            "Old 7\n\nx",
            "old 99999999999999999999\n\nx",
            "old 7\nAAAA\n\nx",
            "old 7\r\n\r\nx",
            &many,
        ];
        for body in cases {
            assert!(AddCheckpoint::parse(body.as_bytes()).is_err(), "{body:?}");
        }
    }

    #[test]
    #[cfg(feature = "witness")]
    fn what_the_client_writes_the_server_reads() {
        let proof = [Hash::from_bytes([1; 32]), Hash::from_bytes([2; 32])];
        for count in 0..=2 {
            let body = encode(42, &proof[..count], "a\n\n— b c\n");
            let read = AddCheckpoint::parse(body.as_bytes()).expect("a request");
            assert_eq!((read.old_size, &read.proof[..]), (42, &proof[..count]));
            assert_eq!(read.note, b"a\n\n\xe2\x80\x94 b c\n");
        }
        assert_eq!(parse_size(b"303\n"), Some(303));
        for wrong in [&b"303"[..], b"", b"\n", b"0303\n", b"303\n\n", b"-1\n", b"\xff\n"] {
            assert_eq!(parse_size(wrong), None);
        }
    }
}
