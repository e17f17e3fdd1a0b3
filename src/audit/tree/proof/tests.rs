#![allow(clippy::unwrap_used)]

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::audit::tree::merkle::leaf_hash;
use crate::audit::tree::merkle::samples::vectors;

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn known_leaves() -> Vec<Hash> {
    vectors().iter().map(|leaf| leaf_hash(leaf)).collect()
}

fn line(number: u64) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|number| leaf_hash(&line(number))).collect()
}

fn root(leaves: &[Hash]) -> Hash {
    let mut range = Range::empty(0);
    leaves.iter().for_each(|leaf| range.append(*leaf));
    range.root().unwrap()
}

#[test]
fn the_known_inclusion_proofs_are_made_and_verify() {
    let leaves = known_leaves();
    for (index, size, proof) in [
        (0, 1, vec![]),
        (
            0,
            8,
            vec![
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            vec![
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, vec!["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            vec![
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let proof = hashes(&proof);
        assert_eq!(inclusion_proof(&leaves[..], index, size).unwrap(), proof);
        let root = root(&leaves[..size as usize]);
        verify_inclusion(&leaves[index as usize], index, size, &proof, &root).unwrap();
    }
}

#[test]
fn the_known_consistency_proofs_are_made_and_verify() {
    let leaves = known_leaves();
    for (first, second, proof) in [
        (1, 1, vec![]),
        (
            1,
            8,
            vec![
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            vec![
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            vec![
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let proof = hashes(&proof);
        assert_eq!(consistency_proof(&leaves[..], first, second).unwrap(), proof);
        let earlier = root(&leaves[..first as usize]);
        let later = root(&leaves[..second as usize]);
        verify_consistency(first, second, &earlier, &later, &proof).unwrap();
    }
}

#[test]
fn proofs_are_those_of_ct_merkle_at_every_size_and_index() {
    let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let all = leaves(70);
    for size in 1..=70_u64 {
        other.push(line(size - 1));
        let root = root(&all[..size as usize]);
        for index in 0..size {
            let proof = inclusion_proof(&all[..], index, size).unwrap();
            let theirs: InclusionProof<Sha256> = other.prove_inclusion(index as usize);
            assert_eq!(
                proof.iter().flat_map(|h| *h.as_bytes()).collect::<Vec<_>>(),
                theirs.as_bytes()
            );
            verify_inclusion(&all[index as usize], index, size, &proof, &root).unwrap();

            let first = index + 1;
            let proof = consistency_proof(&all[..], first, size).unwrap();
            let theirs: ConsistencyProof<Sha256> = other.prove_consistency((size - first) as usize);
            if first < size {
                let ours: Vec<u8> = proof.iter().flat_map(|h| *h.as_bytes()).collect();
                assert_eq!(ours, theirs.as_bytes(), "{first} of {size}");
            }
            let earlier = self::root(&all[..first as usize]);
            verify_consistency(first, size, &earlier, &root, &proof).unwrap();
        }
    }
}

#[test]
fn impossible_questions_are_refused() {
    let all = leaves(4);
    assert!(matches!(inclusion_proof(&all[..], 4, 4), Err(ProofError::NoSuchRecord { .. })));
    assert!(matches!(consistency_proof(&all[..], 4, 3), Err(ProofError::Sizes { .. })));
    assert!(matches!(inclusion_proof(&all[..], 0, 5), Err(ProofError::Source(_))));
    assert!(matches!(inclusion_proof(&all[..], 0, u64::MAX), Err(ProofError::NoSuchRecord { .. })));
    let root = root(&all);
    assert!(matches!(
        verify_inclusion(&all[0], 0, 0, &[], &root),
        Err(InvalidProof::Numbers { .. })
    ));
    assert!(matches!(
        verify_consistency(5, 4, &root, &root, &[]),
        Err(InvalidProof::Numbers { .. })
    ));
}

#[test]
fn the_empty_tree_begins_every_tree_and_nothing_else_does_without_proof() {
    let (empty, one, other) = (empty_root(), root(&leaves(1)), root(&leaves(2)));
    verify_consistency(0, 0, &empty, &empty, &[]).unwrap();
    verify_consistency(0, 2, &empty, &other, &[]).unwrap();
    assert!(verify_consistency(0, 2, &one, &other, &[]).is_err());
    assert!(verify_consistency(0, 0, &empty, &one, &[]).is_err());
    assert!(verify_consistency(0, 2, &empty, &other, &[one]).is_err());
    assert!(verify_consistency(2, 2, &one, &other, &[]).is_err());
    assert!(verify_consistency(1, 2, &one, &other, &[]).is_err());
}

#[test]
fn the_largest_numbers_neither_overflow_nor_hang() {
    let hash = empty_root();
    let proof = vec![hash; 64];
    for size in [1, 1 << 62, (1 << 62) + 1, u64::MAX] {
        for index in [0, size / 2, size - 1] {
            assert!(verify_inclusion(&hash, index, size, &proof, &hash).is_err());
            assert!(verify_consistency(index, size, &hash, &hash, &proof).is_err());
        }
    }
}

/// A hash with one bit turned.
fn flipped(hash: &Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}

proptest! {
    #[test]
    fn an_inclusion_proof_holds_for_nothing_else(
        size in 1_u64..70, index in 0_u64..70, bit in 0_usize..256, wrong in 0_u64..90,
    ) {
        let index = index % size;
        let all = leaves(size);
        let root = root(&all);
        let leaf = all[index as usize];
        let proof = inclusion_proof(&all[..], index, size).unwrap();
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));

        prop_assert!(verify_inclusion(&flipped(&leaf, bit), index, size, &proof, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, index, size, &proof, &flipped(&root, bit)).is_err());
        for at in 0..proof.len() {
            let mut altered = proof.clone();
            altered[at] = flipped(&proof[at], bit);
            prop_assert!(verify_inclusion(&leaf, index, size, &altered, &root).is_err());
            altered.remove(at);
            prop_assert!(verify_inclusion(&leaf, index, size, &altered, &root).is_err());
        }
        let longer = [&proof[..], &[root]].concat();
        prop_assert!(verify_inclusion(&leaf, index, size, &longer, &root).is_err());
        if wrong != index {
            prop_assert!(verify_inclusion(&leaf, wrong, size, &proof, &root).is_err());
        }
        // The root does not fix the size: where both trees' paths turn the same
        // way, only the checkpoint does. Where the length differs, it is seen.
        if index < wrong && inclusion_proof(&leaves(wrong)[..], index, wrong).unwrap().len() != proof.len() {
            prop_assert!(verify_inclusion(&leaf, index, wrong, &proof, &root).is_err());
        }
    }

    #[test]
    fn a_consistency_proof_holds_for_nothing_else(
        first in 1_u64..40, more in 1_u64..40, bit in 0_usize..256, wrong in 1_u64..90,
    ) {
        let second = first + more;
        let all = leaves(second);
        let (earlier, later) = (root(&all[..first as usize]), root(&all));
        let proof = consistency_proof(&all[..], first, second).unwrap();
        let verify = |first, second, earlier: &Hash, later: &Hash, proof: &[Hash]| {
            verify_consistency(first, second, earlier, later, proof)
        };
        prop_assert_eq!(verify(first, second, &earlier, &later, &proof), Ok(()));

        prop_assert!(verify(first, second, &flipped(&earlier, bit), &later, &proof).is_err());
        prop_assert!(verify(first, second, &earlier, &flipped(&later, bit), &proof).is_err());
        for at in 0..proof.len() {
            let mut altered = proof.clone();
            altered[at] = flipped(&proof[at], bit);
            prop_assert!(verify(first, second, &earlier, &later, &altered).is_err());
            altered.remove(at);
            prop_assert!(verify(first, second, &earlier, &later, &altered).is_err());
        }
        let longer = [&proof[..], &[later]].concat();
        prop_assert!(verify(first, second, &earlier, &later, &longer).is_err());
        if wrong != first {
            prop_assert!(verify(wrong, second, &earlier, &later, &proof).is_err());
        }
    }
}
