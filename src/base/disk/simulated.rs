//! A disk that knows what a power cut would leave of it.
//!
//! Files live in a real directory, because RocksDB works there too; syncs cost nothing, but are kept in mind: the bytes that a
//! file had when it was synced, and the names that a directory had when *it* was synced, which is another thing. From what is
//! there and what was made durable, [`SimulatedDisk::image`] composes what the next life may find.
//!
//! # What may be lost
//! | [`Loss`] | bytes that were not synced | names that were not synced | stands for |
//! |---|---|---|---|
//! | `Nothing` | there | there | the process dies, the machine lives |
//! | `Bytes` | gone: files end where they were last synced | there | a file system that writes names first |
//! | `Names` | there | as at the last sync: new ones gone, removed ones back | one that writes bytes first |
//! | `Everything` | gone | as at the last sync | a power cut |
//! | `Some` | each sector of 512 bytes there or zero, by a coin | each there or not, by a coin | reordered writes |
//!
//! Files that RocksDB wrote are known by their inode, so a name that was linked elsewhere and synced there is the same file.
#![allow(clippy::disallowed_methods)] // part of the door

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Disk, DiskFile, Kind, LocalDisk, Step};

/// The unit in which a disk writes.
const SECTOR: usize = 512;

/// What a crash takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Nothing,
    Bytes,
    Names,
    Everything,
    /// Whatever these coins say.
    Some {
        seed: u64,
    },
}

/// The contents of a directory after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    entries: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(Arc<[u8]>),
    Directory(Image),
}

impl Image {
    /// Reads a directory as it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(directory: &Path) -> io::Result<Self> {
        Ok(Seen::read(directory)?.visible(Seen::inode(directory)?))
    }

    /// Writes all of it into a new directory.
    ///
    /// # Errors
    /// When the directory is there, or cannot be written.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir(directory)?;
        for (name, node) in &self.entries {
            let path = directory.join(name);
            match node {
                Node::File(bytes) => fs::write(path, bytes)?,
                Node::Directory(image) => image.write_to(&path)?,
            }
        }
        Ok(())
    }

    /// Every file, by its path below the directory, in order.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, &[u8])> {
        let mut files = Vec::new();
        for (name, node) in &self.entries {
            match node {
                Node::File(bytes) => files.push((PathBuf::from(name), &**bytes)),
                Node::Directory(image) => {
                    files.extend(image.files().into_iter().map(|(path, bytes)| (Path::new(name).join(path), bytes)));
                }
            }
        }
        files
    }
}

/// A disk in a real directory, with pending and durable contents; clones share what they know.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    root: PathBuf,
    durable: Arc<Mutex<Durable>>,
}

/// A name's file or directory.
type Inode = u64;
/// The names in a directory.
type Names = BTreeMap<String, (Inode, Kind)>;

/// What has been synced.
#[derive(Debug, Default)]
struct Durable {
    bytes: HashMap<Inode, Arc<[u8]>>,
    names: HashMap<Inode, Names>,
}

impl SimulatedDisk {
    /// A disk in this directory; what is there now is durable.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn new(root: &Path) -> io::Result<Self> {
        let seen = Seen::read(root)?;
        let durable = Durable { bytes: seen.bytes, names: seen.names };
        Ok(Self { root: root.to_path_buf(), durable: Arc::new(Mutex::new(durable)) })
    }

    /// What the next life may find if the crash happens now.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn image(&self, loss: Loss) -> io::Result<Image> {
        let durable = self.lock();
        let seen = Seen::read(&self.root)?;
        let root = Seen::inode(&self.root)?;
        Ok(match loss {
            Loss::Nothing => seen.visible(root),
            Loss::Bytes => seen.compose(root, &|directory| seen.names_of(directory), &|file| durable.bytes_of(file)),
            Loss::Names => seen.compose(root, &|directory| durable.names_of(directory), &|file| {
                seen.bytes.get(&file).cloned().unwrap_or_else(|| durable.bytes_of(file))
            }),
            Loss::Everything => {
                seen.compose(root, &|directory| durable.names_of(directory), &|file| durable.bytes_of(file))
            }
            Loss::Some { seed } => {
                // A coin per inode and per name, so that the order of visits does not matter.
                let place: HashMap<Inode, u64> = seen.places(root, &durable);
                let coins = |inode: Inode| StdRng::seed_from_u64(seed ^ place.get(&inode).copied().unwrap_or(0));
                seen.compose(
                    root,
                    &|directory| some_names(&seen.names_of(directory), &durable.names_of(directory), coins(directory)),
                    &|file| some_bytes(seen.bytes.get(&file), &durable.bytes_of(file), coins(file)),
                )
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Durable> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_inside(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    fn synced_file(&self, path: &Path) -> io::Result<()> {
        if !self.is_inside(path) {
            return LocalDisk.kind(path).map(drop);
        }
        let mut durable = self.lock();
        let bytes = fs::read(path)?.into();
        durable.bytes.insert(Seen::inode(path)?, bytes);
        Ok(())
    }
}

impl Durable {
    fn bytes_of(&self, file: Inode) -> Arc<[u8]> {
        self.bytes.get(&file).cloned().unwrap_or_default()
    }

    fn names_of(&self, directory: Inode) -> Names {
        self.names.get(&directory).cloned().unwrap_or_default()
    }
}

/// All that a directory holds at a moment.
#[derive(Default)]
struct Seen {
    bytes: HashMap<Inode, Arc<[u8]>>,
    names: HashMap<Inode, Names>,
}

impl Seen {
    fn read(directory: &Path) -> io::Result<Self> {
        let mut seen = Self::default();
        seen.add(directory)?;
        Ok(seen)
    }

    fn inode(path: &Path) -> io::Result<Inode> {
        Ok(fs::symlink_metadata(path)?.ino())
    }

    fn add(&mut self, directory: &Path) -> io::Result<()> {
        let mut names = Names::new();
        for name in LocalDisk.list(directory)? {
            let path = directory.join(&name);
            match self.add_entry(&path, is_log_of_rocksdb(&name)) {
                Ok(Some(entry)) => drop(names.insert(name, entry)),
                Ok(None) => {}
                // RocksDB works here without asking: a name may go while it is looked at.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.names.insert(Self::inode(directory)?, names);
        Ok(())
    }

    fn add_entry(&mut self, path: &Path, skip: bool) -> io::Result<Option<(Inode, Kind)>> {
        let kind = LocalDisk.kind(path)?;
        let inode = Self::inode(path)?;
        match kind {
            _ if skip => return Ok(None),
            Kind::File if self.bytes.contains_key(&inode) => {}
            Kind::File => drop(self.bytes.insert(inode, fs::read(path)?.into())),
            Kind::Directory => self.add(path)?,
            Kind::Other => return Ok(None),
        }
        Ok(Some((inode, kind)))
    }

    fn names_of(&self, directory: Inode) -> Names {
        self.names.get(&directory).cloned().unwrap_or_default()
    }

    fn visible(&self, root: Inode) -> Image {
        self.compose(root, &|directory| self.names_of(directory), &|file| {
            self.bytes.get(&file).cloned().unwrap_or_default()
        })
    }

    fn compose(&self, directory: Inode, names: &dyn Fn(Inode) -> Names, bytes: &dyn Fn(Inode) -> Arc<[u8]>) -> Image {
        let node = |(inode, kind): (Inode, Kind)| match kind {
            Kind::Directory => Node::Directory(self.compose(inode, names, bytes)),
            _ => Node::File(bytes(inode)),
        };
        Image { entries: names(directory).into_iter().map(|(name, entry)| (name, node(entry))).collect() }
    }

    /// A number for every inode that does not depend on the file system: made of the names under which it stands.
    fn places(&self, root: Inode, durable: &Durable) -> HashMap<Inode, u64> {
        let mut places = HashMap::from([(root, 1)]);
        let mut open = vec![root];
        while let Some(directory) = open.pop() {
            for (name, (inode, kind)) in self.names_of(directory).into_iter().chain(durable.names_of(directory)) {
                // Random parts of names would make other coins in every run.
                let name: String = name.split(['.', '-']).filter(|part| part.len() != 16).collect();
                let place = xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), places[&directory]);
                if places.insert(inode, place).is_none() && kind == Kind::Directory {
                    open.push(inode);
                }
            }
        }
        places
    }
}

/// RocksDB's own diary: nobody reads it, and it is long.
fn is_log_of_rocksdb(name: &str) -> bool {
    name == "LOG" || name.starts_with("LOG.old")
}

fn some_names(seen: &Names, durable: &Names, mut coins: StdRng) -> Names {
    let mut names: Vec<&String> = seen.keys().chain(durable.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let chosen = names.into_iter().filter_map(|name| {
        let from = if coins.random() { seen } else { durable };
        from.get(name).map(|entry| (name.clone(), *entry))
    });
    chosen.collect()
}

fn some_bytes(seen: Option<&Arc<[u8]>>, durable: &Arc<[u8]>, mut coins: StdRng) -> Arc<[u8]> {
    let Some(seen) = seen.filter(|seen| seen.starts_with(durable) && seen.len() > durable.len()) else {
        return durable.clone();
    };
    let mut bytes = seen.to_vec();
    let mut begin = durable.len();
    let mut end = begin;
    while begin < bytes.len() {
        let next = ((begin / SECTOR + 1) * SECTOR).min(bytes.len());
        if coins.random() {
            end = next;
        } else {
            bytes[begin..next].fill(0);
        }
        begin = next;
    }
    // The length is written with the last sector, or before.
    let len = if coins.random() { end } else { bytes.len() };
    bytes.truncate(len);
    bytes.into()
}

impl Disk for SimulatedDisk {
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        LocalDisk.kind(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        LocalDisk.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        LocalDisk.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        LocalDisk.len(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        LocalDisk.list(path)
    }

    fn create(&self, step: Step, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let _still = self.lock();
        let file = LocalDisk.create(step, path)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), path: path.to_path_buf(), file }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = LocalDisk.open_append(path)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), path: path.to_path_buf(), file }))
    }

    fn create_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        let _still = self.lock();
        LocalDisk.create_dir(step, path)
    }

    fn link(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        let _still = self.lock();
        LocalDisk.link(step, from, to)
    }

    fn rename(&self, step: Step, from: &Path, to: &Path) -> io::Result<()> {
        let _still = self.lock();
        LocalDisk.rename(step, from, to)
    }

    fn remove_file(&self, step: Step, path: &Path) -> io::Result<()> {
        let _still = self.lock();
        LocalDisk.remove_file(step, path)
    }

    fn remove_dir(&self, step: Step, path: &Path) -> io::Result<()> {
        let _still = self.lock();
        LocalDisk.remove_dir(step, path)
    }

    fn sync_file(&self, _step: Step, path: &Path) -> io::Result<()> {
        self.synced_file(path)
    }

    fn sync_directory(&self, _step: Step, path: &Path) -> io::Result<()> {
        // Elsewhere others work: nothing is kept in mind, and nothing is looked at, since it may go meanwhile.
        if !self.is_inside(path) {
            return LocalDisk.kind(path).map(drop);
        }
        let mut durable = self.lock();
        let names = LocalDisk.list(path)?.into_iter().filter(|name| !is_log_of_rocksdb(name));
        let entry = |name: String| {
            let path = path.join(&name);
            Ok((name, (Seen::inode(&path)?, LocalDisk.kind(&path)?)))
        };
        let names = names.map(entry).collect::<io::Result<Names>>()?;
        durable.names.insert(Seen::inode(path)?, names);
        Ok(())
    }

    fn pass(&self, step: Step) -> io::Result<()> {
        LocalDisk.pass(step)
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, step: Step, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let _still = self.disk.lock();
        self.file.append(step, slices)
    }

    fn sync(&mut self, _step: Step) -> io::Result<()> {
        self.disk.synced_file(&self.path)
    }
}
