//! The bytes that format version 1 has written once are read for ever.

use std::fs;
use std::path::Path;

use super::super::*;
use super::kit::*;
use crate::disk::LocalDisk;
use crate::id::{BatchId, Epoch, Lineage, ManifestSequence, Sequence, WriterNonce};

/// A job's directory with manifests of every kind, and nothing else.
fn version_1() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checkpoint/tests/version-1")
}

/// A claim, two checkpoints, a rejection of the second, and a rollback.
fn written() -> Vec<ManifestDraft> {
    let (first, second) = (draft(1, 10, "10-1-00000000000000aa"), draft(1, 20, "20-1-00000000000000bb"));
    let kind = ManifestKind::Rejection {
        of: ManifestSequence(3),
        directory: Some("20-1-00000000000000bb".to_string()),
        reason: "000001.sst is missing".to_string(),
    };
    let rejection = ManifestDraft { epoch: Epoch(2), nonce: WriterNonce(2), kind, ..first.clone() };
    let mut rollback =
        ManifestDraft { epoch: Epoch(3), nonce: WriterNonce(3), kind: ManifestKind::Rollback, ..first.clone() };
    rollback.point.lineage = Lineage(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    vec![first_claim(1), first, second, rejection, rollback]
}

#[test]
fn manifests_of_version_1_are_read() {
    let mut parent_crc = 0;
    // The second checkpoint is the first manifest that needs nothing of the first claim.
    for ((place, boundary), draft) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)].into_iter().zip(written()) {
        let bytes = fs::read(version_1().join(format!("manifests/{place:020}"))).unwrap();
        let expected = draft.at(ManifestSequence(place), parent_crc, ManifestSequence(boundary));
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), expected);
        parent_crc = crc32fast::hash(&bytes);
    }
    let facts = ManifestChain::observe(&LocalDisk, &version_1()).unwrap();
    assert_eq!((facts.links.len(), facts.superseded.as_slice()), (4, &[ManifestSequence(1)][..]));
    let newest = facts.newest().unwrap();
    assert_eq!((newest.point.batch, newest.point.log.oldest_needed), (BatchId(10), Sequence(101)));
}

#[test]
#[ignore = "writes the fixture; only for a new version of the format"]
fn write_the_fixture() {
    let facts = ManifestChain::observe(&LocalDisk, &version_1()).unwrap();
    let mut chain = ManifestChain::new(&version_1(), facts, 2);
    for draft in written() {
        chain.publish(&LocalDisk, draft).unwrap();
    }
}
