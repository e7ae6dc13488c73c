//! The bytes that format version 1 has written once are read for ever.

use std::fs;
use std::path::Path;

use super::super::*;
use super::kit::*;
use floodmark_base::disk::LocalDisk;
use floodmark_base::id::{BatchId, Epoch, Lineage, ManifestSequence, Sequence, WriterNonce};

/// A job's directory with manifests of every kind, and nothing else.
fn fixture(version: u32) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("checkpoint/tests/version-{version}"))
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

/// What version 1 says of a point: positions without the sources' kinds and types, no generation, no parameters.
fn of_version_1(mut draft: ManifestDraft) -> ManifestDraft {
    let point = &mut draft.point;
    (point.generation, point.interval_ms) = (Epoch(0), 0);
    for source in &mut point.sources {
        let position = SourcePosition::Version1(source.position.of_direct().unwrap().unwrap().to_vec());
        *source = SourceEntry::of_unknown_type(source.uid.clone(), position);
    }
    point.operators.iter_mut().for_each(|operator| operator.parameters.clear());
    draft
}

fn are_read(version: u32, written: impl Iterator<Item = ManifestDraft>) {
    let mut parent_crc = 0;
    // The second checkpoint is the first manifest that needs nothing of the first claim.
    for ((place, boundary), draft) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)].into_iter().zip(written) {
        let bytes = fs::read(fixture(version).join(format!("manifests/{place:020}"))).unwrap();
        let expected = draft.at(ManifestSequence(place), parent_crc, ManifestSequence(boundary));
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), expected);
        parent_crc = crc32fast::hash(&bytes);
    }
    let facts = ManifestChain::observe(&LocalDisk, &fixture(version)).unwrap();
    assert_eq!((facts.links.len(), facts.superseded.as_slice()), (4, &[ManifestSequence(1)][..]));
    let newest = facts.newest().unwrap();
    assert_eq!((newest.point.batch, newest.point.log.oldest_needed), (BatchId(10), Sequence(101)));
}

#[test]
fn manifests_of_version_1_are_read() {
    are_read(1, written().into_iter().map(of_version_1));
}

#[test]
fn manifests_of_version_2_are_read() {
    are_read(2, written().into_iter());
}

#[test]
fn a_chain_of_version_1_goes_on_in_version_2() {
    let job = tempfile::tempdir().unwrap();
    fs::create_dir(job.path().join("manifests")).unwrap();
    for place in 1..=5 {
        let name = format!("manifests/{place:020}");
        fs::copy(fixture(1).join(&name), job.path().join(&name)).unwrap();
    }
    let found = ManifestChain::observe(&LocalDisk, job.path()).unwrap();
    let claim = ManifestDraft::claim(found.newest().unwrap(), Epoch(4), WriterNonce(4));
    ManifestChain::new(job.path(), found, 2).publish(&LocalDisk, claim).unwrap();
    let facts = ManifestChain::observe(&LocalDisk, job.path()).unwrap();
    let newest = facts.newest().unwrap();
    assert_eq!(newest.epoch, Epoch(4));
    assert_eq!(newest.point, of_version_1(written().pop().unwrap()).point, "what is not known stays unknown");
    let bytes = fs::read(job.path().join(format!("manifests/{:020}", 6))).unwrap();
    assert_eq!(bytes[8..12], 2_u32.to_le_bytes());
}

#[test]
#[ignore = "writes the fixture; only for a new version of the format"]
fn write_the_fixture() {
    let place = fixture(super::super::manifest::VERSION);
    let facts = ManifestChain::observe(&LocalDisk, &place).unwrap();
    let mut chain = ManifestChain::new(&place, facts, 2);
    for draft in written() {
        chain.publish(&LocalDisk, draft).unwrap();
    }
}
