//! The RFC 6962 tree: hashes of lines, of nodes, and *ranges* of leaves.
//!
//! A [`Range`] is what is worth keeping of the leaves `[begin, end)`: the roots
//! of the largest aligned perfect subtrees that make it up, left to right; at
//! most two a level, so about `2 log2(len)` hashes whatever the length. Ranges
//! that meet can be joined without the leaves ([`Range::extend`]), which turns
//! the ranges of blocks into those of segments, and a range from 0 into the
//! root of the log. The idea and the name are those of transparency-dev's
//! "compact range" (<https://github.com/transparency-dev/merkle/blob/main/docs/compact_ranges.md>).
//!
//! ```
//! use auditctl::audit::tree::merkle::{Range, leaf_hash};
//!
//! let mut first = Range::empty(0);
//! first.append(leaf_hash(b"{\"seq\":0}"));
//! let mut rest = Range::empty(1);
//! rest.append(leaf_hash(b"{\"seq\":1}"));
//! rest.append(leaf_hash(b"{\"seq\":2}"));
//! first.extend(&rest)?;
//! assert_eq!(first.len(), 3);
//! println!("{}", first.root()?);
//! # Ok::<(), auditctl::audit::tree::merkle::RangeError>(())
//! ```

mod hash;

use serde::{Deserialize, Serialize};

pub use hash::{Hash, HashError, empty_root, leaf_hash, node_hash};

/// The largest tree that is accepted anywhere: 2^62 records, so that sums of
/// two sizes never overflow, not even with sizes read from a hostile file.
pub const MAX_TREE_SIZE: u64 = 1 << 62;

/// Why a [`Range`] cannot be what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The other range does not begin where this one ends.
    #[error("records {begin}..{end} cannot follow a range that ends at {expected}")]
    NotAdjacent {
        /// Where the joined range had to begin.
        expected: u64,
        /// Where it begins.
        begin: u64,
        /// Where it ends.
        end: u64,
    },
    /// Bounds that no tree can have.
    #[error("{begin}..{end} is no range of records (0 <= begin <= end <= 2^62)")]
    Bounds {
        /// First leaf.
        begin: u64,
        /// One after the last leaf.
        end: u64,
    },
    /// The number of hashes does not fit the bounds.
    #[error("the range {begin}..{end} is made of {expected} subtree hashes, not {found}")]
    HashCount {
        /// First leaf.
        begin: u64,
        /// One after the last leaf.
        end: u64,
        /// How many hashes the bounds ask for.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A root was asked of a range that does not begin at 0.
    #[error("the range {begin}..{end} has no root: only a range that begins at 0 has one")]
    NotFromStart {
        /// First leaf.
        begin: u64,
        /// One after the last leaf.
        end: u64,
    },
    /// A subtree hash was asked of a range that is no subtree of any tree.
    #[error(
        "the range {begin}..{end} is not a subtree: its beginning is not aligned to its length"
    )]
    NotSubtree {
        /// First leaf.
        begin: u64,
        /// One after the last leaf.
        end: u64,
    },
}

/// The leaves `[begin, end)`, as the roots of the largest aligned perfect
/// subtrees they fall into, left to right.
///
/// Stored as `{"begin":…,"end":…,"hashes":["…",…]}`; reading it back refuses
/// bounds above [`MAX_TREE_SIZE`] and any other number of hashes than the bounds
/// ask for. Whether the hashes are true only a comparison with a signed root
/// tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredRange")]
pub struct Range {
    begin: u64,
    end: u64,
    hashes: Vec<Hash>,
}

#[derive(Deserialize)]
struct StoredRange {
    begin: u64,
    end: u64,
    hashes: Vec<Hash>,
}

impl TryFrom<StoredRange> for Range {
    type Error = RangeError;

    fn try_from(stored: StoredRange) -> Result<Self, RangeError> {
        Self::from_parts(stored.begin, stored.end, stored.hashes)
    }
}

/// One perfect subtree of a [`Range`]: the 2^`level` leaves from `begin` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtree {
    /// Its first leaf; a multiple of 2^`level`.
    pub begin: u64,
    /// Its height; 0 is a single leaf.
    pub level: u32,
    /// Its root.
    pub hash: Hash,
}

impl Range {
    /// No leaves yet; the next one is number `begin`, which is at most
    /// [`MAX_TREE_SIZE`].
    #[must_use]
    pub fn empty(begin: u64) -> Self {
        debug_assert!(begin <= MAX_TREE_SIZE, "a range begins within the largest tree");
        Self { begin, end: begin, hashes: Vec::new() }
    }

    /// From what [`begin`](Self::begin), [`end`](Self::end) and
    /// [`hashes`](Self::hashes) gave.
    ///
    /// # Errors
    /// [`RangeError::Bounds`] and [`RangeError::HashCount`].
    pub fn from_parts(begin: u64, end: u64, hashes: Vec<Hash>) -> Result<Self, RangeError> {
        if begin > end || end > MAX_TREE_SIZE {
            return Err(RangeError::Bounds { begin, end });
        }
        let expected = shapes(begin, end).count();
        if hashes.len() != expected {
            return Err(RangeError::HashCount { begin, end, expected, found: hashes.len() });
        }
        Ok(Self { begin, end, hashes })
    }

    /// The first leaf's number.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// One more than the last leaf's number; for a range from 0, the tree size.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The number of leaves.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.begin
    }

    /// Whether there are no leaves.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// The subtrees' roots, left to right.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The subtrees, left to right.
    pub fn subtrees(&self) -> impl Iterator<Item = Subtree> + '_ {
        shapes(self.begin, self.end).zip(&self.hashes).map(|((begin, level), &hash)| Subtree {
            begin,
            level,
            hash,
        })
    }

    /// Adds the next leaf. One node hash on average; allocates only when the
    /// range first grows to twice its length.
    #[inline]
    pub fn append(&mut self, leaf: Hash) {
        self.push(0, leaf);
    }

    /// Adds the next stored line, given without its LF, and returns its leaf
    /// hash.
    #[inline]
    pub fn append_line(&mut self, line: &[u8]) -> Hash {
        let leaf = leaf_hash(line);
        self.push(0, leaf);
        leaf
    }

    /// Adds the leaves of a range that begins where this one ends.
    ///
    /// # Errors
    /// [`RangeError::NotAdjacent`], [`RangeError::Bounds`]; the range is then
    /// unchanged.
    pub fn extend(&mut self, next: &Range) -> Result<(), RangeError> {
        if next.begin != self.end {
            let (begin, end) = (next.begin, next.end);
            return Err(RangeError::NotAdjacent { expected: self.end, begin, end });
        }
        for subtree in next.subtrees() {
            self.push(subtree.level, subtree.hash);
        }
        Ok(())
    }

    /// The leaves `begin..end` of these, where whole subtrees make them up.
    #[must_use]
    pub fn within(&self, begin: u64, end: u64) -> Option<Range> {
        let inside = self
            .subtrees()
            .filter(|tree| tree.begin >= begin && tree.begin + (1 << tree.level) <= end)
            .map(|tree| tree.hash);
        Range::from_parts(begin, end, inside.collect()).ok()
    }

    /// Forgets all leaves and goes on at `begin`, keeping the memory.
    pub fn reset(&mut self, begin: u64) {
        debug_assert!(begin <= MAX_TREE_SIZE, "a range begins within the largest tree");
        self.begin = begin;
        self.end = begin;
        self.hashes.clear();
    }

    /// The RFC 6962 root of the tree of `end` leaves.
    ///
    /// # Errors
    /// [`RangeError::NotFromStart`] unless the range begins at 0.
    pub fn root(&self) -> Result<Hash, RangeError> {
        if self.begin != 0 {
            return Err(RangeError::NotFromStart { begin: self.begin, end: self.end });
        }
        Ok(self.fold())
    }

    /// RFC 6962's `MTH(D[begin:end])`: the hash of these leaves as a subtree of
    /// a larger tree, which is what proofs are made of. The same as
    /// [`root`](Self::root) for a range from 0.
    ///
    /// # Errors
    /// [`RangeError::NotSubtree`] when `begin` is not a multiple of the length
    /// rounded up to a power of two: such leaves are under no common node.
    pub fn subtree_hash(&self) -> Result<Hash, RangeError> {
        if !self.begin.is_multiple_of(self.len().max(1).next_power_of_two()) {
            return Err(RangeError::NotSubtree { begin: self.begin, end: self.end });
        }
        Ok(self.fold())
    }

    /// Hashes the subtrees together from the right, as RFC 6962 splits a tree:
    /// right only where their sizes fall from left to right.
    fn fold(&self) -> Hash {
        self.hashes
            .iter()
            .copied()
            .rev()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }

    /// Adds a perfect subtree of 2^level leaves at `end`, a multiple of that,
    /// joining it with each left sibling that is within the range. The sibling
    /// is then the last hash: nothing larger fits between it and the end.
    #[inline]
    fn push(&mut self, mut level: u32, mut hash: Hash) {
        let mut start = self.end;
        self.end += 1 << level;
        while start >> level & 1 == 1 && start - (1 << level) >= self.begin {
            let Some(sibling) = self.hashes.pop() else { break };
            hash = node_hash(&sibling, &hash);
            start -= 1 << level;
            level += 1;
        }
        self.hashes.push(hash);
    }
}

/// The (first leaf, level) of the subtrees that `[begin, end)` is made of.
fn shapes(begin: u64, end: u64) -> impl Iterator<Item = (u64, u32)> {
    let mut at = begin;
    std::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|left| *left > 0)?;
        let level = at.trailing_zeros().min(left.ilog2());
        let shape = (at, level);
        at += 1 << level;
        Some(shape)
    })
}

#[cfg(test)]
pub(in crate::audit) mod samples;
#[cfg(test)]
mod tests;
