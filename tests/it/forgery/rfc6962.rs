//! RFC 6962 as the attacker has it: written here anew, so that the forgeries share no
//! code with the verdict on them.

use sha2::{Digest, Sha256};

type Node = [u8; 32];

fn leaf(line: &[u8]) -> Node {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

fn node(left: Node, right: Node) -> Node {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// MTH of section 2.1.
pub(super) fn root(lines: &[impl AsRef<[u8]>]) -> Node {
    match lines {
        [] => Sha256::digest([]).into(),
        [only] => leaf(only.as_ref()),
        more => {
            let half = 1 << (more.len() - 1).ilog2();
            node(root(&more[..half]), root(&more[half..]))
        }
    }
}

/// The roots of the perfect subtrees that lines from the log's first on fall into.
pub(super) fn subtrees(lines: &[impl AsRef<[u8]>]) -> Vec<String> {
    let mut rest = lines;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (tree, more) = rest.split_at(1 << rest.len().ilog2());
        found.push(hex(&root(tree)));
        rest = more;
    }
    found
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_attackers_tree_is_that_of_the_rfc() {
    // From the test vectors of RFC 6962's implementations: the empty tree, and one
    // with an empty leaf.
    let none: [&[u8]; 0] = [];
    assert!(hex(&root(&none)).starts_with("e3b0c44298fc1c14"));
    assert!(hex(&root(&[b""])).starts_with("6e340b9cffb37a98"));
    let lines: [&[u8]; 7] = [b"a", b"b", b"c", b"d", b"e", b"f", b"g"];
    assert_eq!(
        subtrees(&lines),
        [hex(&root(&lines[..4])), hex(&root(&lines[4..6])), hex(&root(&lines[6..]))]
    );
}
