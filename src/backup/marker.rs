//! The archive's last gzip member: empty, with a header field that says what the
//! archive is. `zcat` sees nothing of it. An archive that was cut at a member's
//! end, which any gzip takes for whole, is told by its absence; and when the
//! metadata is lost, the marker stands in for it.
//!
//! Layout (RFC 1952): ID1 ID2 CM FLG=FEXTRA, 4 bytes of time (0), XFL, OS (255),
//! XLEN, a subfield `AU` with the marker as JSON; then an empty deflate block,
//! CRC-32 and length, all zero. Other subfields, before it or behind it, are passed over.

use serde::{Deserialize, Serialize};

use super::base::{Base, check_bases};
use super::hole::{Hole, check_holes};
use crate::audit::keys::Rotation;
use crate::audit::tree::document;
use crate::audit::tree::document::{DocumentError, Kind, Layout, encode};
use crate::audit::tree::merkle::{Hash, Range};

/// ID1, ID2, deflate, FEXTRA, no time, no flags, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
const SUBFIELD: [u8; 2] = *b"AU";
/// A final, empty block with fixed codes; CRC-32; length.
const NOTHING: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The largest marker: what a header field can hold.
pub(crate) const MAX_MARKER_BYTES: usize = HEADER.len() + 2 + 65_535 + NOTHING.len();

/// What the archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The log's id.
    pub log_id: String,
    /// The log's epoch.
    pub epoch: u32,
    /// The tree over everything before the first record: what retention had removed, or
    /// what the bases hold.
    pub pruned: Range,
    /// The archives that hold the records before its own, the full one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<Base>,
    /// The size of the tree, which is the seq after the last record.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: Hash,
    /// How many gzip members come before this one.
    pub members: u64,
    /// Records in its range that it does not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
    /// Whether there are some, and there was no room to say which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holes_omitted: bool,
    /// The signed checkpoint over that tree.
    pub checkpoint: String,
    /// The key that checks it; believe one that you have from elsewhere.
    pub public_key: String,
    /// How the log's keys followed each other, when it changed them and there is
    /// room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_chain: Vec<Rotation>,
    /// Whether they did, and there was no room to say how.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub key_chain_omitted: bool,
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
    /// A newer version made it.
    #[error("the archive's marker: {0}")]
    Newer(DocumentError),
}

impl Marker {
    /// The gzip member.
    ///
    /// # Errors
    /// [`MarkerError::TooLarge`].
    pub fn member(&self) -> Result<Vec<u8>, MarkerError> {
        let kind = if self.bases.is_empty() { Kind::MARKER } else { Kind::INCREMENTAL_MARKER };
        let text = encode(kind, self, Layout::Compact)
            .map_err(|error| MarkerError::Unreadable(error.to_string()))?;
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

    /// Without the key chain where there is no room for it, which it then says, and with
    /// the `shorter` checkpoint where there still is none: the metadata has both.
    #[must_use]
    pub fn fitting(mut self, shorter: impl FnOnce() -> String) -> Self {
        let fits = |marker: &Self| !matches!(marker.member(), Err(MarkerError::TooLarge(_)));
        if !fits(&self) && !self.key_chain.is_empty() {
            self.key_chain.clear();
            self.key_chain_omitted = true;
        }
        if !fits(&self) {
            self.checkpoint = shorter();
        }
        if !fits(&self) && !self.holes.is_empty() {
            self.holes.clear();
            self.holes_omitted = true;
        }
        self
    }

    /// What to do where its keys are not enough; empty when they are all there.
    #[must_use]
    pub fn keys_hint(&self) -> &'static str {
        if self.key_chain_omitted {
            "; it has no key chain, because there was no room for it: name the key that signed it \
             with --public-key, or put a copy of audit.keys beside the log (the backup's metadata \
             also holds it, as log.key_chain)"
        } else {
            ""
        }
    }

    /// The marker with which these bytes end, and where it begins. Nothing is unpacked.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn at_end(bytes: &[u8]) -> Result<(usize, Self), MarkerError> {
        let from = bytes.len().saturating_sub(MAX_MARKER_BYTES);
        let mut missing = MarkerError::Missing("no such header is there");
        for at in memchr::memmem::rfind_iter(&bytes[from..], &HEADER) {
            match Self::parse(&bytes[from + at..]) {
                Ok(marker) => return Ok((from + at, marker)),
                Err(error) => missing = error,
            }
        }
        Err(missing)
    }

    /// Reads the member back; it must be nothing but the marker.
    ///
    /// # Errors
    /// [`MarkerError::Missing`], [`MarkerError::Unreadable`] and [`MarkerError::Newer`].
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
        let marker: Self = match document::decode(Kind::INCREMENTAL_MARKER, subfield(field)?) {
            Ok(marker) => marker,
            Err(newer @ DocumentError::Newer { .. }) => return Err(MarkerError::Newer(newer)),
            Err(other) => return Err(MarkerError::Unreadable(other.to_string())),
        };
        if marker.pruned.begin() != 0 || marker.pruned.end() > marker.tree_size {
            return Err(MarkerError::Unreadable("its ranges contradict each other".to_owned()));
        }
        check_holes(&marker.holes, (marker.pruned.end(), marker.tree_size))
            .map_err(MarkerError::Unreadable)?;
        check_bases(&marker.bases, &marker.pruned).map_err(MarkerError::Unreadable)?;
        Ok(marker)
    }
}

/// The marker's text among the header's subfields. Two of them would let two readers
/// see two markers.
fn subfield(mut fields: &[u8]) -> Result<&[u8], MarkerError> {
    const CUT: MarkerError = MarkerError::Missing("its header field is cut");
    let mut found = None;
    while let Some((name, rest)) = fields.split_first_chunk::<2>() {
        let (length, rest) = take_u16(rest)?;
        let (content, rest) = rest.split_at_checked(usize::from(length)).ok_or(CUT)?;
        if *name == SUBFIELD && found.replace(content).is_some() {
            return Err(MarkerError::Missing("its header has two of them"));
        }
        fields = rest;
    }
    if !fields.is_empty() {
        return Err(CUT);
    }
    found.ok_or(MarkerError::Missing("another header field"))
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
    use crate::audit::tree::merkle::leaf_hash;

    fn marker() -> Marker {
        let mut pruned = Range::empty(0);
        (0..5_u8).for_each(|n| pruned.append(leaf_hash(&[n])));
        Marker {
            log_id: "3f".repeat(16),
            epoch: 2,
            root_hash: leaf_hash(b"x"),
            pruned,
            bases: Vec::new(),
            tree_size: 800,
            members: 7,
            holes: Vec::new(),
            holes_omitted: false,
            checkpoint: "auditctl/x\n800\nroot\n\n— auditctl/x sig\n".to_owned(),
            public_key: "auditctl/x+00000000+AAAA".to_owned(),
            key_chain: Vec::new(),
            key_chain_omitted: false,
        }
    }

    /// A subfield: its name, and what is in it.
    type Field<'a> = (&'a [u8; 2], &'a [u8]);

    /// A member with such subfields, and its header's lengths right.
    fn with_fields(fields: &[Field<'_>]) -> Vec<u8> {
        let fields: Vec<u8> = fields
            .iter()
            .flat_map(|(name, text)| {
                let length = (text.len() as u16).to_le_bytes();
                [&name[..], &length, text].concat()
            })
            .collect();
        let length = (fields.len() as u16).to_le_bytes();
        [&HEADER[..], &length, &fields, &NOTHING].concat()
    }

    #[test]
    fn other_header_fields_are_passed_over_and_a_second_marker_is_not() {
        let text = encode(Kind::MARKER, &marker(), Layout::Compact).expect("JSON");
        let ours: Field<'_> = (b"AU", &text);
        let other: Field<'_> = (b"Zz", b"\x00AU\x00");
        let empty: Field<'_> = (b"BC", b"");
        for fields in [vec![other, ours], vec![ours, other], vec![empty, other, ours, empty]] {
            assert_eq!(Marker::parse(&with_fields(&fields)), Ok(marker()));
        }
        for fields in [vec![ours, ours], vec![ours, other, ours], vec![other], vec![]] {
            assert!(Marker::parse(&with_fields(&fields)).is_err());
        }
        // A field that says that it is longer than what there is.
        let mut cut = with_fields(&[other, ours]);
        cut[14] = 200;
        assert!(Marker::parse(&cut).is_err());
    }

    #[test]
    fn members_that_are_not_known_are_passed_over_and_a_newer_format_is_named() {
        let text = encode(Kind::MARKER, &marker(), Layout::Compact).expect("JSON");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.starts_with(r#"{"type":"auditctl/marker","format":1,"log_id":"#), "{text}");
        let parse = |text: &str| Marker::parse(&with_fields(&[(b"AU", text.as_bytes())]));
        let added = text.replacen('{', "{ \"new\": {\"a\":[1]} ,", 1);
        assert_eq!(parse(&added), Ok(marker()));
        let inside = text.replace("\"begin\":0", "\"new\":1,\"begin\":0");
        assert!(inside != text && parse(&inside) == Ok(marker()), "{inside}");
        let newer = parse(&text.replace("\"format\":1", "\"format\":3")).expect_err("newer");
        assert!(matches!(&newer, MarkerError::Newer(_)), "{newer}");
        let other = parse(&text.replace("auditctl/marker", "auditctl/drill"));
        assert!(matches!(other, Err(MarkerError::Unreadable(_))));
    }

    #[test]
    fn a_key_chain_that_has_no_room_is_left_out_and_that_is_said() {
        let rotation = |record: usize| Rotation {
            seq: 1,
            old_key: "a".to_owned(),
            new_key: "b".to_owned(),
            record: "x".repeat(record),
            inclusion_proof: Vec::new(),
            checkpoint: String::new(),
            replaced: None,
        };
        let with = |record| Marker { key_chain: vec![rotation(record)], ..marker() };
        // A record that is empty is left out.
        let rest = encode(Kind::MARKER, &with(1), Layout::Compact).expect("JSON").len() - 1;
        // A subfield's own head counts as well.
        let room = 65_535 - 4 - rest;
        for below in [room - 1, room] {
            let whole = with(below).fitting(unreachable);
            assert_eq!(whole, with(below));
            let member = whole.member().expect("there is room");
            assert!(member.len() <= MAX_MARKER_BYTES);
            assert_eq!(Marker::parse(&member), Ok(with(below)));
            assert_eq!(whole.keys_hint(), "");
        }
        let cut = with(room + 1).fitting(unreachable);
        assert_eq!(cut, Marker { key_chain_omitted: true, ..marker() });
        let read = Marker::parse(&cut.member().expect("there is room")).expect("a marker");
        assert_eq!(read, cut);
        assert!(read.keys_hint().contains("--public-key"));
        // Where even the signatures of witnesses leave no room, the log's own are there.
        let crowded = Marker { checkpoint: "w".repeat(65_535), ..with(1) };
        let cut = crowded.fitting(|| "own".to_owned());
        assert_eq!(
            cut,
            Marker { checkpoint: "own".to_owned(), key_chain_omitted: true, ..marker() }
        );
    }

    fn unreachable() -> String {
        unreachable!("the checkpoint fits")
    }

    #[test]
    fn any_gzip_takes_the_marker_for_an_empty_member() {
        let member = marker().member().expect("a member");
        assert_eq!(Marker::parse(&member), Ok(marker()));
        let mut out = Vec::new();
        let mut packer = crate::audit::files::gzip::Packer::new(6);
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
