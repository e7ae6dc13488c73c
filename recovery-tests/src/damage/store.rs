//! A stored job in memory, and copies of it on disk that may be damaged.
//!
//! Checkpoints share files by hard links. Rot hits the bytes, not the name: so a copy has the same links, and a change of a
//! file's bytes is a change under all of its names. What is removed or replaced is one name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::kind::FileKind;

/// A directory with a stored job in it, as it was found.
#[derive(Debug)]
pub struct Store {
    /// Where the job's directory is below the root; empty when it is the root.
    job: PathBuf,
    files: Vec<StoredFile>,
    /// Directories below the root, parents first.
    directories: Vec<PathBuf>,
}

/// A file of the store.
#[derive(Debug)]
pub struct StoredFile {
    /// Its name in reports: the path below the job's directory, without what is random in it.
    pub name: String,
    pub kind: FileKind,
    pub bytes: Vec<u8>,
    /// Its path below the root.
    pub(super) path: PathBuf,
    /// Whether it belongs to the job; what stands beside the job's directory is copied, and never damaged.
    pub(super) is_of_job: bool,
    /// Other names of the same bytes, below the root.
    pub(super) links: Vec<PathBuf>,
    /// The file, earlier in the list, of which this is another name.
    pub(super) same_as: Option<usize>,
}

impl Store {
    /// Reads all files below `root`; the job's directory is `job` below it.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn read(root: &Path, job: &Path) -> io::Result<Self> {
        let mut store = Self { job: job.to_path_buf(), files: Vec::new(), directories: Vec::new() };
        let mut known: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        store.gather(root, Path::new(""), &mut known)?;
        store.tell_the_newest_segment();
        Ok(store)
    }

    fn gather(&mut self, root: &Path, below: &Path, known: &mut BTreeMap<(u64, u64), usize>) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(root.join(below))?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = below.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                self.directories.push(path.clone());
                self.gather(root, &path, known)?;
                continue;
            }
            let in_job = path.strip_prefix(&self.job).ok().map(Path::to_path_buf);
            let same_as = known.get(&(metadata.dev(), metadata.ino())).copied();
            match same_as {
                Some(first) => self.files[first].links.push(path.clone()),
                None => drop(known.insert((metadata.dev(), metadata.ino()), self.files.len())),
            }
            self.files.push(StoredFile {
                name: in_job.as_deref().unwrap_or(&path).iter().map(alias).collect::<Vec<_>>().join("/"),
                kind: in_job.as_deref().map_or(FileKind::Other, FileKind::of),
                bytes: fs::read(root.join(&path))?,
                is_of_job: in_job.is_some(),
                links: Vec::new(),
                same_as,
                path,
            });
        }
        Ok(())
    }

    fn tell_the_newest_segment(&mut self) {
        let segments = self.files.iter_mut().filter(|file| file.kind == FileKind::Segment);
        if let Some(newest) = segments.max_by(|one, other| one.path.cmp(&other.path)) {
            newest.kind = FileKind::NewestSegment;
        }
    }

    /// The files of the job, in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(|file| file.is_of_job)
    }

    /// The file of this name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&StoredFile> {
        self.files().find(|file| file.name == name)
    }

    /// The newest segment of the log, if there is one.
    #[must_use]
    pub fn newest_segment(&self) -> Option<&StoredFile> {
        self.files().find(|file| file.kind == FileKind::NewestSegment)
    }

    /// The directories of the job, by their names in reports and their paths below the root.
    pub fn directories(&self) -> impl Iterator<Item = (String, &Path)> {
        self.directories.iter().filter_map(|path| {
            let in_job = path.strip_prefix(&self.job).ok().filter(|path| !path.as_os_str().is_empty())?;
            Some((in_job.iter().map(alias).collect::<Vec<_>>().join("/"), path.as_path()))
        })
    }

    /// Where the job is in a copy.
    #[must_use]
    pub fn job_in(&self, copy: &Path) -> PathBuf {
        copy.join(&self.job)
    }

    /// Writes all of it to `root`, which is made afresh.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_to(&self, root: &Path) -> io::Result<()> {
        match fs::remove_dir_all(root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(root)?,
        }
        self.write_missing(root)
    }

    /// Writes what is not there; what is there is left alone.
    pub(super) fn write_missing(&self, root: &Path) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| fs::create_dir_all(root.join(directory)))?;
        for file in &self.files {
            let path = root.join(&file.path);
            match file.same_as {
                _ if path.exists() => {}
                Some(first) => fs::hard_link(root.join(&self.files[first].path), path)?,
                None => fs::write(path, &file.bytes)?,
            }
        }
        Ok(())
    }

    /// Puts the bytes of a file where they were, under all of its names.
    pub(super) fn mend(&self, root: &Path, file: &StoredFile) -> io::Result<()> {
        fs::write(root.join(&file.path), &file.bytes)
    }
}

/// All that recovery must leave alone: files by path, without the lock and what is disposable.
pub(super) fn lasting_files(job: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = BTreeSet::from([job.to_path_buf()]);
    while let Some(directory) = directories.pop_first() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let kind = path.strip_prefix(job).map(FileKind::of).unwrap_or(FileKind::Other);
            if path.is_dir() {
                directories.insert(path);
            } else if !matches!(kind, FileKind::Lock | FileKind::Live) {
                found.insert(path.clone(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// A part of a path without the random end that the directories of checkpoints have.
fn alias(part: &std::ffi::OsStr) -> String {
    let part = part.to_string_lossy();
    match part.rsplit_once('-') {
        Some((front, random)) if random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            front.to_string()
        }
        _ => part.into_owned(),
    }
}
