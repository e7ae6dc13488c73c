//! What the chain of manifests says: facts that were read, and pure questions to them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::ManifestDraft;
use super::{CheckpointFiles, Manifest, ManifestKind};
use floodmark_base::id::{BatchId, Epoch, Lineage, ManifestSequence, Sequence};

/// One manifest as it was found. `crc` is that of all its bytes, as they are.
#[derive(Clone, Debug)]
pub enum Link {
    /// Whole.
    Sound { manifest: Box<Manifest>, crc: u32 },
    /// There, but not readable (I-6): named, never skipped silently.
    Damaged { file: PathBuf, reason: String, crc: u32 },
}

impl Link {
    /// The manifest, if it is whole.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Sound { manifest, .. } => Some(manifest),
            Self::Damaged { .. } => None,
        }
    }

    /// The CRC of all bytes, by which the next manifest names this one.
    pub fn crc(&self) -> u32 {
        match self {
            Self::Sound { crc, .. } | Self::Damaged { crc, .. } => *crc,
        }
    }
}

/// All manifests of a job: the chain without holes, and what lies beside it.
#[derive(Clone, Debug, Default)]
pub struct ChainFacts {
    /// The chain, from the boundary on.
    pub links: BTreeMap<ManifestSequence, Link>,
    /// Manifests below the boundary, which are no longer part of the chain.
    pub superseded: Vec<ManifestSequence>,
    /// Other names in the directory, such as temporary files of an interrupted create; never touched.
    #[allow(dead_code)] // for whoever looks at the directory
    pub others: Vec<String>,
}

/// A checkpoint that the chain names.
#[derive(Clone, Debug)]
pub struct KnownCheckpoint<'a> {
    /// The first manifest that names it.
    pub sequence: ManifestSequence,
    pub manifest: &'a Manifest,
    /// The newest manifest that names it: a claim may have given it a new lineage and a new log.
    pub newest: &'a Manifest,
    pub files: &'a CheckpointFiles,
    pub standing: Standing,
}

#[cfg(any(test, feature = "testing"))]
impl KnownCheckpoint<'_> {
    /// The batch whose state it holds.
    pub fn batch(&self) -> floodmark_base::id::BatchId {
        self.manifest.point.batch
    }
}

/// Whether a checkpoint may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Usable,
    /// A later manifest rejected it.
    Rejected { by: ManifestSequence, reason: String },
    /// A rollback went behind it.
    Abandoned { by: ManifestSequence },
}

impl ChainFacts {
    /// Whether there is no manifest at all: the job has never started here.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The newest manifest that is whole.
    pub fn newest(&self) -> Option<&Manifest> {
        self.links.values().rev().find_map(Link::manifest)
    }

    /// The sequence of the newest manifest, whole or not; the next one follows it.
    pub fn newest_sequence(&self) -> Option<ManifestSequence> {
        self.links.keys().next_back().copied()
    }

    /// The highest epoch that a whole manifest names.
    pub fn highest_epoch(&self) -> Option<Epoch> {
        self.links.values().filter_map(Link::manifest).map(|manifest| manifest.epoch).max()
    }

    /// Below which sequence manifests do not count: as the chain says, or because none is left.
    pub fn boundary(&self) -> ManifestSequence {
        let first = self.links.keys().next().copied().unwrap_or(ManifestSequence(1));
        self.stated_boundary().max(first)
    }

    /// The highest boundary that a whole manifest states.
    pub fn stated_boundary(&self) -> ManifestSequence {
        let stated = self.links.values().filter_map(Link::manifest).map(|manifest| manifest.boundary).max();
        stated.unwrap_or(ManifestSequence(1))
    }

    /// The manifests that are damaged, with file and reason.
    pub fn damaged(&self) -> impl Iterator<Item = (ManifestSequence, &PathBuf, &str)> {
        self.links.iter().filter_map(|(sequence, link)| match link {
            Link::Damaged { file, reason, .. } => Some((*sequence, file, reason.as_str())),
            Link::Sound { .. } => None,
        })
    }

    /// Of the manifests that are damaged, those that no rejection is on record of.
    pub fn damaged_unanswered(&self) -> impl Iterator<Item = (ManifestSequence, &PathBuf, &str)> {
        let rejects = |sequence| move |manifest: &Manifest| matches!(&manifest.kind, ManifestKind::Rejection { of, directory: None, .. } if *of == sequence);
        self.damaged().filter(move |(sequence, ..)| {
            let rejects = rejects(*sequence);
            !self.links.values().filter_map(Link::manifest).any(rejects)
        })
    }

    /// The distinct checkpoints that the chain names, newest first, each with its standing.
    pub fn checkpoints(&self) -> Vec<KnownCheckpoint<'_>> {
        let mut known: Vec<KnownCheckpoint<'_>> = Vec::new();
        // Places in `known`, by directory: a chain that is kept for days has many thousand manifests.
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut lineage = None;
        for (&sequence, link) in &self.links {
            let Some(manifest) = link.manifest() else { continue };
            let begins_lineage = lineage.replace(manifest.point.lineage).is_some_and(|it| it != manifest.point.lineage);
            if let Some(files) = &manifest.checkpoint {
                let place = *places.entry(&files.directory).or_insert(known.len());
                match known.get_mut(place) {
                    Some(checkpoint) => checkpoint.newest = manifest,
                    None => {
                        let standing = Standing::Usable;
                        known.push(KnownCheckpoint { sequence, manifest, newest: manifest, files, standing });
                    }
                }
            }
            // Also where the rollback itself cannot be read: a claim after it names the same lineage.
            if begins_lineage || manifest.kind == ManifestKind::Rollback {
                abandon(&mut known, manifest);
            }
            if let ManifestKind::Rejection { of, directory, reason } = &manifest.kind {
                // By name where it is known: a claim after the rejected manifest repeats the same directory.
                let rejected = known.iter_mut().filter(|checkpoint| match directory {
                    Some(directory) => checkpoint.files.directory == *directory,
                    None => checkpoint.sequence == *of,
                });
                for checkpoint in rejected {
                    checkpoint.standing = Standing::Rejected { by: sequence, reason: reason.clone() };
                }
            }
        }
        known.reverse();
        known
    }

    /// The chain with this draft behind it: to see what would be decided then.
    pub fn with(&self, draft: ManifestDraft) -> Self {
        let mut chain = self.clone();
        let (sequence, parent_crc) = match self.links.last_key_value() {
            Some((newest, link)) => (newest.next(), link.crc()),
            None => (ManifestSequence(1), 0),
        };
        let manifest = draft.at(sequence, parent_crc, self.boundary());
        chain.links.insert(sequence, Link::Sound { manifest: Box::new(manifest), crc: 0 });
        chain
    }

    /// The directories of the checkpoints that manifests from `first` on name; one comes as often as it is named.
    pub fn directories(&self, first: ManifestSequence) -> impl Iterator<Item = &str> {
        let manifests = self.links.range(first..).filter_map(|(_, link)| link.manifest());
        manifests.filter_map(|manifest| manifest.checkpoint.as_ref()).map(|files| files.directory.as_str())
    }

    /// The oldest frame of the log that a manifest needs; `None` where there is no manifest.
    pub fn oldest_needed(&self) -> Option<Sequence> {
        oldest_needed(self.links.values().filter_map(Link::manifest))
    }

    /// The oldest batch from which a recovery may go on; `None` where there is no manifest.
    pub fn oldest_batch(&self) -> Option<BatchId> {
        self.links.values().filter_map(Link::manifest).map(|manifest| manifest.point.batch).min()
    }

    /// The batches that a new lineage has left out, for each such lineage: those between the first and the second. Their inputs were lost
    /// with a machine, and their numbers are not given again.
    pub fn left_out(&self) -> Vec<(BatchId, BatchId)> {
        let points = self.links.values().filter_map(Link::manifest).map(|manifest| &manifest.point);
        let mut left_out: Vec<_> = points
            .filter(|point| point.next_batch > point.batch.next())
            .map(|point| (point.batch, point.next_batch))
            .collect();
        left_out.dedup();
        left_out
    }

    /// The lineage that the job is in.
    pub fn lineage(&self) -> Option<Lineage> {
        self.newest().map(|manifest| manifest.point.lineage)
    }

    /// The manifest that begins the lineage of the newest one, where the chain still holds it: a rollback, or what was first
    /// published after it or after the loss of a log.
    pub fn beginning_of_lineage(&self) -> Option<&Manifest> {
        let newest = self.newest()?.point.lineage;
        let mut before = None;
        for manifest in self.links.values().filter_map(Link::manifest) {
            let lineage = manifest.point.lineage;
            let is_other = before.replace(lineage).is_some_and(|before| before != lineage);
            if lineage == newest && (is_other || manifest.kind == ManifestKind::Rollback) {
                return Some(manifest);
            }
        }
        None
    }
}

/// The job goes on from the checkpoint that `manifest` names, as a new lineage: what is newer is abandoned. One that was abandoned
/// before, and is gone back to, is usable again.
fn abandon(known: &mut [KnownCheckpoint<'_>], manifest: &Manifest) {
    let target = manifest.checkpoint.as_ref().map(|files| &files.directory);
    let place = known.iter().position(|checkpoint| Some(&checkpoint.files.directory) == target);
    for (index, checkpoint) in known.iter_mut().enumerate() {
        let is_newer =
            checkpoint.manifest.point.batch > manifest.point.batch || place.is_none_or(|place| index > place);
        match checkpoint.standing {
            Standing::Usable if is_newer && Some(index) != place => {
                checkpoint.standing = Standing::Abandoned { by: manifest.sequence };
            }
            Standing::Abandoned { .. } if Some(index) == place => checkpoint.standing = Standing::Usable,
            _ => {}
        }
    }
}

/// The oldest frame of the log that one of these manifests needs, oldest first; `None` where there is none. One of another log than the
/// newest's, which was lost, needs nothing of the one that is there.
pub fn oldest_needed<'m>(manifests: impl DoubleEndedIterator<Item = &'m Manifest> + Clone) -> Option<Sequence> {
    let log = manifests.clone().next_back()?.point.log.log;
    let points = manifests.map(|manifest| manifest.point.log);
    points.filter(|point| point.log == log).map(|point| point.oldest_needed).min()
}
