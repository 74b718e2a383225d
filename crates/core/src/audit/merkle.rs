//! The Merkle tree hash of RFC 9162 section 2.1, over leaves that are already digests of entries.

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The hash of a leaf (domain separated from nodes).
pub fn leaf(entry: &[u8]) -> Digest {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over `leaves` in order; of nothing, SHA-256 of the empty string.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        many => {
            let (left, right) = many.split_at(split(many.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The siblings on the way from leaf `index` to the root, lowest first (RFC 9162 section 2.1.3.1).
/// `index` must be below the number of leaves.
pub fn path(leaves: &[Digest], index: usize) -> Vec<Digest> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut steps, sibling) = match index.checked_sub(at) {
        None => (path(left, index), root(right)),
        Some(index) => (path(right, index), root(left)),
    };
    steps.push(sibling);
    steps
}

/// The root that leaf `index` of `count` and its `path` lead to; `None` if the path has another length.
pub fn root_from_path(leaf: &Digest, index: usize, count: usize, path: &[Digest]) -> Option<Digest> {
    if index >= count {
        return None;
    }
    let Some((sibling, below)) = path.split_last() else {
        return (count == 1).then_some(*leaf);
    };
    if count <= 1 {
        return None;
    }
    let at = split(count);
    match index.checked_sub(at) {
        None => Some(node(&root_from_path(leaf, index, at, below)?, sibling)),
        Some(index) => Some(node(sibling, &root_from_path(leaf, index, count.checked_sub(at)?, below)?)),
    }
}

/// The largest power of two below `count`; `count` is at least 2.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_path_leads_to_the_root_and_no_other_leaf_does(count in 1usize..70, pick in 0usize..70) {
            let leaves: Vec<Digest> = (0..count).map(|i| leaf(&i.to_be_bytes())).collect();
            let index = pick % count;
            let steps = path(&leaves, index);
            let whole = root(&leaves);
            prop_assert_eq!(root_from_path(&leaf(&index.to_be_bytes()), index, count, &steps), Some(whole));
            prop_assert_ne!(root_from_path(&leaf(b"other"), index, count, &steps), Some(whole));
        }
    }
}
