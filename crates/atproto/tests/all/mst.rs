//! The tree of a repository: the published vectors, what is built in any order, what is undone,
//! and what hostile nodes do.

use std::collections::{BTreeMap, HashSet};

use crate::common::{blocks_of, read_json, shared_file};
use proptest::prelude::*;
use wingbeat_atproto::{
    Car, Cid, Codec,
    cbor::Value,
    mst::{self, Change, MstError, NODE_ENTRIES_MAX, NodeProblem, Tree},
};

fn value(content: u32) -> Cid {
    Cid::of(Codec::Drisl, &Value::Integer(content.into()).encode().unwrap())
}

fn tree_of<'k>(pairs: impl IntoIterator<Item = (&'k str, Cid)>) -> Tree<'static> {
    let mut tree = Tree::new();
    for (key, value) in pairs {
        tree.insert(key, value).unwrap();
    }
    tree
}

#[test]
fn key_height_vectors() {
    let Some(file) = shared_file("fixtures/interop/mst/key_heights.json") else { return };
    let vectors = read_json(&file);
    assert!(vectors.len() >= 9);
    for vector in vectors {
        let key = vector["key"].as_str().unwrap();
        assert_eq!(u64::from(mst::layer(key.as_bytes())), vector["height"], "{key}");
    }
    // The digit of each of these keys says its layer.
    let file = shared_file("fixtures/interop/mst/example_keys.txt").unwrap();
    let keys = std::fs::read_to_string(file).unwrap();
    assert!(keys.lines().count() > 100);
    for key in keys.lines() {
        assert_eq!(mst::layer(key.as_bytes()), key.as_bytes()[1] - b'0', "{key}");
        assert_eq!(mst::check_key(key.as_bytes()), Ok(()));
    }
}

#[test]
fn common_prefix_vectors() {
    let Some(file) = shared_file("fixtures/interop/mst/common_prefix.json") else { return };
    let vectors = read_json(&file);
    assert!(vectors.len() >= 13);
    for vector in vectors {
        let bytes = |side: &str| vector[side].as_str().unwrap().as_bytes().to_vec();
        let length = mst::common_prefix(&bytes("left"), &bytes("right"));
        assert_eq!(length as u64, vector["len"], "{vector}");
    }
}

/// Roots before and after, the nodes of the proof, and that they are enough to undo the commit.
#[test]
fn commit_proof_vectors() {
    let Some(file) = shared_file("fixtures/interop/firehose/commit-proof-fixtures.json") else {
        return;
    };
    let vectors = read_json(&file);
    assert!(vectors.len() >= 6);
    for vector in vectors {
        let comment = &vector["comment"];
        let cid = |field: &str| vector[field].as_str().unwrap().parse::<Cid>().unwrap();
        let texts = |field: &str| {
            let list = vector[field].as_array().unwrap();
            list.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>()
        };
        let leaf = cid("leafValue");
        let mut tree = tree_of(texts("keys").into_iter().map(|key| (key, leaf)));
        assert_eq!(tree.root(), cid("rootBeforeCommit"), "{comment}");
        let (adds, removals) = (texts("adds"), texts("dels"));
        for key in &adds {
            tree.insert(key, leaf).unwrap();
        }
        for key in &removals {
            assert_eq!(tree.remove(key), Ok(leaf));
        }
        assert_eq!(tree.root(), cid("rootAfterCommit"), "{comment}");

        let proof = tree.proof(adds.iter().chain(&removals).copied()).unwrap();
        let expected: HashSet<Cid> =
            texts("blocksInProof").iter().map(|cid| cid.parse().unwrap()).collect();
        assert_eq!(proof.keys().copied().collect::<HashSet<_>>(), expected, "{comment}");

        let adds = adds.into_iter().map(|key| Change { key, old: None, new: Some(leaf) });
        let removals = removals.into_iter().map(|key| Change { key, old: Some(leaf), new: None });
        let changes: Vec<_> = adds.chain(removals).collect();
        let car = blocks_of(tree.root(), &proof);
        let blocks = Car::parse(&car).unwrap().verified().unwrap();
        let undone = mst::invert(&blocks, tree.root(), &changes);
        assert_eq!(undone, Ok(cid("rootBeforeCommit")), "{comment}");
    }
}

/// A key with this number that has this layer: one is sought.
fn key_of_layer(number: u32, layer: u8) -> String {
    let keys = (0_u64..).map(|nonce| format!("a.b.c/{number:04}-{nonce}"));
    let mut of_layer = keys.filter(|key| mst::layer(key.as_bytes()) == layer);
    of_layer.next().unwrap()
}

fn pairs() -> impl Strategy<Value = BTreeMap<String, Cid>> {
    let pair = (0_u32..500, 0_u8..4, any::<u32>())
        .prop_map(|(number, layer, content)| (key_of_layer(number, layer), value(content)));
    prop::collection::vec(pair, 0..60).prop_map(|pairs| pairs.into_iter().collect())
}

proptest! {
    /// A set of records has one tree, whatever was there on the way.
    #[test]
    fn a_tree_that_was_changed_equals_one_built_anew(
        before in pairs(),
        after in pairs(),
        seed in any::<u64>(),
    ) {
        let mut tree = tree_of(before.iter().map(|(key, value)| (key.as_str(), *value)));
        let mut changes: Vec<&String> = before.keys().chain(after.keys()).collect();
        // Any order that the seed tells; a key that stands twice is settled at its first time.
        changes.sort_by_cached_key(|key| {
            Cid::of(Codec::Raw, format!("{seed}{key}").as_bytes())
        });
        changes.dedup();
        for key in changes {
            match (before.get(key), after.get(key)) {
                (Some(_), None) => { tree.remove(key).unwrap(); }
                (Some(old), Some(new)) => prop_assert_eq!(tree.replace(key, *new), Ok(*old)),
                (None, Some(new)) => tree.insert(key, *new).unwrap(),
                (None, None) => unreachable!(),
            }
        }
        let mut anew = tree_of(after.iter().map(|(key, value)| (key.as_str(), *value)));
        prop_assert_eq!(tree.root(), anew.root());
        prop_assert_eq!(tree.nodes(), anew.nodes());
        for (key, value) in &after {
            prop_assert_eq!(tree.get(key), Ok(Some(*value)));
        }
        // Read strictly from its blocks, it is the same.
        let nodes = tree.nodes();
        let car = blocks_of(tree.root(), &nodes);
        let blocks = Car::parse(&car).unwrap().verified().unwrap();
        let mut loaded = Tree::load(&blocks, tree.root());
        for key in before.keys().chain(after.keys()) {
            prop_assert_eq!(loaded.get(key), Ok(after.get(key).copied()));
        }
    }

    /// Out of the nodes of the proof alone, the operations are undone.
    #[test]
    fn any_operations_are_undone(before in pairs(), writes in pairs(), removals in any::<u64>()) {
        let mut tree = tree_of(before.iter().map(|(key, value)| (key.as_str(), *value)));
        let root_before = tree.root();
        let mut changes = Vec::new();
        for (key, new) in &writes {
            let old = before.get(key).copied();
            match old {
                Some(_) => { tree.replace(key, *new).unwrap(); }
                None => tree.insert(key, *new).unwrap(),
            }
            changes.push(Change { key, old, new: Some(*new) });
        }
        for (index, (key, old)) in before.iter().enumerate() {
            if removals >> (index % 64) & 1 == 1 && !writes.contains_key(key) {
                prop_assert_eq!(tree.remove(key), Ok(*old));
                changes.push(Change { key, old: Some(*old), new: None });
            }
        }
        let proof = tree.proof(changes.iter().map(|change| change.key)).unwrap();
        let root = tree.root();
        let car = blocks_of(root, &proof);
        let blocks = Car::parse(&car).unwrap().verified().unwrap();
        prop_assert_eq!(mst::invert(&blocks, root, &changes), Ok(root_before));
        // One change that is not told, and it is not undone.
        if changes.pop().is_some() {
            prop_assert_ne!(mst::invert(&blocks, root, &changes), Ok(root_before));
        }
    }
}

#[test]
fn changes_that_are_not_in_the_tree_are_refused() {
    let mut tree = tree_of([("a/1", value(1)), ("a/2", value(2))]);
    let root = tree.root();
    let car = blocks_of(root, &tree.nodes());
    let blocks = Car::parse(&car).unwrap().verified().unwrap();
    let invert = |old, new, key| mst::invert(&blocks, root, &[Change { key, old, new }]);
    let (one, other) = (Some(value(1)), Some(value(7)));
    assert_eq!(invert(None, other, "a/1"), Err(MstError::OtherValue(value(1))));
    assert_eq!(invert(one, other, "a/1"), Err(MstError::OtherValue(value(1))));
    assert_eq!(invert(None, one, "a/3"), Err(MstError::KeyAbsent));
    assert_eq!(invert(other, one, "a/3"), Err(MstError::KeyAbsent));
    assert_eq!(invert(one, None, "a/1"), Err(MstError::KeyPresent));
    assert_eq!(invert(None, None, "a/1"), Err(MstError::NoChange));
    assert!(matches!(invert(one, None, "no path"), Err(MstError::Key(_))));
    let twice = [Change { key: "a/1", old: None, new: one }; 2];
    assert_eq!(mst::invert(&blocks, root, &twice), Err(MstError::KeyTwice));
    let absent = value(9);
    let missing = mst::invert(&blocks, absent, &twice[..1]);
    assert_eq!(missing, Err(MstError::Missing(absent)));
}

/// An entry of a node made here: key, how much of the key before it shares, what lies behind it.
fn entry<'a>(rest: &'a str, prefix: i64, right: Option<Cid>) -> Value<'a> {
    Value::Map(vec![
        ("k", Value::Bytes(rest.as_bytes())),
        ("p", Value::Integer(prefix)),
        ("t", right.map_or(Value::Null, Value::Link)),
        ("v", Value::Link(value(0))),
    ])
}

fn node(left: Option<Cid>, entries: Vec<Value<'_>>) -> Vec<u8> {
    let left = left.map_or(Value::Null, Value::Link);
    Value::Map(vec![("e", Value::Array(entries)), ("l", left)]).encode().unwrap()
}

/// Looks a key up in a tree of these nodes, of which the last is the root.
fn look_up(nodes: &[Vec<u8>], key: &str) -> Result<Option<Cid>, MstError> {
    let named = nodes.iter().map(|node| (Cid::of(Codec::Drisl, node), node.clone())).collect();
    let root = Cid::of(Codec::Drisl, nodes.last().unwrap());
    let car = blocks_of(root, &named);
    let blocks = Car::parse(&car).unwrap().verified().unwrap();
    Tree::load(&blocks, root).get(key)
}

fn problem(nodes: &[Vec<u8>], key: &str) -> String {
    match look_up(nodes, key) {
        Err(MstError::Node { problem: NodeProblem::Shape(problem), .. }) => problem.to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn i6_hostile_nodes_are_refused() {
    let low = |number| key_of_layer(number, 0);
    let (a, b) = (low(1), low(2));
    let shared = mst::common_prefix(a.as_bytes(), b.as_bytes());
    let good = node(None, vec![entry(&a, 0, None), entry(&b[shared..], shared as i64, None)]);
    assert_eq!(look_up(std::slice::from_ref(&good), &b), Ok(Some(value(0))));
    assert_eq!(look_up(&[node(None, vec![])], &b), Ok(None));

    let refused = |entries: Vec<Value<'_>>| problem(&[node(None, entries)], "x/x");
    assert_eq!(
        refused(vec![entry(&a, 0, None), entry(&b, 0, None)]),
        "a key shares less than it could"
    );
    assert_eq!(refused(vec![entry(&a, 1, None)]), "a key shares more than there is");
    assert_eq!(refused(vec![entry("a", 0, None)]), "no `/`");
    assert_eq!(
        refused(vec![entry(&b, 0, None), entry(&a[shared..], shared as i64, None)]),
        "its keys are out of order"
    );
    let twice = vec![entry(&a, 0, None), entry("", a.len() as i64, None)];
    assert_eq!(refused(twice), "its keys are out of order");
    let high = key_of_layer(3, 1);
    let mixed = vec![entry(&a, 0, None), entry(&high[shared..], shared as i64, None)];
    assert_eq!(refused(mixed), "a key stands in another layer than its hash tells");
    assert_eq!(refused(vec![entry(&a, 0, Some(value(1)))]), "it has a node below the lowest layer");
    let many = (0..=NODE_ENTRIES_MAX).map(|_| entry("", 0, None)).collect();
    assert_eq!(refused(many), "it has more than 4,096 entries");
    let bare = Value::Map(vec![("e", Value::Array(vec![]))]).encode().unwrap();
    assert_eq!(problem(&[bare], "x/x"), "it has other fields than a node");
    let more = vec![("e", Value::Array(vec![])), ("l", Value::Null), ("m", Value::Null)];
    let more = Value::Map(more).encode().unwrap();
    assert_eq!(problem(&[more], "x/x"), "it has other fields than a node");
}

#[test]
fn i6_nodes_that_stand_where_they_cannot_are_refused() {
    let (low, high) = (key_of_layer(5, 0), key_of_layer(1, 2));
    let leaf = node(None, vec![entry(&low, 0, None)]);
    let leaf_cid = Cid::of(Codec::Drisl, &leaf);
    let above = |child: &[u8]| {
        let child = Some(Cid::of(Codec::Drisl, child));
        node(None, vec![entry(&high, 0, child)])
    };
    // A leaf two layers below needs a node without keys between.
    assert_eq!(
        problem(&[leaf.clone(), above(&leaf)], &low),
        "a key stands in another layer than its hash tells"
    );
    let between = node(Some(leaf_cid), vec![]);
    let root = above(&between);
    assert_eq!(look_up(&[leaf.clone(), between.clone(), root], &low), Ok(Some(value(0))));
    // On the wrong side of the key above it.
    let between_cid = Cid::of(Codec::Drisl, &between);
    let wrong = node(Some(between_cid), vec![entry(&high, 0, None)]);
    let before = "a.b.c/0000";
    assert_eq!(
        problem(&[leaf.clone(), between.clone(), wrong], before),
        "its keys are out of order"
    );
    assert_eq!(problem(&[leaf, between], &low), "it is the root, and has no key");
    let empty = node(None, vec![]);
    assert_eq!(problem(&[empty.clone(), above(&empty)], &low), "it is empty, and not the root");
}
