//! Looking at a job in a bucket: nothing is written there, nothing is claimed, and a job may be at work.
//!
//! A scratch directory becomes what a start would find after its fetch, but for table files: each has a stand-in, as long as its object
//! and with the end of a table, so that whoever looks at names, sizes and ends sees what is in the bucket. [`RemoteDisk::bring`] puts
//! the real file in its place for who reads state. Where an object is not what it was, the scratch directory has what can be had
//! all the same, and [`Look::damage`] says what is wrong.
//!
//! A look takes what it sees for one moment's only if nothing was published since: a driver at work deletes what it makes unneeded.
#![allow(clippy::disallowed_methods)] // fills a scratch directory, which need not survive

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::collect::object_of;
use super::disk::{FILES, RemoteDisk, UPLOADS, manifest_name};
use super::envelope::{LogObject, Place, StoredFile, damaged};
use super::error::NO_SUCH_OBJECT;
use super::fetch::{FetchError, local};
use super::known::KNOWN;
use super::log::{LOG, number_in, object_name};
use super::manifests::{Manifests, sound};
use super::pins::{PINS, StoredPins, pin_name, read_pins};
use super::probe;
use super::write::OPERATIONS;
use super::{Download, RemoteError, RemoteFile};
use crate::checkpoint::MANIFESTS;
use crate::recovery::facts::{CHECKPOINTS, LIVE, WAL};
use crate::state::files::TABLE_FOOTER_MARK;
use floodmark_base::clock::Clock;
use floodmark_base::disk::Step;
use floodmark_base::id::ManifestSequence;

/// How often a look begins, while a driver goes on.
const TRIES: u32 = 30;
/// The directory of pins in a job's directory.
pub const PINNED: &str = "pinned";
/// The manifest in a pin's directory.
pub const PIN_MANIFEST: &str = "manifest";
/// The record of verbs in a job's directory.
pub const JOURNAL: &str = "operations.jsonl";

/// What a bucket held at one moment.
#[derive(Debug, Default)]
pub struct Look {
    pub manifests: Manifests,
    pub pins: StoredPins,
    /// All objects of the job, by name, as lists show them.
    pub objects: Vec<RemoteFile>,
    /// What is not as it was, in the order in which a start meets it.
    pub damage: Vec<ObjectDamage>,
    /// The files of checkpoints and pins, by their directory below the scratch directory.
    directories: BTreeMap<PathBuf, Vec<StoredFile>>,
}

/// An object that is not what it was.
#[derive(Debug)]
pub struct ObjectDamage {
    /// Always [`RemoteError::Damaged`].
    pub error: RemoteError,
    /// A start is refused because of it.
    pub refuses: bool,
    /// Only pins need it.
    pub of_pin: bool,
    /// The checkpoints that list it.
    pub concerns: Vec<String>,
}

impl Look {
    /// Whether there is no trace of a job.
    pub fn is_empty(&self) -> bool {
        self.manifests.newest().is_none() && !self.objects.iter().any(|file| file.name.starts_with(LOG))
    }

    /// Why a start is refused, where it is.
    pub fn refusal(&self) -> Option<&ObjectDamage> {
        self.damage.iter().find(|damage| damage.refuses)
    }

    /// The object that holds a file, by its path below the scratch directory.
    pub fn object_at(&self, below: &Path) -> Option<&str> {
        let (directory, name) = (below.parent()?, below.file_name()?.to_str()?);
        let stored = self.directories.get(directory)?.iter().find(|stored| stored.file.name == name)?;
        object_of(stored)
    }

    /// The directories of checkpoints and pins.
    pub fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.directories.keys()
    }

    /// Bytes of the table files of a directory.
    pub fn table_bytes(&self, directory: &Path) -> u64 {
        let files = self.directories.get(directory).into_iter().flatten();
        files.filter(|stored| object_of(stored).is_some()).map(|stored| stored.file.size).sum()
    }

    /// How many checkpoints of the chain have an object, and whether pins have it.
    pub fn users_of(&self, object: &str) -> (usize, bool) {
        let has = |files: &[StoredFile]| files.iter().any(|stored| object_of(stored) == Some(object));
        let of = |root: &str| self.directories.iter().filter(|(at, files)| at.starts_with(root) && has(files)).count();
        (of(CHECKPOINTS), of(PINNED) > 0)
    }

    /// The numbers of the log's objects that a start reads, and where the next is put.
    pub fn log_range(&self) -> (u64, u64) {
        self.manifests.log_range().map_or((1, 1), |range| (range.first, range.next))
    }

    /// The last names in a row of a start's part of the log that are free below what was there when the newest manifest was written:
    /// nothing before them counts.
    pub fn last_hole_of_the_log(&self) -> Vec<String> {
        let (first, next) = self.log_range();
        let there: BTreeSet<&str> = self.objects.iter().map(|file| &*file.name).collect();
        let is_free = |name: &String| !there.contains(&**name);
        let from_last = (first..next).rev().map(object_name).skip_while(|name| !is_free(name));
        from_last.take_while(is_free).collect()
    }

    /// When the newest object was written, by the store's clock.
    pub fn newest_write_ms(&self) -> u64 {
        self.objects.iter().map(|file| file.modified_ms).max().unwrap_or_default()
    }

    /// Which names of each object there are in the scratch directory.
    fn names(&self) -> BTreeMap<&str, Vec<(PathBuf, &StoredFile)>> {
        let mut names: BTreeMap<&str, Vec<(PathBuf, &StoredFile)>> = BTreeMap::new();
        for (directory, files) in &self.directories {
            for stored in files {
                if let Place::Object(object) = &stored.place {
                    names.entry(object).or_default().push((directory.join(&stored.file.name), stored));
                }
            }
        }
        names
    }

    fn tell(&mut self, error: RemoteError, refuses: bool) {
        self.damage.push(ObjectDamage { error, refuses, of_pin: false, concerns: Vec::new() });
    }
}

impl RemoteDisk {
    /// Makes the scratch directory what a start would find.
    ///
    /// # Errors
    /// When the store cannot be read, or the scratch directory cannot be written. Damage is no error.
    pub fn look(&self, clock: &dyn Clock) -> Result<Look, FetchError> {
        for _ in 1..TRIES {
            let look = self.try_to_look(clock)?;
            if !self.is_behind(look.manifests.newest().unwrap_or_default())? {
                return Ok(look);
            }
        }
        self.try_to_look(clock)
    }

    fn try_to_look(&self, clock: &dyn Clock) -> Result<Look, FetchError> {
        self.clear()?;
        let mut look = Look::default();
        look.manifests = match Manifests::read(&self.bucket) {
            Err(error @ RemoteError::Damaged { .. }) => {
                look.tell(error, true);
                Manifests::read_whatever_is_there(&self.bucket)?
            }
            read => read?,
        };
        // A start rejects a manifest that it cannot read, and goes back to the checkpoint before it.
        let mut told = Vec::new();
        for (number, stored) in &look.manifests.damaged {
            told.extend(sound(*number, &stored.bytes).err());
        }
        told.into_iter().for_each(|error| look.tell(error, false));
        for place in [MANIFESTS, FILES, LOG, PINS, probe::DIRECTORY, OPERATIONS, UPLOADS] {
            look.objects.extend(self.bucket.list(place)?);
        }
        look.pins = read_pins(&self.bucket, StoredPins::new())?;
        self.lay_out_checkpoints(&mut look)?;
        self.lay_out_log(&mut look, clock)?;
        self.lay_out_manifests(&look)?;
        self.lay_out_journal(&look)?;
        Ok(look)
    }

    fn clear(&self) -> Result<(), FetchError> {
        for name in self.names(&self.job)? {
            let is_ours = [MANIFESTS, CHECKPOINTS, WAL, LIVE, PINNED, JOURNAL, KNOWN].contains(&&*name);
            if is_ours || name.starts_with("stale-") {
                let path = self.job.join(name);
                self.local.remove(Step::LiveBuild, &path).map_err(local("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Directories of checkpoints and pins: small files, and stand-ins.
    fn lay_out_checkpoints(&self, look: &mut Look) -> Result<(), FetchError> {
        for (envelope, manifest) in look.manifests.sound.values() {
            if let Some(files) = &manifest.checkpoint {
                look.directories.insert(Path::new(CHECKPOINTS).join(&files.directory), envelope.files.clone());
            }
        }
        for (directory, pin) in &look.pins {
            match pin {
                Ok(pin) => {
                    drop(look.directories.insert(Path::new(PINNED).join(directory), pin.envelope.files.clone()));
                }
                Err(RemoteError::Damaged { name, expected, found }) => look.damage.push(ObjectDamage {
                    error: damaged(name, expected, found),
                    refuses: false,
                    of_pin: true,
                    concerns: vec![format!("the pin of {directory}")],
                }),
                Err(_) => {}
            }
        }
        for (directory, files) in &look.directories {
            let directory = self.job.join(directory);
            self.local.create_dir_all(Step::DirectoryCreate, &directory).map_err(local("create", &directory))?;
            for stored in files {
                if let Place::Inline(bytes) = &stored.place {
                    let path = directory.join(&stored.file.name);
                    write_scratch(&path, bytes).map_err(local("create", &path))?;
                }
            }
        }
        let listed: HashMap<&str, u64> = look.objects.iter().map(|file| (&*file.name, file.size)).collect();
        let mut damage = Vec::new();
        for (object, names) in look.names() {
            let size = match listed.get(object) {
                Some(size) => Some(*size),
                None => self.bucket.size(object)?,
            };
            let expected = names[0].1.file.size;
            if size == Some(expected) {
                self.stand_in(&names)?;
            } else {
                // It is left out, as a start does it: then the checkpoint counts as damaged.
                damage.push(wrong_size(object, expected, size, &names));
            }
        }
        look.damage.extend(damage);
        Ok(())
    }

    /// A file of this length, with the end of a table, under all these names.
    fn stand_in(&self, names: &[(PathBuf, &StoredFile)]) -> Result<(), FetchError> {
        use std::os::unix::fs::FileExt;
        let first = self.job.join(&names[0].0);
        let make = || {
            let file = std::fs::File::create_new(&first)?;
            let size = names[0].1.file.size;
            file.set_len(size)?;
            match size.checked_sub(8) {
                Some(end) if names[0].1.file.is_table() => file.write_all_at(&TABLE_FOOTER_MARK.to_le_bytes(), end),
                _ => Ok(()),
            }
        };
        make().map_err(local("create", &first))?;
        self.link_all(&first, &names[1..])
    }

    fn link_all(&self, first: &Path, names: &[(PathBuf, &StoredFile)]) -> Result<(), FetchError> {
        for (path, _) in names {
            let path = self.job.join(path);
            self.remove_file(&path)?;
            self.local.link(Step::LiveBuild, first, &path).map_err(local("link", &path))?;
        }
        Ok(())
    }

    /// The log as a start rebuilds it; where it is damaged, all that is left of it.
    fn lay_out_log(&self, look: &mut Look, clock: &dyn Clock) -> Result<(), FetchError> {
        let range = look.manifests.log_range();
        match self.rebuild_log(range, look.manifests.oldest_needed(), clock, &|_| ()) {
            Err(FetchError::Remote(error @ RemoteError::Damaged { .. })) => {
                let mut found = Vec::new();
                self.salvage_log(range, &mut found)?;
                if found.is_empty() {
                    found.push(error);
                }
                found.into_iter().for_each(|error| look.tell(error, true));
                Ok(())
            }
            done => done,
        }
    }

    fn lay_out_manifests(&self, look: &Look) -> Result<(), FetchError> {
        let directory = self.job.join(MANIFESTS);
        self.local.create_dir_all(Step::DirectoryCreate, &directory).map_err(local("create", &directory))?;
        // One that is damaged is damaged here, too.
        for (number, bytes) in look.manifests.bytes() {
            let path = self.job.join(manifest_name(number));
            write_scratch(&path, bytes).map_err(local("create", &path))?;
        }
        for (directory, pin) in &look.pins {
            let Ok(pin) = pin else { continue };
            let path = self.job.join(PINNED).join(directory).join(PIN_MANIFEST);
            let bytes = &pin.envelope.manifest;
            write_scratch(&path, bytes).map_err(local("create", &path))?;
        }
        Ok(())
    }

    /// What verbs have done to the bucket, in the order of their times.
    fn lay_out_journal(&self, look: &Look) -> Result<(), FetchError> {
        let names = look.objects.iter().map(|file| &file.name).filter(|name| name.starts_with(OPERATIONS));
        let names: Vec<String> = names.cloned().collect();
        let mut lines = Vec::new();
        for bytes in super::fetch::read_many(&self.bucket, &names)?.into_iter().flatten() {
            lines.extend_from_slice(&bytes);
        }
        let path = self.job.join(JOURNAL);
        if lines.is_empty() {
            return Ok(());
        }
        write_scratch(&path, &lines).map_err(local("create", &path))
    }

    /// Puts the real table files of a directory in the place of their stand-ins, but those of the objects `without`. With a cache they are kept there, and those that it
    /// has are used where size and CRC32 are right.
    ///
    /// # Errors
    /// When the store or the local disk fails, or an object is not what it was.
    pub fn bring(
        &self,
        look: &Look,
        directory: &Path,
        without: &BTreeSet<String>,
        cache: Option<&Path>,
        progress: &dyn Fn(u64),
    ) -> Result<(), FetchError> {
        let files = look.directories.get(directory).into_iter().flatten();
        let wanted: BTreeSet<&str> = files.filter_map(object_of).filter(|object| !without.contains(*object)).collect();
        let (mut downloads, mut places) = (Vec::new(), Vec::new());
        for (object, names) in look.names().into_iter().filter(|(object, _)| wanted.contains(object)) {
            let stored = names[0].1;
            let place = match cache {
                Some(cache) => cache.join(object),
                None => self.job.join(&names[0].0),
            };
            if !self.is_whole(&place, stored) {
                let parent = place.parent().unwrap_or(&self.job);
                self.local.create_dir_all(Step::DirectoryCreate, parent).map_err(local("create", parent))?;
                let (name, size, crc32) = (object.to_string(), stored.file.size, stored.file.crc32);
                downloads.push(Download { name, to: place.clone(), size, crc32 });
            }
            places.push((place, names));
        }
        self.bucket.download_all(&downloads, progress)?;
        for (place, names) in places {
            let first = self.job.join(&names[0].0);
            if place != first {
                self.remove_file(&first)?;
                link_or_copy(&place, &first).map_err(local("link", &first))?;
            }
            self.link_all(&first, &names[1..])?;
        }
        Ok(())
    }

    /// Leaves a table file out that is not what it was, as a start does it: the checkpoints that list it count as damaged then.
    ///
    /// # Errors
    /// When the scratch directory cannot be written.
    pub fn leave_out(&self, look: &Look, object: &str) -> Result<(), FetchError> {
        for (path, _) in look.names().remove(object).unwrap_or_default() {
            self.remove_file(&self.job.join(path))?;
        }
        Ok(())
    }

    /// Reads every object that a look has not read: what is kept for ever, or waits for its deletion. Says what is wrong with it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read_the_rest(&self, look: &Look) -> Result<Vec<ObjectDamage>, RemoteError> {
        let (first, _) = look.log_range();
        let mut found = Vec::new();
        for RemoteFile { name, .. } in &look.objects {
            let Some(number) = number_in(name) else { continue };
            let is_log = name.starts_with(LOG) && number < first;
            let is_manifest = name.starts_with(MANIFESTS)
                && !look.manifests.sound.contains_key(&ManifestSequence(number))
                && !look.manifests.damaged.contains_key(&ManifestSequence(number));
            if !(is_log || is_manifest) {
                continue;
            }
            let Some(bytes) = self.bucket.read(name)? else { continue };
            let read = match is_log {
                true => LogObject::from_bytes(&object_name(number), number, &bytes).map(drop),
                false => sound(ManifestSequence(number), &bytes).map(drop),
            };
            let told = look.damage.iter().any(|known| known.object() == name);
            if let (Err(error), false) = (read, told) {
                found.push(ObjectDamage { error, refuses: false, of_pin: false, concerns: Vec::new() });
            }
        }
        Ok(found)
    }
}

impl ObjectDamage {
    /// The object's name, below the prefix.
    pub fn object(&self) -> &str {
        match &self.error {
            RemoteError::Damaged { name, .. } => name,
            _ => "",
        }
    }
}

/// The finding that an object of another size is, or none at all.
fn wrong_size(object: &str, expected: u64, found: Option<u64>, names: &[(PathBuf, &StoredFile)]) -> ObjectDamage {
    let found = found.map_or(NO_SUCH_OBJECT.to_string(), |found| format!("one of {found}"));
    let of_chain = names.iter().any(|(path, _)| path.starts_with(CHECKPOINTS));
    let directories = names.iter().filter_map(|(path, _)| path.parent());
    ObjectDamage {
        error: damaged(object, format!("an object of {expected} bytes"), found),
        refuses: false,
        of_pin: !of_chain,
        concerns: directories.map(|directory| format!("listed by {}", words_of(directory))).collect(),
    }
}

/// What a directory is called in findings.
pub fn words_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    match directory.starts_with(PINNED) {
        true => format!("the pin {}", pin_name(&name)),
        false => format!("checkpoint {name}"),
    }
}

/// A file that need not outlive the verb: it is not synced.
fn write_scratch(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::File::create_new(path)?.write_all(bytes)
}

/// A second name, or a copy where the two are on different file systems.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => std::fs::copy(from, to).map(drop),
        linked => linked,
    }
}
