//! Deleting what nobody needs from the bucket. Each deletion follows a step of the collection in the working copy, which comes only
//! after the manifest that makes the thing unneeded is in the bucket (I-5).
//!
//! What is deleted is never created again: names of files carry a random part, objects of the log and manifests are numbered, and of
//! those the first of each life stays, which is the one that a stalled driver would create. Of manifests, milestones stay, too.
//!
//! What is pinned stays, and so do objects that pins share with what goes: pins are asked for before each deletion of files, by
//! whichever life. What a pin that is made at the same moment may rely on is told in [`pins`](super::pins). The files of a pin
//! that was given up are deleted with all else that nobody names, by the sweep of the next life.

use std::collections::HashSet;

use super::RemoteError;
use super::disk::{FILES, RemoteDisk, UPLOADS, manifest_name};
use super::envelope::{Place, StoredFile};
use super::log::object_name;
use crate::checkpoint::directory_epoch;
use floodmark_base::id::{Epoch, ManifestSequence, SegmentNumber};

/// Every manifest of such a number stays.
pub(super) const MILESTONE: u64 = 64;

impl RemoteDisk {
    /// Deletes a manifest, unless it stays for ever.
    pub(super) fn delete_manifest(&self, sequence: ManifestSequence) -> Result<(), RemoteError> {
        let stays = {
            let kept = self.kept();
            let epoch_of = |sequence: u64| kept.epochs.get(&ManifestSequence(sequence)).copied();
            stays(sequence, epoch_of(sequence.0.saturating_sub(1)), epoch_of(sequence.0))
        };
        if stays { Ok(()) } else { self.bucket.delete_all(&[manifest_name(sequence)]) }
    }

    /// Deletes the files of a checkpoint that no other one shares, unless it is pinned.
    pub(super) fn delete_checkpoint(&self, directory: &str) -> Result<(), RemoteError> {
        let Some(pinned) = self.pinned_files(Some(directory))? else { return Ok(()) };
        let objects: Vec<String> = {
            let kept = self.kept();
            let Some(files) = kept.checkpoints.get(directory) else { return Ok(()) };
            let others = kept.checkpoints.iter().filter(|(name, _)| *name != directory);
            let others = others.flat_map(|(_, files)| files).chain(&pinned);
            let shared: HashSet<&str> = others.filter_map(object_of).collect();
            files.iter().filter_map(object_of).filter(|object| !shared.contains(object)).map(str::to_string).collect()
        };
        self.bucket.delete_all(&objects)?;
        self.kept().checkpoints.remove(directory);
        Ok(())
    }

    /// Deletes the objects of the log that hold nothing of segments after this one, which is gone. None that a start would read
    /// behind the newest manifest.
    pub(super) fn delete_log(&self, through: SegmentNumber) -> Result<(), RemoteError> {
        let limit = self.kept().log_limit;
        let numbers = self.log.unneeded(through, limit);
        let names: Vec<String> = numbers.iter().map(|number| object_name(*number)).collect();
        self.bucket.delete_all(&names)?;
        self.log.forget(&numbers, through);
        Ok(())
    }

    /// Deletes what older lives have uploaded, and never named, or never came to delete. Called behind a manifest of this life: then
    /// every older one is fenced, and what it uploads will not be named either. A newer one's files have its epoch, and stay.
    pub(super) fn sweep(&self) -> Result<(), RemoteError> {
        let left: Vec<String> = self.kept().left.drain(..).map(manifest_name).collect();
        self.bucket.delete_all(&left)?;
        let Some(pinned) = self.pinned_files(None)? else { return Ok(()) };
        // First what is under way: an upload that ends later would make an object that nobody lists.
        let epoch = self.kept().epoch;
        for note in self.bucket.list(UPLOADS)? {
            if epoch_of(&note.name).is_some_and(|of| of < epoch) {
                tracing::info!(note = note.name, "ending uploads that an earlier life has begun");
                self.bucket.abort_uploads(&note.name)?;
            }
        }
        let listed = self.bucket.list(FILES)?;
        let unnamed: Vec<String> = {
            let kept = self.kept();
            let all = kept.checkpoints.values().flatten().chain(&pinned);
            let named: HashSet<&str> = all.filter_map(object_of).collect();
            let is_old = |name: &str| epoch_of(name).is_some_and(|of| of < kept.epoch);
            let names = listed.into_iter().map(|file| file.name);
            names.filter(|name| !named.contains(name.as_str()) && is_old(name)).collect()
        };
        if !unnamed.is_empty() {
            tracing::info!(objects = unnamed.len(), "deleting what earlier lives have left in object storage");
        }
        self.bucket.delete_all(&unnamed)
    }
}

/// Whether the object of a manifest is never deleted: a milestone, by which the newest is found; and the first of its epoch, which a
/// driver of the epoch before would create, whenever it wakes. Where an epoch is not known it may be that.
pub(super) fn stays(sequence: ManifestSequence, before: Option<Epoch>, own: Option<Epoch>) -> bool {
    sequence.0.is_multiple_of(MILESTONE) || before.is_none() || before != own
}

/// The epoch of the life that uploaded an object below `files`, or noted its uploads: that of the directory in its name.
pub(super) fn epoch_of(name: &str) -> Option<Epoch> {
    name.split('/').nth(1).and_then(directory_epoch)
}

/// The object that holds a file, if it has one of its own.
pub(super) fn object_of(stored: &StoredFile) -> Option<&str> {
    match &stored.place {
        Place::Object(name) => Some(name),
        Place::Inline(_) => None,
    }
}
