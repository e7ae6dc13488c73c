//! The files of checkpoints, of those in the chain and of those that are pinned.
//!
//! Checkpoints share table files by hard links: a file is read once, and damage in it is told once, with all checkpoints that list it.
#![allow(clippy::disallowed_methods)] // reads a stored file, which the verb never changes

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Depth;
use super::entries::EntryRange;
use super::work::{Done, Workers};
use crate::failure::Result;
use crate::finding::{Code, Finding};
use crate::location::Store;
use crate::operation::pins::{self, MANIFEST, PINNED};
use floodmark_base::disk::LocalDisk;
use floodmark_store::checkpoint::{ChainFacts, CheckpointFiles, JobPoint, Manifest, Standing};
use floodmark_store::recovery::decide::Rejected;
use floodmark_store::recovery::facts::{CHECKPOINTS, Facts};
use floodmark_store::state::StateError;
use floodmark_store::state::files::CheckpointFile;

const PIECE: usize = 1 << 20;

/// All checkpoints and their files.
pub(super) struct Checkpoints {
    store: PathBuf,
    pub known: Vec<Checkpoint>,
    files: BTreeMap<usize, Listed>,
    /// Files that are read whole, by number.
    chosen: Vec<usize>,
    /// What sizes and ends of files tell.
    pub findings: Vec<Finding>,
    pub table_files: usize,
}

/// A checkpoint.
pub(super) struct Checkpoint {
    pub name: String,
    pub path: PathBuf,
    pub files: CheckpointFiles,
    pub point: JobPoint,
    pub pinned: bool,
    /// The manifest by which it was rejected.
    pub rejected_by: Option<u64>,
    /// What is wrong with it, in the engine's words.
    pub damage: Vec<String>,
    /// A table file is among that.
    damaged_tables: bool,
}

/// A file as manifests list it: once for each thing that they say of it.
struct Listed {
    path: PathBuf,
    bytes: u64,
    is_table: bool,
    says: Vec<Says>,
}

/// What manifests say of a file.
struct Says {
    crc32: u32,
    path: PathBuf,
    /// The checkpoints that say so, by their places.
    checkpoints: Vec<usize>,
}

/// A file to read.
#[derive(Clone)]
pub(super) struct UniqueFile {
    pub number: usize,
    path: PathBuf,
    pub bytes: u64,
}

/// What was read.
pub(super) enum ReadFile {
    Crc(u32),
    Failed(String),
}

impl UniqueFile {
    /// Reads it whole.
    pub fn read(&self, buffer: &mut Vec<u8>, workers: &Workers) -> ReadFile {
        buffer.resize(PIECE, 0);
        let mut hasher = crc32fast::Hasher::new();
        let read = File::open(&self.path).and_then(|mut file| {
            loop {
                match file.read(buffer)? {
                    0 => return Ok(()),
                    read => {
                        hasher.update(&buffer[..read]);
                        workers.progress.add(read as u64);
                    }
                }
                if workers.interruption.is_raised() {
                    return Ok(());
                }
            }
        });
        match read {
            Ok(()) => ReadFile::Crc(hasher.finalize()),
            Err(error) => ReadFile::Failed(error.to_string()),
        }
    }
}

impl Checkpoints {
    /// Looks at names, sizes and ends of files, and chooses what is to be read.
    pub fn of(store: &Store, chain: &ChainFacts, depth: Depth) -> Result<Self> {
        let mut findings = Vec::new();
        let known = known(store, chain, &mut findings)?;
        let mut checkpoints = Self {
            store: store.path().to_path_buf(),
            known,
            files: BTreeMap::new(),
            chosen: Vec::new(),
            findings,
            table_files: 0,
        };
        checkpoints.look_at_all(store, depth);
        checkpoints.choose(depth);
        Ok(checkpoints)
    }

    fn look_at_all(&mut self, store: &Store, depth: Depth) {
        let mut numbers: HashMap<(u64, u64), usize> = HashMap::new();
        // What was told of a file under one name is not told again under another.
        let mut told: HashMap<(u64, u64), usize> = HashMap::new();
        for place in 0..self.known.len() {
            for file in self.known[place].files.files.clone() {
                let path = self.known[place].path.join(&file.name);
                let inode = fs::metadata(&path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
                if let Err(error) = look_at(&file, &self.known[place].path, depth) {
                    self.found_wrong(store, place, &error, inode, &mut told);
                    continue;
                }
                let Some(inode) = inode else { continue };
                let count = numbers.len();
                let number = *numbers.entry(inode).or_insert(count);
                let listed = self.files.entry(number).or_insert_with(|| Listed {
                    path: path.clone(),
                    bytes: file.size,
                    is_table: file.is_table(),
                    says: Vec::new(),
                });
                match listed.says.iter_mut().find(|says| says.crc32 == file.crc32) {
                    Some(says) => says.checkpoints.push(place),
                    None => listed.says.push(Says { crc32: file.crc32, path, checkpoints: vec![place] }),
                }
            }
        }
        self.table_files = self.files.values().filter(|file| file.is_table).count();
    }

    fn found_wrong(
        &mut self,
        store: &Store,
        place: usize,
        error: &StateError,
        inode: Option<(u64, u64)>,
        told: &mut HashMap<(u64, u64), usize>,
    ) {
        self.known[place].damage.push(error.to_string());
        self.known[place].damaged_tables |= is_table_damage(error) && self.known[place].path.is_dir();
        let concern = format!("listed by {}", self.known[place].words());
        if let Some(index) = inode.and_then(|inode| told.get(&inode)) {
            self.findings[*index].concerns.push(concern);
            return;
        }
        if let Some(inode) = inode {
            told.insert(inode, self.findings.len());
        }
        let finding = Finding::of_state(store.path(), error);
        let code =
            if self.known[place].pinned && finding.code != Code::Unreadable { Code::PinDamaged } else { finding.code };
        self.findings.push(Finding { code, ..finding }.concerning(concern));
    }

    fn choose(&mut self, depth: Depth) {
        let tables = |wanted: bool| self.files.iter().filter(move |(_, file)| file.is_table == wanted);
        let small = || tables(false).map(|(number, _)| *number);
        self.chosen = match depth {
            Depth::Quick => Vec::new(),
            Depth::Usual => small().collect(),
            Depth::Full | Depth::Entries => self.files.keys().copied().collect(),
            Depth::Share(share, seed) => {
                let mut drawn: Vec<(usize, u64)> = tables(true).map(|(number, file)| (*number, file.bytes)).collect();
                drawn.shuffle(&mut StdRng::seed_from_u64(seed));
                let wanted = drawn.iter().map(|(_, bytes)| *bytes).sum::<u64>() as f64 * share;
                let mut bytes = 0;
                let is_wanted = |(_, size): &(usize, u64)| {
                    let before = bytes;
                    bytes += size;
                    (before as f64) < wanted
                };
                let drawn = drawn.into_iter().take_while(is_wanted).map(|(number, _)| number);
                small().chain(drawn).collect()
            }
        };
    }

    /// The files to read whole.
    pub fn reads(&self) -> impl Iterator<Item = UniqueFile> + '_ {
        self.chosen.iter().map(|number| {
            let Listed { path, bytes, .. } = &self.files[number];
            UniqueFile { number: *number, path: path.clone(), bytes: *bytes }
        })
    }

    /// How many table files are not read whole.
    pub fn left_out(&self) -> usize {
        self.table_files - self.chosen.iter().filter(|number| self.files[number].is_table).count()
    }

    /// How many files, each once.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Bytes of the files that are read whole.
    pub fn read_bytes(&self) -> u64 {
        self.reads().map(|file| file.bytes).sum()
    }

    /// The ranges of entries to read, of every checkpoint that may be used or is pinned.
    pub fn open_entries(&mut self, is_wanted: impl Fn(&Checkpoint) -> bool) -> Vec<EntryRange> {
        let mut ranges = Vec::new();
        let wanted = self.known.iter_mut().enumerate().filter(|(_, it)| it.rejected_by.is_none() && is_wanted(it));
        for (place, checkpoint) in wanted {
            match super::entries::open(place, checkpoint) {
                Ok(found) => ranges.extend(found),
                // Small files that are damaged are told by their checksums; without them no entry can be read.
                Err(_) if !checkpoint.damage.is_empty() => {}
                Err(error) => {
                    let finding = Finding::new(Code::of_state(&error)).concerning(error.to_string());
                    self.findings.push(finding.concerning(format!("of {}", checkpoint.words())));
                    checkpoint.damage.extend(error.is_damage().then(|| error.to_string()));
                }
            }
        }
        ranges
    }

    /// Takes what was read of the files.
    pub fn take_files(&mut self, done: &Done) {
        for (number, listed) in &self.files {
            match done.files.get(number) {
                None => {}
                Some(ReadFile::Failed(reason)) => {
                    let finding = Finding::new(Code::Unreadable).file(&self.store, &listed.path);
                    self.findings.push(finding.concerning(reason.clone()));
                }
                Some(ReadFile::Crc(found)) => {
                    for says in listed.says.iter().filter(|says| says.crc32 != *found) {
                        let finding = blame(&mut self.known, listed, says, *found, &self.store);
                        self.findings.push(finding);
                    }
                }
            }
        }
    }

    /// Takes what was read of the entries, and gives everything that was found.
    pub fn take_entries(&mut self, done: &Done) -> Vec<Finding> {
        self.findings.extend(super::entries::findings(&mut self.known, &done.entries));
        std::mem::take(&mut self.findings)
    }

    /// The checkpoints that a start cannot use, beyond what it sees by itself.
    pub fn unusable(&self, facts: &Facts) -> Vec<Rejected> {
        let rejected = facts.candidates.iter().filter_map(|candidate| {
            let directory = &candidate.checkpoint.as_ref()?.directory;
            let known = self.known.iter().find(|known| !known.pinned && known.files.directory == *directory)?;
            Some(Rejected::candidate(candidate, known.damage.first()?.clone()))
        });
        rejected.collect()
    }
}

/// The finding that a wrong checksum is; all checkpoints that list the file are marked.
fn blame(known: &mut [Checkpoint], listed: &Listed, says: &Says, found: u32, store: &Path) -> Finding {
    let name = says.path.file_name().unwrap_or_default();
    let error = |path| StateError::FileChecksum { path, expected: says.crc32, found };
    let mut finding = Finding::of_state(store, &error(says.path.clone()));
    for place in &says.checkpoints {
        let checkpoint = &mut known[*place];
        finding = finding.concerning(format!("listed by {}", checkpoint.words()));
        checkpoint.damage.push(error(checkpoint.path.join(name)).to_string());
        checkpoint.damaged_tables |= listed.is_table;
    }
    if says.checkpoints.iter().all(|place| known[*place].pinned) {
        finding.code = Code::PinDamaged;
    }
    finding
}

/// Sizes and ends of files.
fn look_at(file: &CheckpointFile, directory: &Path, depth: Depth) -> Result<(), StateError> {
    file.verify_size(directory)?;
    if depth != Depth::Quick && file.is_table() { file.verify_footer(directory) } else { Ok(()) }
}

/// Whether a table file is what is damaged.
fn is_table_damage(error: &StateError) -> bool {
    match error {
        StateError::FileMissing { path, .. }
        | StateError::FileSize { path, .. }
        | StateError::FileFooter { path, .. } => path.extension().is_some_and(|extension| extension == "sst"),
        _ => false,
    }
}

impl Checkpoint {
    /// Whether something is wrong with a table file, so that it matters which entries can still be read.
    pub fn has_damaged_tables(&self) -> bool {
        self.damaged_tables
    }

    /// What it is called in findings.
    pub fn words(&self) -> String {
        match self.rejected_by {
            Some(by) => format!("{}, which manifest {by} has rejected", self.name),
            None => self.name.clone(),
        }
    }
}

/// The checkpoints of the chain, newest first, then those that are pinned.
fn known(store: &Store, chain: &ChainFacts, findings: &mut Vec<Finding>) -> Result<Vec<Checkpoint>> {
    let of_chain = chain.checkpoints().into_iter().map(|known| Checkpoint {
        name: format!("checkpoint {}", known.files.directory),
        path: store.path().join(CHECKPOINTS).join(&known.files.directory),
        files: known.files.clone(),
        point: known.manifest.point.clone(),
        pinned: false,
        rejected_by: match known.standing {
            Standing::Rejected { by, .. } => Some(by.0),
            _ => None,
        },
        damage: Vec::new(),
        damaged_tables: false,
    });
    let mut known: Vec<Checkpoint> = of_chain.collect();
    known.extend(pinned(store, findings)?);
    Ok(known)
}

fn pinned(store: &Store, findings: &mut Vec<Finding>) -> Result<Vec<Checkpoint>> {
    let mut known = Vec::new();
    for (name, manifest) in pins::manifests(&LocalDisk, store.path())? {
        let path = store.path().join(PINNED).join(&name);
        if !path.is_dir() {
            continue;
        }
        match manifest {
            Ok(Manifest { checkpoint: Some(files), point, .. }) => known.push(Checkpoint {
                name: format!("the pinned checkpoint of batch {} ({name})", point.batch),
                path,
                files,
                point,
                pinned: true,
                rejected_by: None,
                damage: Vec::new(),
                damaged_tables: false,
            }),
            Ok(_) => {}
            Err(reason) => {
                let file = path.join(MANIFEST);
                findings.push(Finding::new(Code::PinDamaged).file(store.path(), &file).concerning(reason));
            }
        }
    }
    Ok(known)
}
