//! Proofs about the tree (RFC 6962 §2.1.1 and §2.1.2, verified as in RFC 9162
//! §2.1.3.2 and §2.1.4.2).
//!
//! An *inclusion proof* shows that a record is in the tree with a known root; a
//! *consistency proof* that a later tree begins with all of an earlier one. Both
//! are a few hashes. A verifier takes size and root from a signed checkpoint:
//! a root alone does not fix the size, so a size from elsewhere proves nothing.

use super::merkle::{Hash, MAX_TREE_SIZE, Range, empty_root, node_hash};

/// Where the hashes for proofs come from: stored subtree hashes, records read
/// again, or a slice of leaf hashes.
pub trait RangeHashes {
    /// Why a hash cannot be had.
    type Error: std::error::Error + Send + Sync + 'static;

    /// RFC 6962's `MTH(D[begin:end])` over the leaves `[begin, end)`, of which
    /// there is at least one. `begin` is a multiple of the number of leaves
    /// rounded up to a power of two, so [`Range::subtree_hash`] gives it.
    ///
    /// # Errors
    /// When the leaves are not there or cannot be read.
    fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, Self::Error>;
}

/// Leaves that a slice was asked for and does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no subtree {begin}..{end} among {available} leaf hashes")]
pub struct LeavesMissing {
    /// First leaf.
    pub begin: u64,
    /// One after the last leaf.
    pub end: u64,
    /// How many there are.
    pub available: usize,
}

impl RangeHashes for [Hash] {
    type Error = LeavesMissing;

    fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, LeavesMissing> {
        let missing = || LeavesMissing { begin, end, available: self.len() };
        let bounds = usize::try_from(begin).ok().zip(usize::try_from(end).ok());
        let leaves = bounds.and_then(|(b, e)| self.get(b..e)).ok_or_else(missing)?;
        let mut range = Range::empty(begin);
        leaves.iter().for_each(|leaf| range.append(*leaf));
        range.subtree_hash().map_err(|_| missing())
    }
}

/// Why a proof could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError<E> {
    /// The record is not in a tree of that size.
    #[error("record {index} is not in a tree of {size} records")]
    NoSuchRecord {
        /// The record's number.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The earlier tree is larger than the later one.
    #[error("a tree of {first} records is not the beginning of one of {second}")]
    Sizes {
        /// The earlier tree's size.
        first: u64,
        /// The later tree's size.
        second: u64,
    },
    /// A hash could not be had.
    #[error("cannot read the hashes for the proof: {0}")]
    Source(#[source] E),
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// The numbers cannot belong together.
    #[error("the proof is about impossible numbers: {what}")]
    Numbers {
        /// Which.
        what: &'static str,
    },
    /// Too few or too many hashes for these numbers.
    #[error("the proof has {found} hashes, which does not fit the sizes it is about")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to root {computed}, the {which} tree has {expected}")]
    Root {
        /// "whole", "earlier" or "later".
        which: &'static str,
        /// What the proof leads to.
        computed: Hash,
        /// What it had to lead to.
        expected: Hash,
    },
}

/// Where RFC 6962 splits the leaves `[begin, end)`, two or more: after the
/// largest power of two smaller than their number.
fn split(begin: u64, end: u64) -> u64 {
    begin + (1 << (end - begin - 1).ilog2())
}

/// Narrows `[begin, end)` to one side of its middle, and returns the other side.
fn narrow((begin, end): (&mut u64, &mut u64), middle: u64, to_the_left: bool) -> (u64, u64) {
    if to_the_left {
        (middle, std::mem::replace(end, middle))
    } else {
        (std::mem::replace(begin, middle), middle)
    }
}

/// The hashes that lead from leaf `index` to the root of the tree of `size`
/// leaves, lowest first; at most 62.
///
/// # Errors
/// [`ProofError::NoSuchRecord`] unless `index < size`; [`ProofError::Source`].
pub fn inclusion_proof<S: RangeHashes + ?Sized>(
    source: &S,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProofError<S::Error>> {
    if index >= size || size > MAX_TREE_SIZE {
        return Err(ProofError::NoSuchRecord { index, size });
    }
    let (mut begin, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - begin > 1 {
        let middle = split(begin, end);
        let sibling = narrow((&mut begin, &mut end), middle, index < middle);
        proof.push(source.range_hash(sibling.0, sibling.1).map_err(ProofError::Source)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The hashes that show the tree of `first` leaves to be the beginning of the
/// tree of `second` leaves, lowest first; at most 63. Empty when the sizes are
/// equal or `first` is 0.
///
/// # Errors
/// [`ProofError::Sizes`] unless `first <= second`; [`ProofError::Source`].
pub fn consistency_proof<S: RangeHashes + ?Sized>(
    source: &S,
    first: u64,
    second: u64,
) -> Result<Vec<Hash>, ProofError<S::Error>> {
    if first > second || second > MAX_TREE_SIZE {
        return Err(ProofError::Sizes { first, second });
    }
    let mut proof = Vec::new();
    if first == 0 {
        return Ok(proof);
    }
    let (mut begin, mut end) = (0, second);
    while end != first {
        let middle = split(begin, end);
        let sibling = narrow((&mut begin, &mut end), middle, first <= middle);
        proof.push(source.range_hash(sibling.0, sibling.1).map_err(ProofError::Source)?);
    }
    // A subtree from 0 is the earlier tree itself, whose root the verifier has.
    if begin != 0 {
        proof.push(source.range_hash(begin, end).map_err(ProofError::Source)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that `leaf` is number `index` of the tree of `size` leaves with this
/// `root`.
///
/// # Errors
/// [`InvalidProof`], saying what does not fit.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), InvalidProof> {
    if index >= size {
        return Err(InvalidProof::Numbers { what: "the record is not in a tree of that size" });
    }
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf;
    for step in proof {
        hash = match walk.up() {
            Some(Side::Left) => node_hash(step, &hash),
            Some(Side::Right) => node_hash(&hash, step),
            None => return Err(InvalidProof::Length { found: proof.len() }),
        };
    }
    walk.finish(proof)?;
    expect_root("whole", hash, root)
}

/// Checks that the tree of `second` leaves begins with the tree of `first`.
///
/// # Errors
/// [`InvalidProof`], saying what does not fit.
pub fn verify_consistency(
    first: u64,
    second: u64,
    first_root: &Hash,
    second_root: &Hash,
    proof: &[Hash],
) -> Result<(), InvalidProof> {
    if first > second {
        return Err(InvalidProof::Numbers {
            what: "the earlier tree is larger than the later one",
        });
    }
    if first == 0 || first == second {
        if !proof.is_empty() {
            return Err(InvalidProof::Length { found: proof.len() });
        }
        let expected = if first == 0 { empty_root() } else { *second_root };
        expect_root("earlier", expected, first_root)?;
        // Two empty trees: the later one's root has to be the empty one too.
        return if second == 0 { expect_root("later", expected, second_root) } else { Ok(()) };
    }
    // A perfect earlier tree is itself the first hash; it is left out of proofs.
    let (start, steps) = match proof.split_first() {
        _ if first.is_power_of_two() => (first_root, proof),
        Some((start, steps)) => (start, steps),
        None => return Err(InvalidProof::Length { found: 0 }),
    };
    let mut walk = Walk { node: first - 1, last: second - 1 };
    walk.skip_right_children();
    let (mut earlier, mut later) = (*start, *start);
    for step in steps {
        match walk.up() {
            Some(Side::Left) => {
                earlier = node_hash(step, &earlier);
                later = node_hash(step, &later);
            }
            Some(Side::Right) => later = node_hash(&later, step),
            None => return Err(InvalidProof::Length { found: proof.len() }),
        }
    }
    walk.finish(proof)?;
    expect_root("earlier", earlier, first_root)?;
    expect_root("later", later, second_root)
}

fn expect_root(which: &'static str, computed: Hash, expected: &Hash) -> Result<(), InvalidProof> {
    if computed == *expected {
        return Ok(());
    }
    Err(InvalidProof::Root { which, computed, expected: *expected })
}

/// The side a proof's hash is on.
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root: its number and that of the last node on
/// the same level (`fn` and `sn` of RFC 9162).
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    /// Where the next hash of the proof belongs; `None` at the root.
    fn up(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // On the tree's ragged right edge a node without a sibling rises
            // as it is, until it is a right child.
            while self.node & 1 == 0 && self.node != 0 {
                self.shift();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.shift();
        Some(side)
    }

    /// Rises as long as the node is a right child: to the root of the largest
    /// perfect subtree that ends the earlier tree.
    fn skip_right_children(&mut self) {
        while self.node & 1 == 1 {
            self.shift();
        }
    }

    fn shift(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// All hashes are used: that has to be at the root.
    fn finish(&self, proof: &[Hash]) -> Result<(), InvalidProof> {
        if self.last == 0 { Ok(()) } else { Err(InvalidProof::Length { found: proof.len() }) }
    }
}

#[cfg(test)]
mod tests;
