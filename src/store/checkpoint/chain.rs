//! The chain of manifests: reading all of it, and adding one link.
//!
//! # Invariants
//! - Absent is not unreadable (I-6): no manifests beside other files of the job, or a hole, is a refusal.
//! - The commit point is one create-if-absent; whoever loses it is fenced (I-8).
//! - Manifests are removed only below a boundary that a durable manifest states, so a stalled writer that creates a removed
//!   sequence again changes nothing: what is below the boundary does not count, and the writer finds newer ones.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{ManifestDamage, VERSION};
use super::retention::{Keep, KeepRule, boundary};
use super::{ChainError, ChainFacts, Link, Manifest, ManifestDraft, SourceEntry};
use crate::wal::TruncationRight;
use floodmark_base::disk::{Disk, Step};
use floodmark_base::id::{BatchId, Epoch, ManifestSequence, Sequence};

/// The directory of manifests inside of a job's directory.
pub const MANIFESTS: &str = "manifests";
/// Directories whose files prove that a job has lived here.
const PROOFS: [&str; 2] = ["wal", "checkpoints"];

/// The one writer of a job's chain: knows all of it, and puts the next manifest behind the newest.
#[derive(Debug)]
pub struct ManifestChain {
    job: PathBuf,
    facts: ChainFacts,
    keep: KeepRule,
}

/// Proof that a manifest is durable: only this gives the right to cut the log, and says how far.
#[derive(Clone, Debug)]
pub struct PublishedManifest {
    #[cfg_attr(not(test), allow(dead_code))] // shown when it is printed for debugging
    sequence: ManifestSequence,
    oldest_needed: Sequence,
    oldest_sources: Vec<SourceEntry>,
    oldest_batch: BatchId,
}

impl PublishedManifest {
    /// Its place in the chain.
    #[cfg(test)]
    pub fn sequence(&self) -> ManifestSequence {
        self.sequence
    }

    /// The first sequence of the log that a retained manifest needs.
    #[cfg(test)]
    pub fn oldest_needed(&self) -> Sequence {
        self.oldest_needed
    }

    /// The right to delete what no retained manifest needs of the log (I-5).
    pub fn truncation_right(&self) -> TruncationRight {
        TruncationRight::of_published_manifest(self.oldest_needed)
    }

    /// Takes what older manifests need for unneeded: for [`TruncateTooMuch`](floodmark_base::planted::PlantedBug::TruncateTooMuch).
    pub(super) fn forget_older(&mut self, needed_by_newest: Sequence) {
        self.oldest_needed = needed_by_newest;
    }

    /// The batch up to which no retained manifest makes a recovery compute batches again.
    pub fn oldest_batch(&self) -> BatchId {
        self.oldest_batch
    }

    /// The sources with the positions before which no retained manifest can ask for anything again.
    pub fn oldest_sources(&self) -> &[SourceEntry] {
        &self.oldest_sources
    }
}

impl ManifestChain {
    /// Reads the manifests of a job. Reads only; judges only what makes the chain as such unbelievable.
    ///
    /// # Errors
    /// When the manifests are gone while other files of the job are there, one in the middle is missing, two chains are mixed,
    /// a manifest is of another version or of a later build, or the file system refuses. A damaged manifest is a fact, not an error.
    pub fn observe(disk: &dyn Disk, job: &Path) -> Result<ChainFacts, ChainError> {
        let directory = job.join(MANIFESTS);
        let names = list_or_absent(disk, &directory)?.unwrap_or_default();
        let (mut links, mut others) = (BTreeMap::new(), Vec::new());
        for name in names {
            match parse_name(&name) {
                Some(sequence) => {
                    links.insert(sequence, read_link(disk, directory.join(name))?);
                }
                None => others.push(name),
            }
        }
        if links.is_empty() {
            refuse_a_lost_directory(disk, job, &directory)?;
        }
        let mut facts = ChainFacts { links, superseded: Vec::new(), others };
        let counted = facts.links.split_off(&facts.boundary());
        facts.superseded = std::mem::replace(&mut facts.links, counted).into_keys().collect();
        check_links(&facts, &directory)?;
        Ok(facts)
    }

    /// The newest sequence that a name in the directory stands for; `None` where there is no manifest. Two equal answers mean that
    /// nothing was published in between.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn newest_name(disk: &dyn Disk, job: &Path) -> Result<Option<ManifestSequence>, ChainError> {
        let names = list_or_absent(disk, &job.join(MANIFESTS))?.unwrap_or_default();
        Ok(names.iter().filter_map(|name| parse_name(name)).max())
    }

    /// The writer that goes on behind what was observed, and keeps what the rule says.
    ///
    /// # Panics
    /// When it keeps none.
    pub fn new(job: &Path, facts: ChainFacts, keep: impl Into<KeepRule>) -> Self {
        let keep = keep.into();
        assert!(keep.count > 0, "at least one checkpoint is kept");
        Self { job: job.to_path_buf(), facts, keep }
    }

    /// What the chain says now.
    pub fn facts(&self) -> &ChainFacts {
        &self.facts
    }

    /// Publishes a manifest behind the newest one: the commit point.
    ///
    /// # Errors
    /// [`ChainError::Fenced`] when another driver was there first; [`ChainError::CommitUnknown`] when it cannot be told
    /// whether the manifest is durable: then stop and recover, and delete nothing.
    pub fn publish(&mut self, disk: &dyn Disk, draft: ManifestDraft) -> Result<PublishedManifest, ChainError> {
        let newest = self.facts.links.iter().next_back();
        let (sequence, parent_crc) = match newest {
            Some((newest, link)) => (newest.next(), link.crc()),
            None => (ManifestSequence(1), 0),
        };
        let directory = self.job.join(MANIFESTS);
        if let Some(manifest) = self.facts.newest().filter(|manifest| manifest.epoch > draft.epoch) {
            let file = directory.join(file_name(manifest.sequence));
            return Err(ChainError::Fenced { file, ours: draft.epoch, theirs: manifest.epoch });
        }

        // The boundary that this manifest states is the one that follows from the chain with this manifest in it.
        let manifest = draft.at(sequence, parent_crc, self.facts.boundary());
        let is_first = newest.is_none();
        let link = |manifest: Manifest, crc| Link::Sound { manifest: Box::new(manifest), crc };
        self.facts.links.insert(sequence, link(manifest.clone(), 0));
        let boundary = boundary(&self.facts, self.keep.now());
        let manifest = Manifest { boundary, ..manifest };
        match create_durably(disk, &directory, is_first, &manifest) {
            Ok(crc) => self.facts.links.insert(sequence, link(manifest, crc)),
            Err(error) => {
                self.facts.links.remove(&sequence);
                return Err(error);
            }
        };
        self.supersede_below(boundary);
        Ok(self.proof(sequence))
    }

    /// Counts the manifests below the boundary no longer.
    fn supersede_below(&mut self, boundary: ManifestSequence) {
        let counted = self.facts.links.split_off(&boundary);
        self.facts.superseded.extend(std::mem::replace(&mut self.facts.links, counted).into_keys());
    }

    /// The job's directory.
    pub(super) fn job(&self) -> &Path {
        &self.job
    }

    /// Removes the manifests below the boundary, oldest first. The boundary is durable: a published manifest states it.
    pub(super) fn remove_superseded(&mut self, disk: &dyn Disk) -> Result<usize, ChainError> {
        let mut superseded = std::mem::take(&mut self.facts.superseded);
        superseded.sort_unstable();
        for sequence in &superseded {
            let path = self.job.join(MANIFESTS).join(file_name(*sequence));
            disk.remove(Step::ManifestRemove, &path).map_err(|source| io_error("remove", &path, source))?;
        }
        Ok(superseded.len())
    }

    /// Takes for superseded what the next checkpoint will make superfluous: for
    /// [`DeleteBeforeManifest`](floodmark_base::planted::PlantedBug::DeleteBeforeManifest).
    pub(super) fn supersede_early(&mut self) {
        if self.keep.count > 1 {
            self.supersede_below(boundary(&self.facts, Keep::newest(self.keep.count - 1)));
        }
    }

    fn proof(&self, sequence: ManifestSequence) -> PublishedManifest {
        let newest = self.facts.newest().expect("a manifest was just published");
        assert_eq!(newest.sequence, sequence, "the manifest that was just published is the newest");
        let oldest_counted = self.facts.links.values().find_map(Link::manifest);
        // A damaged manifest may need anything.
        let is_damaged = self.facts.damaged().next().is_some();
        let oldest_needed = self.facts.oldest_needed().filter(|_| !is_damaged);
        let oldest_batch = self.facts.oldest_batch().filter(|_| !is_damaged);
        PublishedManifest {
            sequence,
            oldest_needed: oldest_needed.unwrap_or(Sequence(0)),
            oldest_batch: oldest_batch.unwrap_or(BatchId(0)),
            oldest_sources: oldest_counted.map(|manifest| manifest.point.sources.clone()).unwrap_or_default(),
        }
    }
}

/// Creates a manifest in the directory of manifests: the commit point. Returns the CRC of its bytes.
fn create_durably(disk: &dyn Disk, directory: &Path, is_first: bool, manifest: &Manifest) -> Result<u32, ChainError> {
    let (sequence, epoch) = (manifest.sequence, manifest.epoch);
    let bytes = manifest.to_bytes().map_err(|reason| ChainError::Encode { sequence, reason })?;
    if is_first {
        disk.create_dir_all(Step::DirectoryCreate, directory)
            .map_err(|source| io_error("create", directory, source))?;
    }
    create(disk, &directory.join(file_name(sequence)), &bytes, epoch)?;
    refuse_if_overtaken(disk, directory, sequence, epoch)?;
    Ok(crc32fast::hash(&bytes))
}

/// Creates the file, and finds out what an answer other than success means.
fn create(disk: &dyn Disk, file: &Path, bytes: &[u8], ours: Epoch) -> Result<(), ChainError> {
    match disk.create_whole(Step::ManifestCreate, file, bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let unknown = |source| ChainError::CommitUnknown { file: file.to_path_buf(), source };
            let found = disk.read(file).map_err(unknown)?;
            if found == bytes {
                // Ours: an earlier answer was lost, and perhaps with it the sync of the name.
                let directory = file.parent().unwrap_or(file);
                return disk.sync_tree(Step::ManifestCreate, directory).map_err(unknown);
            }
            match Manifest::from_bytes(&found) {
                Ok(theirs) => Err(ChainError::Fenced { file: file.to_path_buf(), ours, theirs: theirs.epoch }),
                Err(damage) => Err(ChainError::Damaged { file: file.to_path_buf(), reason: damage.to_string() }),
            }
        }
        Err(source) => Err(ChainError::CommitUnknown { file: file.to_path_buf(), source }),
    }
}

/// A writer that was stalled while others went on, and removed what it was about to create, finds theirs here (I-8).
fn refuse_if_overtaken(
    disk: &dyn Disk,
    directory: &Path,
    ours: ManifestSequence,
    epoch: Epoch,
) -> Result<(), ChainError> {
    let names = disk.list(directory).map_err(|source| io_error("list", directory, source))?;
    let Some(newest) = names.iter().filter_map(|name| parse_name(name)).max().filter(|newest| *newest > ours) else {
        return Ok(());
    };
    let file = directory.join(file_name(newest));
    match read_link(disk, file.clone())? {
        Link::Sound { manifest, .. } => Err(ChainError::Fenced { file, ours: epoch, theirs: manifest.epoch }),
        Link::Damaged { file, reason, .. } => Err(ChainError::Damaged { file, reason }),
    }
}

pub(super) fn refuse_a_lost_directory(disk: &dyn Disk, job: &Path, directory: &Path) -> Result<(), ChainError> {
    for name in PROOFS {
        let found = list_or_absent(disk, &job.join(name))?.unwrap_or_default();
        if let Some(first) = found.first() {
            let found = format!("{} files in {name} ({first} first)", found.len());
            return Err(ChainError::ManifestsMissing { directory: directory.to_path_buf(), found });
        }
    }
    Ok(())
}

fn check_links(facts: &ChainFacts, directory: &Path) -> Result<(), ChainError> {
    let Some(newest) = facts.newest_sequence() else { return Ok(()) };
    // A newest manifest that is damaged may have stated a higher boundary, and what was below it may be gone; so nothing readable
    // says where the chain begins.
    let first = match facts.links.last_key_value() {
        Some((_, Link::Sound { .. })) => facts.stated_boundary(),
        _ => facts.boundary(),
    };
    let mut expected = first;
    let mut parent: Option<&Link> = None;
    for (&sequence, link) in &facts.links {
        if sequence != expected {
            let file = directory.join(file_name(expected));
            let is_at_front = parent.is_none();
            return Err(ChainError::Hole { file, first, newest, is_at_front });
        }
        // A parent that is damaged has other bytes than its child saw; that is already told as its damage.
        if let (Some(Link::Sound { crc, .. }), Some(manifest)) = (parent, link.manifest())
            && manifest.parent_crc != *crc
        {
            let file = directory.join(file_name(sequence));
            return Err(ChainError::Forked { file, expected: manifest.parent_crc, found: *crc });
        }
        parent = Some(link);
        expected = sequence.next();
    }
    Ok(())
}

pub(super) fn read_link(disk: &dyn Disk, file: PathBuf) -> Result<Link, ChainError> {
    let bytes = disk.read(&file).map_err(|source| io_error("read", &file, source))?;
    let crc = crc32fast::hash(&bytes);
    let misplaced = |manifest: &Manifest| file.file_name().is_none_or(|name| *name != *file_name(manifest.sequence));
    match Manifest::from_bytes(&bytes) {
        Ok(manifest) if misplaced(&manifest) => {
            let reason = format!("expected the manifest of its name, found manifest {}", manifest.sequence);
            Ok(Link::Damaged { file, reason, crc })
        }
        Ok(manifest) => Ok(Link::Sound { manifest: Box::new(manifest), crc }),
        Err(ManifestDamage::Version { found }) => Err(ChainError::Version { file, expected: VERSION, found }),
        Err(ManifestDamage::Parts { found }) => Err(ChainError::Parts { file, found }),
        Err(damage @ ManifestDamage::Damaged { .. }) => Ok(Link::Damaged { file, reason: damage.to_string(), crc }),
    }
}

/// The names in a directory, or `None` when it is not there; any other failure stays one (I-6).
pub(super) fn list_or_absent(disk: &dyn Disk, directory: &Path) -> Result<Option<Vec<String>>, ChainError> {
    match disk.list(directory) {
        Ok(names) => Ok(Some(names)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("list", directory, source)),
    }
}

/// The file name of a manifest: twenty digits.
pub fn file_name(sequence: ManifestSequence) -> String {
    format!("{:020}", sequence.0)
}

pub(super) fn parse_name(name: &str) -> Option<ManifestSequence> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok().map(ManifestSequence))
        .flatten()
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> ChainError {
    ChainError::Io { doing, path: path.to_path_buf(), source }
}
