#![allow(clippy::unwrap_used)]

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use super::samples::{line, range, vectors};
use super::*;

/// The roots of the first 1 to 8 of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// RFC 6962 §2.1, word for word.
fn naive(begin: u64, end: u64) -> Hash {
    match end - begin {
        0 => empty_root(),
        1 => leaf_hash(&line(begin)),
        count => {
            let split = begin + (count.next_power_of_two() / 2);
            node_hash(&naive(begin, split), &naive(split, end))
        }
    }
}

#[test]
fn the_certificate_transparency_vectors_hold() {
    let mut tree = Range::empty(0);
    assert_eq!(
        tree.root().unwrap().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    for (leaf, root) in vectors().iter().zip(ROOTS) {
        tree.append_line(leaf);
        assert_eq!(tree.root().unwrap(), root.parse().unwrap());
    }
}

#[test]
fn roots_agree_with_ct_merkle_at_every_size() {
    let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let mut ours = Range::empty(0);
    for number in 0..600 {
        assert_eq!(ours.root().unwrap().as_bytes()[..], other.root().as_bytes()[..], "{number}");
        ours.append_line(&line(number));
        other.push(line(number));
    }
}

#[test]
fn a_range_is_made_of_the_largest_aligned_subtrees() {
    let shape = |begin, end| -> Vec<(u64, u32)> {
        range(begin, end).subtrees().map(|tree| (tree.begin, tree.level)).collect()
    };
    assert_eq!(shape(0, 0), []);
    assert_eq!(shape(0, 7), [(0, 2), (4, 1), (6, 0)]);
    assert_eq!(shape(3, 13), [(3, 0), (4, 2), (8, 2), (12, 0)]);
    assert_eq!(shape(5, 8), [(5, 0), (6, 1)]);
    for subtree in range(3, 13).subtrees() {
        assert_eq!(subtree.hash, naive(subtree.begin, subtree.begin + (1 << subtree.level)));
    }
}

#[test]
fn a_subtree_hash_is_that_of_the_definition_or_refused() {
    for begin in 0..40_u64 {
        for end in begin..40 {
            let aligned = begin % (end - begin).max(1).next_power_of_two() == 0;
            match range(begin, end).subtree_hash() {
                Ok(hash) => assert!(aligned && hash == naive(begin, end), "{begin}..{end}"),
                Err(error) => assert!(!aligned, "{error}"),
            }
        }
    }
}

#[test]
fn only_a_range_from_zero_has_a_root() {
    assert_eq!(range(1, 3).root(), Err(RangeError::NotFromStart { begin: 1, end: 3 }));
}

#[test]
fn ranges_that_do_not_meet_are_not_joined() {
    let mut first = range(0, 3);
    let before = first.clone();
    assert!(matches!(first.extend(&range(4, 6)), Err(RangeError::NotAdjacent { .. })));
    assert!(matches!(first.extend(&range(2, 6)), Err(RangeError::NotAdjacent { .. })));
    assert_eq!(first, before);
}

#[test]
fn appending_does_not_allocate_once_grown() {
    let mut range = range(7, 900);
    let capacity = range.hashes.capacity();
    range.reset(7);
    for number in 7..900 {
        range.append(leaf_hash(&line(number)));
    }
    assert_eq!((range.len(), range.hashes.capacity()), (893, capacity));
}

#[test]
fn a_range_reads_back_what_it_wrote() {
    let range = range(3, 13);
    let text = serde_json::to_string(&range).unwrap();
    assert!(text.starts_with(r#"{"begin":3,"end":13,"hashes":["#), "{text}");
    assert_eq!(serde_json::from_str::<Range>(&text).unwrap(), range);
}

#[test]
fn a_hostile_range_is_refused() {
    let hash = empty_root().to_string();
    for (begin, end, count, reason) in [
        (0, 3, 1, "made of 2"),
        (0, 3, 3, "made of 2"),
        (0, 0, 1, "made of 0"),
        (3, 2, 0, "no range"),
        (0, u64::MAX, 64, "no range"),
        (u64::MAX, u64::MAX, 0, "no range"),
        (0, MAX_TREE_SIZE + 1, 2, "no range"),
    ] {
        let hashes = vec![hash.clone(); count];
        let text = serde_json::json!({"begin": begin, "end": end, "hashes": hashes}).to_string();
        let error = serde_json::from_str::<Range>(&text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let short = r#"{"begin":0,"end":1,"hashes":["abcd"]}"#;
    assert!(serde_json::from_str::<Range>(short).is_err());
}

#[test]
fn a_hash_is_64_hexadecimal_digits() {
    let text = ROOTS[0];
    let hash: Hash = text.parse().unwrap();
    assert_eq!(hash.to_string(), text);
    assert!(text.to_uppercase().parse::<Hash>().is_err(), "a hash has one spelling");
    for bad in ["", &text[1..], &format!("{text}0"), &text.replace('6', "g"), &"é".repeat(32)] {
        assert!(bad.parse::<Hash>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn however_the_leaves_are_split_the_joined_range_is_the_same(
        begin in 0_u64..70,
        lengths in prop::collection::vec(0_u64..30, 0..8),
    ) {
        let mut joined = Range::empty(begin);
        for length in &lengths {
            joined.extend(&range(joined.end(), joined.end() + length)).unwrap();
        }
        let end = begin + lengths.iter().sum::<u64>();
        prop_assert_eq!(&joined, &range(begin, end));
        let mut whole = range(0, begin);
        whole.extend(&joined).unwrap();
        prop_assert_eq!(whole.root().unwrap(), naive(0, end));
        prop_assert!(Range::from_parts(begin, end, joined.hashes().to_vec()).is_ok());
    }

    #[test]
    fn any_shape_far_up_the_tree_keeps_its_bounds(a in 0..=MAX_TREE_SIZE, b in 0..=MAX_TREE_SIZE) {
        let (begin, end) = (a.min(b), a.max(b));
        let mut at = begin;
        for (start, level) in shapes(begin, end) {
            prop_assert_eq!(start, at);
            prop_assert_eq!(start % (1 << level), 0);
            at += 1 << level;
        }
        prop_assert_eq!(at, end);
    }
}
