//! The chain: what is read, what is refused, who wins.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::part::part;
use super::super::retention::{Keep, directory_name, garbage, retained};
use super::super::*;
use super::kit::*;
use floodmark_base::disk::{Disk, Fault, FaultyDisk, LocalDisk, Point, Step};
use floodmark_base::id::{BatchId, Epoch, Lineage, ManifestSequence, Sequence, WriterNonce};

fn path(job: &Path, sequence: u64) -> PathBuf {
    job.join("manifests").join(format!("{sequence:020}"))
}

fn chain_of(job: &Path, drafts: Vec<ManifestDraft>) -> ManifestChain {
    let disk = disk();
    let mut chain = ManifestChain::new(job, ManifestChain::observe(&*disk, job).unwrap(), 2);
    for draft in drafts {
        chain.publish(&*disk, draft).unwrap();
    }
    chain
}

fn observe(job: &Path) -> Result<ChainFacts, ChainError> {
    ManifestChain::observe(&LocalDisk, job)
}

fn standings(facts: &ChainFacts) -> Vec<(String, bool)> {
    let usable = |it: &crate::checkpoint::facts::KnownCheckpoint<'_>| {
        (it.files.directory.clone(), it.standing == Standing::Usable)
    };
    facts.checkpoints().iter().map(usable).collect()
}

#[test]
fn a_manifest_reads_back_and_every_flipped_bit_of_it_is_found() {
    let manifest = draft(3, 12, "12-3-00000000000000aa").at(ManifestSequence(4), 0x1234_5678, ManifestSequence(2));
    let bytes = manifest.to_bytes().unwrap();
    assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
    for place in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        assert!(Manifest::from_bytes(&damaged).is_err(), "bit {place}");
    }
    for length in 0..bytes.len() {
        assert!(Manifest::from_bytes(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn the_bytes_of_a_manifest_are_pinned() {
    let bytes =
        draft(3, 12, "12-3-00000000000000aa").at(ManifestSequence(4), 5, ManifestSequence(2)).to_bytes().unwrap();
    assert_eq!(bytes[..8], *b"FLDMMANI");
    assert_eq!(bytes[8..12], 2_u32.to_le_bytes());
    assert_eq!(bytes[12..16], (bytes.len() as u32 - 20).to_le_bytes());
    assert_eq!(bytes[20..24], [4, 5, 2, 3]); // sequence, parent, boundary, epoch
    assert_eq!((bytes.len(), crc32fast::hash(&bytes)), (PINNED_LENGTH, PINNED_CRC), "a new layout needs a new version");
}

const PINNED_LENGTH: usize = 221;
const PINNED_CRC: u32 = 613_331_795;

#[test]
fn a_whole_manifest_of_another_version_is_refused_by_its_version() {
    let job = tempfile::tempdir().unwrap();
    chain_of(job.path(), vec![first_claim(1)]);
    let file = path(job.path(), 1);
    let mut bytes = fs::read(&file).unwrap();
    bytes[8] = 3;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[8..16]);
    hasher.update(&bytes[20..]);
    bytes[16..20].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let error = observe(job.path()).unwrap_err();
    assert!(matches!(error, ChainError::Version { found: 3, expected: 2, .. }), "{error}");
}

#[test]
fn a_whole_manifest_of_a_checkpoint_in_several_parts_is_refused_and_not_taken_for_damage() {
    for (parts, in_words) in [
        (vec![], "found 0 parts"),
        (vec![part(0, 7), part(8, u64::MAX)], "found 2 parts"),
        (vec![part(0, 7)], "found a part with the hashes 0000000000000000 to 0000000000000007"),
    ] {
        let job = tempfile::tempdir().unwrap();
        chain_of(job.path(), vec![first_claim(1)]);
        let file = path(job.path(), 1);
        let Manifest { sequence, parent_crc, boundary, epoch, nonce, kind, point, .. } =
            Manifest::from_bytes(&fs::read(&file).unwrap()).unwrap();
        let checkpoint = Some(parts);
        let later = Manifest { sequence, parent_crc, boundary, epoch, nonce, kind, point, checkpoint };
        fs::write(&file, later.to_bytes().unwrap()).unwrap();
        let error = observe(job.path()).unwrap_err();
        assert!(matches!(error, ChainError::Parts { .. }) && error.to_string().contains(in_words), "{error}");
    }
}

#[test]
fn an_empty_place_is_an_empty_chain() {
    let job = tempfile::tempdir().unwrap();
    assert!(observe(job.path()).unwrap().is_empty());
    assert!(observe(&job.path().join("nowhere")).unwrap().is_empty());
    fs::create_dir_all(job.path().join("wal")).unwrap();
    assert!(observe(job.path()).unwrap().is_empty(), "a first start may die between two directories");
}

#[test]
fn missing_manifests_beside_other_files_of_the_job_are_a_refusal() {
    for proof in ["wal", "checkpoints"] {
        for empty_directory in [false, true] {
            let job = tempfile::tempdir().unwrap();
            fs::create_dir_all(job.path().join(proof)).unwrap();
            fs::write(job.path().join(proof).join("something"), b"").unwrap();
            if empty_directory {
                fs::create_dir_all(job.path().join("manifests")).unwrap();
            }
            let error = observe(job.path()).unwrap_err();
            assert!(matches!(error, ChainError::ManifestsMissing { .. }), "{error}");
            assert!(error.to_string().contains(&format!("1 files in {proof} (something first)")), "{error}");
        }
    }
}

#[test]
fn a_damaged_newest_manifest_does_not_take_those_for_missing_that_it_had_made_superfluous() {
    let job = tempfile::tempdir().unwrap();
    // Two checkpoints are kept, so the fourth manifest says that the first is no longer part of the chain.
    let mut chain = chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a"), draft(1, 2, "b"), draft(1, 3, "c")]);
    chain.remove_superseded(&LocalDisk).unwrap();
    assert!(!path(job.path(), 2).exists(), "the chain begins with the checkpoint before the newest");
    let mut bytes = fs::read(path(job.path(), 4)).unwrap();
    bytes[30] ^= 1;
    fs::remove_file(path(job.path(), 4)).unwrap();
    fs::write(path(job.path(), 4), &bytes).unwrap();
    let facts = observe(job.path()).unwrap();
    assert_eq!(facts.newest().unwrap().sequence, ManifestSequence(3));
    // What follows says where the chain begins now.
    let mut chain = ManifestChain::new(job.path(), facts, 2);
    chain.publish(&LocalDisk, first_claim(2)).unwrap();
    assert_eq!(observe(job.path()).unwrap().boundary(), ManifestSequence(3));
    // The newest one is gone instead: what is missing cannot be told from the first.
    fs::remove_file(path(job.path(), 5)).unwrap();
    fs::remove_file(path(job.path(), 4)).unwrap();
    let error = observe(job.path()).unwrap_err().to_string();
    assert!(error.contains("00000000000000000002 is missing") && error.contains("the newest"), "{error}");
}

#[test]
fn a_chain_with_a_hole_is_refused_and_the_missing_manifest_named() {
    let job = tempfile::tempdir().unwrap();
    chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a"), first_claim(2)]);
    for missing in [2, 1] {
        let bytes = fs::read(path(job.path(), missing)).unwrap();
        fs::remove_file(path(job.path(), missing)).unwrap();
        let error = observe(job.path()).unwrap_err();
        assert!(matches!(&error, ChainError::Hole { file, .. } if *file == path(job.path(), missing)), "{error}");
        fs::write(path(job.path(), missing), bytes).unwrap();
    }
    assert!(observe(job.path()).is_ok());
}

#[test]
fn a_damaged_manifest_is_a_fact_with_file_and_reason_and_the_older_ones_stand() {
    let job = tempfile::tempdir().unwrap();
    chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a"), draft(1, 2, "b")]);
    let mut bytes = fs::read(path(job.path(), 3)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path(job.path(), 3), bytes).unwrap();

    let facts = observe(job.path()).unwrap();
    let damaged: Vec<_> = facts.damaged().collect();
    assert_eq!(damaged.len(), 1);
    assert_eq!((damaged[0].0, damaged[0].1), (ManifestSequence(3), &path(job.path(), 3)));
    assert!(damaged[0].2.starts_with("at offset 16: expected crc32 "), "{}", damaged[0].2);
    assert_eq!(facts.newest().unwrap().sequence, ManifestSequence(2));
    assert_eq!(facts.newest_sequence(), Some(ManifestSequence(3)));

    // The chain goes on behind the damaged one, and names it by the bytes that are there.
    let instead = facts.newest().unwrap().clone();
    let rejection =
        ManifestDraft::rejection(&instead, Epoch(2), WriterNonce(2), ManifestSequence(3), None, "damaged".to_string());
    let mut chain = ManifestChain::new(job.path(), facts, 2);
    let published = chain.publish(&LocalDisk, rejection).unwrap();
    assert_eq!(published.sequence(), ManifestSequence(4));
    assert_eq!(published.oldest_needed(), Sequence(0), "a damaged manifest may need anything");
    assert_eq!(observe(job.path()).unwrap().newest().unwrap().sequence, ManifestSequence(4));
}

#[test]
fn a_whole_manifest_of_another_chain_is_refused() {
    let (job, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a")]);
    chain_of(other.path(), vec![first_claim(5), draft(5, 1, "a")]);
    fs::copy(path(other.path(), 2), path(job.path(), 2)).unwrap();
    let error = observe(job.path()).unwrap_err();
    assert!(matches!(error, ChainError::Forked { .. }), "{error}");
}

#[test]
fn a_manifest_under_another_name_is_damage() {
    let job = tempfile::tempdir().unwrap();
    chain_of(job.path(), vec![first_claim(1)]);
    fs::copy(path(job.path(), 1), path(job.path(), 2)).unwrap();
    assert_eq!(observe(job.path()).unwrap().damaged().count(), 1);
}

#[test]
fn of_two_writers_that_create_the_same_manifest_one_is_fenced() {
    let job = tempfile::tempdir().unwrap();
    let disk = disk();
    chain_of(job.path(), vec![first_claim(1)]);
    let facts = observe(job.path()).unwrap();
    let mut first = ManifestChain::new(job.path(), facts.clone(), 2);
    let mut second = ManifestChain::new(job.path(), facts, 2);
    second.publish(&*disk, first_claim(2)).unwrap();
    let error = first.publish(&*disk, draft(1, 1, "a")).unwrap_err();
    assert!(matches!(error, ChainError::Fenced { ours: Epoch(1), theirs: Epoch(2), .. }), "{error}");
    assert_eq!(observe(job.path()).unwrap().highest_epoch(), Some(Epoch(2)));
    let error = second.publish(&*disk, draft(1, 1, "a")).unwrap_err();
    assert!(matches!(error, ChainError::Fenced { .. }), "an older epoch never follows a newer one: {error}");
}

#[test]
fn a_create_whose_answer_was_lost_is_a_success_when_it_is_repeated() {
    let job = tempfile::tempdir().unwrap();
    chain_of(job.path(), vec![first_claim(1)]);
    let facts = observe(job.path()).unwrap();
    let mut chain = ManifestChain::new(job.path(), facts, 2);
    let dying = FaultyDisk::new(disk());
    dying.arm_at(Point { step: Step::ManifestCreate, nth: 6 }, Fault::DieAfter); // the sync of the directory
    let error = chain.publish(&dying, draft(1, 1, "a")).unwrap_err();
    assert!(matches!(error, ChainError::CommitUnknown { .. }), "{error}");
    let published = chain.publish(&LocalDisk, draft(1, 1, "a")).unwrap();
    assert_eq!(published.sequence(), ManifestSequence(2));
}

#[test]
fn a_stalled_writer_that_creates_a_removed_manifest_again_is_fenced_and_changes_nothing() {
    let job = tempfile::tempdir().unwrap();
    let disk = disk();
    chain_of(job.path(), vec![first_claim(1)]);
    let mut stalled = ManifestChain::new(job.path(), observe(job.path()).unwrap(), 2);
    let mut chain = ManifestChain::new(job.path(), observe(job.path()).unwrap(), 2);
    for draft in [first_claim(2), draft(2, 1, "a"), draft(2, 2, "b"), draft(2, 3, "c")] {
        chain.publish(&*disk, draft).unwrap();
    }
    assert_eq!(chain.remove_superseded(&*disk).unwrap(), 3);
    assert!(!path(job.path(), 2).exists());

    let error = stalled.publish(&*disk, draft(1, 1, "zombie")).unwrap_err();
    assert!(matches!(error, ChainError::Fenced { theirs: Epoch(2), .. }), "{error}");
    let facts = observe(job.path()).unwrap();
    assert_eq!(facts.superseded, [ManifestSequence(2)]);
    assert_eq!(standings(&facts), [("c".to_string(), true), ("b".to_string(), true)]);
}

#[test]
fn claims_repeat_a_checkpoint_and_do_not_count_as_one() {
    let job = tempfile::tempdir().unwrap();
    let disk = disk();
    let mut chain = chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a"), draft(1, 2, "b")]);
    for epoch in 2..6 {
        let claim = ManifestDraft::claim(chain.facts().newest().unwrap(), Epoch(epoch), WriterNonce(u128::from(epoch)));
        let published = chain.publish(&*disk, claim).unwrap();
        assert_eq!(published.oldest_needed(), Sequence(11), "the log since a is still needed");
    }
    assert_eq!(standings(chain.facts()), [("b".to_string(), true), ("a".to_string(), true)]);
}

#[test]
fn a_rejected_checkpoint_is_marked_also_when_a_claim_repeated_it_and_is_not_counted_by_retention() {
    let job = tempfile::tempdir().unwrap();
    let disk = disk();
    let mut chain = chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a"), draft(1, 2, "b")]);
    let claim = ManifestDraft::claim(chain.facts().newest().unwrap(), Epoch(2), WriterNonce(2));
    chain.publish(&*disk, claim).unwrap();
    let checkpoints = chain.facts().checkpoints();
    let (rejected, instead) = (&checkpoints[0], checkpoints[1].manifest.clone());
    let directory = Some(rejected.files.directory.clone());
    let of = rejected.sequence;
    let rejection = ManifestDraft::rejection(&instead, Epoch(2), WriterNonce(2), of, directory, "crc32".to_string());
    chain.publish(&*disk, rejection).unwrap();
    assert_eq!(standings(chain.facts()), [("b".to_string(), false), ("a".to_string(), true)]);
    assert_eq!(chain.facts().newest().unwrap().point.batch, BatchId(1));

    chain.publish(&*disk, draft(2, 2, "c")).unwrap();
    assert_eq!(standings(chain.facts()).len(), 3, "a is the second newest usable one");
    let published = chain.publish(&*disk, draft(2, 3, "d")).unwrap();
    assert_eq!(standings(chain.facts()), [("d".to_string(), true), ("c".to_string(), true)]);
    assert_eq!(published.oldest_needed(), Sequence(21));
    assert_eq!(published.oldest_sources(), point(2).sources);
}

#[test]
fn a_rollback_abandons_what_is_newer_than_its_target() {
    let job = tempfile::tempdir().unwrap();
    let disk = disk();
    let mut chain = chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a"), draft(1, 2, "b")]);
    let target = chain.facts().checkpoints()[1].manifest.clone();
    chain.publish(&*disk, ManifestDraft::rollback(&target, Epoch(2), WriterNonce(2), Lineage(8))).unwrap();
    assert_eq!(standings(chain.facts()), [("b".to_string(), false), ("a".to_string(), true)]);
    assert_eq!(chain.facts().newest().unwrap().point.lineage, Lineage(8));
}

#[test]
fn until_enough_checkpoints_stand_nothing_goes() {
    let job = tempfile::tempdir().unwrap();
    let chain = chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a")]);
    assert_eq!(retained(chain.facts(), Keep::newest(2)).boundary, ManifestSequence(1));
    let chain = chain_of(job.path(), vec![draft(1, 2, "b")]);
    assert_eq!(retained(chain.facts(), Keep::newest(2)).boundary, ManifestSequence(2));
    assert_eq!(retained(chain.facts(), Keep::newest(3)).boundary, ManifestSequence(2), "a boundary never goes back");
}

#[test]
fn only_unnamed_directories_of_this_or_an_older_epoch_are_garbage() {
    let job = tempfile::tempdir().unwrap();
    let kept = directory_name(BatchId(1), Epoch(2), WriterNonce(1));
    let newer_kept = directory_name(BatchId(2), Epoch(2), WriterNonce(2));
    let chain = chain_of(job.path(), vec![first_claim(2), draft(2, 1, &kept), draft(2, 2, &newer_kept)]);
    let (orphan, interrupted) = (
        directory_name(BatchId(9), Epoch(1), WriterNonce(3)),
        directory_name(BatchId(9), Epoch(2), WriterNonce(4)) + ".tmp",
    );
    let foreign = ["notes", "1-2-3", "1-2-0000000000000001-x"].map(String::from);
    let newer = directory_name(BatchId(9), Epoch(3), WriterNonce(5));
    let mut on_disk = vec![kept, newer_kept, orphan.clone(), interrupted.clone(), newer];
    on_disk.extend(foreign);
    assert_eq!(garbage(chain.facts(), Keep::newest(2), Epoch(2), &on_disk), [orphan, interrupted]);
}

#[test]
fn a_damaged_manifest_keeps_everything_until_enough_newer_checkpoints_stand() {
    let job = tempfile::tempdir().unwrap();
    let disk = disk();
    let orphan = vec![directory_name(BatchId(9), Epoch(1), WriterNonce(3))];
    chain_of(job.path(), vec![first_claim(1), draft(1, 1, "a"), draft(1, 2, "b")]);
    fs::write(path(job.path(), 3), b"rot").unwrap();
    let mut chain = ManifestChain::new(job.path(), observe(job.path()).unwrap(), 2);
    chain.publish(&*disk, draft(2, 2, "c")).unwrap();
    assert_eq!(retained(chain.facts(), Keep::newest(2)).boundary, ManifestSequence(1));
    assert!(garbage(chain.facts(), Keep::newest(2), Epoch(2), &orphan).is_empty());
    chain.publish(&*disk, draft(2, 3, "d")).unwrap();
    assert_eq!(retained(chain.facts(), Keep::newest(2)).boundary, ManifestSequence(4));
    assert_eq!(garbage(chain.facts(), Keep::newest(2), Epoch(2), &orphan), orphan);
}

#[test]
fn foreign_names_among_the_manifests_are_reported_and_left_alone() {
    let job = tempfile::tempdir().unwrap();
    chain_of(job.path(), vec![first_claim(1)]);
    fs::write(job.path().join("manifests").join(".00000000000000000002.tmp"), b"torn").unwrap();
    let facts = observe(job.path()).unwrap();
    assert_eq!(facts.others, [".00000000000000000002.tmp"]);
    assert_eq!(LocalDisk.list(&job.path().join("manifests")).unwrap().len(), 2);
}

#[test]
fn a_chain_that_is_kept_for_days_is_judged_in_one_pass() {
    use floodmark_base::clock::{Clock, SystemClock};
    // Three days, with a checkpoint every 10 s. Comparing each with each would take minutes.
    let number = 26_000;
    let manifest = |sequence: u64| {
        let draft = draft(1, sequence, &format!("{sequence}-1-000000000000abcd"));
        draft.at(ManifestSequence(sequence), 0, ManifestSequence(1))
    };
    let link = |sequence| Link::Sound { manifest: Box::new(manifest(sequence)), crc: 0 };
    let links = (1..=number).map(|sequence| (ManifestSequence(sequence), link(sequence))).collect();
    let facts = ChainFacts { links, ..ChainFacts::default() };
    let clock = SystemClock::default();
    let checkpoints = facts.checkpoints();
    assert_eq!((checkpoints.len() as u64, checkpoints[0].sequence), (number, ManifestSequence(number)));
    assert!(checkpoints.iter().all(|checkpoint| checkpoint.newest.sequence == checkpoint.sequence));
    let took_ms = clock.monotonic_ms();
    assert!(took_ms < 2_000, "{took_ms} ms");
}
