//! A sealed segment, as the manifest lists it.

use serde::{Deserialize, Serialize};

use crate::audit::files::segment::{Block, Layout};
use crate::audit::paths::sealed_name;
use crate::audit::tree::document::Unknown;
use crate::clock::Timestamp;

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// File name in the log directory.
    pub file: String,
    /// Its first record.
    pub first_seq: u64,
    /// Its number of records.
    pub records: u64,
    /// Its length as lines.
    pub raw_bytes: u64,
    /// Its length as stored.
    pub stored_bytes: u64,
    /// SHA-256 of the stored file, hex; absent until it has been compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// SHA-256 of its file of block filters, hex; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters_sha256: Option<String>,
    /// SHA-256 of the index of its file of columns, hex; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns_sha256: Option<String>,
    /// Earliest `timestamp` in it.
    pub min_timestamp: Timestamp,
    /// Latest `timestamp` in it.
    pub max_timestamp: Timestamp,
    /// What is known to be wrong with the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Its blocks, in order, without gaps.
    pub blocks: Vec<Block>,
    /// What a newer version has added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Segment {
    /// Whether it is stored as gzip members.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.file.ends_with(".gz")
    }

    /// Whether any of its records is here: one that is nothing but holes has no file.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.blocks.is_empty() || self.blocks.iter().any(|block| !block.is_hole())
    }

    /// Whether it is to be compressed.
    pub(crate) fn wants_compression(&self) -> bool {
        !self.is_compressed() && self.damage.is_none() && self.is_stored()
    }

    /// Its holes.
    pub fn holes(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.is_hole())
    }

    /// With these blocks in the place of its own, which are of the same records.
    pub(crate) fn of_blocks(&self, file: String, blocks: Vec<Block>) -> Self {
        Self {
            file,
            raw_bytes: blocks.iter().map(|block| block.raw_bytes).sum(),
            stored_bytes: blocks.iter().map(|block| block.stored_bytes).sum(),
            sha256: None,
            filters_sha256: None,
            columns_sha256: None,
            min_timestamp: blocks.iter().map(|b| b.min_timestamp).min().unwrap_or_default(),
            max_timestamp: blocks.iter().map(|b| b.max_timestamp).max().unwrap_or_default(),
            damage: None,
            blocks,
            ..self.clone()
        }
    }

    /// Notes no hints: nobody whom queries may believe said which are true.
    pub(crate) fn without_hints(&mut self) {
        (self.filters_sha256, self.columns_sha256) = (None, None);
    }

    /// The seq after its last record.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.first_seq + self.records
    }

    /// Of so many records, and no block yet.
    pub(crate) fn empty(first_seq: u64, records: u64) -> Self {
        Self {
            file: sealed_name(first_seq, false),
            first_seq,
            records,
            raw_bytes: 0,
            stored_bytes: 0,
            sha256: None,
            filters_sha256: None,
            columns_sha256: None,
            min_timestamp: Timestamp::default(),
            max_timestamp: Timestamp::default(),
            damage: None,
            blocks: Vec::new(),
            unknown: Unknown::default(),
        }
    }

    /// A segment that has just been sealed and is not compressed yet.
    pub(crate) fn sealed(layout: &Layout, damage: Option<String>) -> Self {
        let blocks = layout.blocks();
        Self {
            file: sealed_name(layout.first_seq, false),
            first_seq: layout.first_seq,
            records: layout.records(),
            raw_bytes: layout.raw_bytes,
            stored_bytes: layout.raw_bytes,
            sha256: None,
            filters_sha256: None,
            columns_sha256: None,
            min_timestamp: blocks.iter().map(|b| b.min_timestamp).min().unwrap_or_default(),
            max_timestamp: blocks.iter().map(|b| b.max_timestamp).max().unwrap_or_default(),
            damage,
            blocks,
            unknown: Unknown::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let (mut seq, mut offset, mut raw) = (self.first_seq, 0_u64, 0_u64);
        for block in &self.blocks {
            let fits = block.first_seq == seq
                && block.offset == offset
                && block.records > 0
                && block.tree.begin() == seq
                && Some(block.tree.end()) == seq.checked_add(block.records);
            if !fits {
                return Err(format!(
                    "{}: its blocks do not follow each other at record {seq}",
                    self.file
                ));
            }
            if block.is_hole() && (block.stored_bytes, block.raw_bytes) != (0, 0) {
                return Err(format!("{}: a hole at record {seq} has bytes", self.file));
            }
            seq = block.tree.end();
            offset = offset.checked_add(block.stored_bytes).ok_or("sizes overflow")?;
            raw = raw.checked_add(block.raw_bytes).ok_or("sizes overflow")?;
        }
        let named = [sealed_name(self.first_seq, false), sealed_name(self.first_seq, true)];
        if Some(seq) != self.first_seq.checked_add(self.records)
            || raw != self.raw_bytes
            || offset != self.stored_bytes
            || !named.contains(&self.file)
        {
            return Err(format!("{}: its blocks do not add up to it", self.file));
        }
        if self.is_compressed() && self.sha256.is_none() && self.is_stored() {
            return Err(format!("{}: it has no SHA-256", self.file));
        }
        Ok(())
    }
}
