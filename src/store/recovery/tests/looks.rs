//! What is looked at before anything is decided.

use super::*;
use crate::checkpoint::{ManifestChain, ManifestDraft};
use crate::recovery::facts::{CHECKPOINTS, observe};
use crate::state::files::CheckpointFile;
use floodmark_base::disk::LocalDisk;

#[test]
fn a_start_looks_at_the_files_of_checkpoints_until_two_are_whole_however_many_are_kept() {
    let job = tempfile::tempdir().unwrap();
    let nothing = ManifestChain::observe(&LocalDisk, job.path()).unwrap();
    let mut chain = ManifestChain::new(job.path(), nothing, usize::MAX);
    for batch in 1..=5 {
        let file = CheckpointFile { name: "CURRENT".to_string(), size: 1, crc32: crc32fast::hash(b"x") };
        let files = CheckpointFiles { directory: format!("{batch}-1-{batch:016x}"), files: vec![file] };
        if [3, 4].contains(&batch) {
            let directory = job.path().join(CHECKPOINTS).join(&files.directory);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("CURRENT"), b"x").unwrap();
        }
        let (epoch, nonce, kind) = (Epoch(1), WriterNonce(1), ManifestKind::Checkpoint);
        let draft = ManifestDraft { epoch, nonce, kind, point: point(batch), checkpoint: Some(files) };
        chain.publish(&LocalDisk, draft).unwrap();
    }
    let damaged = |facts: &Facts| -> Vec<u64> {
        let damaged = facts.candidates.iter().filter(|candidate| candidate.damage.is_some());
        damaged.map(|candidate| candidate.point.batch.0).collect()
    };
    let facts = observe(&LocalDisk, job.path()).unwrap();
    assert_eq!((facts.candidates.len(), damaged(&facts)), (5, vec![5]), "of 2 and 1 nothing is known");
    {
        let skimmed = crate::recovery::facts::skim(&LocalDisk, job.path()).unwrap();
        assert_eq!(damaged(&skimmed), [5, 2, 1], "the command looks at all");
    }
}
