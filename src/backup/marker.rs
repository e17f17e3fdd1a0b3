//! The archive's last gzip member: empty, with a header field that says what the
//! archive is. `zcat` sees nothing of it. An archive that was cut at a member's
//! end, which any gzip takes for whole, is told by its absence; and when the
//! metadata is lost, the marker stands in for it.
//!
//! Layout (RFC 1952): ID1 ID2 CM FLG=FEXTRA, 4 bytes of time (0), XFL, OS (255),
//! XLEN, one subfield `AU` with the marker as JSON; then an empty deflate block,
//! CRC-32 and length, all zero.

use serde::{Deserialize, Serialize};

use crate::audit::keys::Rotation;
use crate::audit::merkle::{Hash, Range};

/// ID1, ID2, deflate, FEXTRA, no time, no flags, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
const SUBFIELD: [u8; 2] = *b"AU";
/// A final, empty block with fixed codes; CRC-32; length.
const NOTHING: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The largest marker: what a header field can hold.
pub(crate) const MAX_MARKER_BYTES: usize = HEADER.len() + 2 + 65_535 + NOTHING.len();

/// What the archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// 1.
    pub format: u32,
    /// The log's id.
    pub log_id: String,
    /// The log's epoch.
    pub epoch: u32,
    /// The tree over what retention had removed: everything before the first record.
    pub pruned: Range,
    /// The size of the tree, which is the seq after the last record.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: Hash,
    /// How many gzip members come before this one.
    pub members: u64,
    /// The signed checkpoint over that tree.
    pub checkpoint: String,
    /// The key that checks it; believe one that you have from elsewhere.
    pub public_key: String,
    /// How the log's keys followed each other, when it changed them and there is
    /// room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_chain: Vec<Rotation>,
}

/// Why some bytes are no marker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// Too much for a header field.
    #[error("the marker has {0} bytes, more than a gzip header field can hold")]
    TooLarge(usize),
    /// Not a marker.
    #[error("the archive does not end in its marker: {0}")]
    Missing(&'static str),
    /// A marker that this version does not understand.
    #[error("the archive's marker cannot be read: {0}")]
    Unreadable(String),
}

impl Marker {
    /// The gzip member.
    ///
    /// # Errors
    /// [`MarkerError::TooLarge`].
    pub fn member(&self) -> Result<Vec<u8>, MarkerError> {
        let text =
            serde_json::to_vec(self).map_err(|error| MarkerError::Unreadable(error.to_string()))?;
        let too_large = |_| MarkerError::TooLarge(text.len());
        let field = u16::try_from(text.len()).map_err(too_large)?;
        let extra = u16::try_from(text.len() + 4).map_err(too_large)?;
        let mut member = HEADER.to_vec();
        member.extend_from_slice(&extra.to_le_bytes());
        member.extend_from_slice(&SUBFIELD);
        member.extend_from_slice(&field.to_le_bytes());
        member.extend_from_slice(&text);
        member.extend_from_slice(&NOTHING);
        Ok(member)
    }

    /// Reads the member back; it must be nothing but the marker.
    ///
    /// # Errors
    /// [`MarkerError::Missing`] and [`MarkerError::Unreadable`].
    pub fn parse(member: &[u8]) -> Result<Self, MarkerError> {
        let rest =
            member.strip_prefix(&HEADER).ok_or(MarkerError::Missing("another header is there"))?;
        let (extra, rest) = take_u16(rest)?;
        let Some((field, end)) = rest.split_at_checked(usize::from(extra)) else {
            return Err(MarkerError::Missing("its header field is cut"));
        };
        if end != NOTHING {
            return Err(MarkerError::Missing("its last member is not empty"));
        }
        let field =
            field.strip_prefix(&SUBFIELD).ok_or(MarkerError::Missing("another header field"))?;
        let (length, text) = take_u16(field)?;
        if usize::from(length) != text.len() {
            return Err(MarkerError::Missing("its header field is cut"));
        }
        let marker: Self = serde_json::from_slice(text)
            .map_err(|error| MarkerError::Unreadable(error.to_string()))?;
        if marker.format != 1 {
            let reason = format!("format {} is not known to this version", marker.format);
            return Err(MarkerError::Unreadable(reason));
        }
        if marker.pruned.begin() != 0 || marker.pruned.end() > marker.tree_size {
            return Err(MarkerError::Unreadable("its ranges contradict each other".to_owned()));
        }
        Ok(marker)
    }
}

fn take_u16(bytes: &[u8]) -> Result<(u16, &[u8]), MarkerError> {
    match bytes.split_first_chunk::<2>() {
        Some((number, rest)) => Ok((u16::from_le_bytes(*number), rest)),
        None => Err(MarkerError::Missing("its header field is cut")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::audit::merkle::leaf_hash;

    fn marker() -> Marker {
        let mut pruned = Range::empty(0);
        (0..5_u8).for_each(|n| pruned.append(leaf_hash(&[n])));
        Marker {
            format: 1,
            log_id: "3f".repeat(16),
            epoch: 2,
            root_hash: leaf_hash(b"x"),
            pruned,
            tree_size: 800,
            members: 7,
            checkpoint: "auditctl/x\n800\nroot\n\n— auditctl/x sig\n".to_owned(),
            public_key: "auditctl/x+00000000+AAAA".to_owned(),
            key_chain: Vec::new(),
        }
    }

    #[test]
    fn any_gzip_takes_the_marker_for_an_empty_member() {
        let member = marker().member().expect("a member");
        assert_eq!(Marker::parse(&member), Ok(marker()));
        let mut out = Vec::new();
        let mut packer = crate::audit::gzip::Packer::new(6);
        let archive = [packer.member(b"lines\n").expect("packed"), member].concat();
        flate2::read::MultiGzDecoder::new(&archive[..]).read_to_end(&mut out).expect("gzip");
        assert_eq!(out, b"lines\n");
    }

    #[test]
    fn a_marker_that_is_cut_or_altered_in_its_frame_is_none() {
        let member = marker().member().expect("a member");
        for end in 0..member.len() {
            assert!(Marker::parse(&member[..end]).is_err(), "cut at {end}");
        }
        assert!(Marker::parse(&[&member[..], b"x"].concat()).is_err());
        let text = 16..member.len() - NOTHING.len();
        for at in (0..member.len()).filter(|at| !text.contains(at)) {
            let mut bad = member.clone();
            bad[at] ^= 1;
            assert!(Marker::parse(&bad).is_err(), "byte {at}");
        }
    }
}
