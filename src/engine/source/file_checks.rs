//! Whether files that were taken are still what was read: a few are looked at with each offer, and those of which only the time is
//! another are read again.
#![allow(clippy::disallowed_methods)] // looks at files of the user

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::source::file_name::FileName;
use crate::source::file_range::FileStamp;
use crate::source::known_files::{Comparison, KnownFiles};
use crate::source::open_file::open_file;

/// Files that are looked at with each offer, beside those of which a listing has shown that they are others.
const LOOKS: usize = 100;
/// Bytes that are read again with each offer.
const REREAD_BYTES: u64 = 32 << 20;
/// Bytes that are read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// What is to be looked at, and what is being read.
#[derive(Debug, Default)]
pub(crate) struct FileChecks {
    suspects: VecDeque<FileName>,
    /// What is left of a round through all files.
    round: std::vec::IntoIter<FileName>,
    unsure: BTreeSet<FileName>,
    reading: Option<Reading>,
}

/// A file that is read again, piece by piece.
struct Reading {
    name: FileName,
    stamp: FileStamp,
    /// The part that is being read, and how far.
    part: usize,
    at: u64,
    hasher: Xxh3,
}

/// What reading a file again has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The bytes that were read are there.
    Same(FileStamp),
    /// Others are.
    Other(FileStamp),
    /// It is not read to its end yet, or changed meanwhile.
    Pending,
    /// It cannot be read at present.
    Unreadable(io::ErrorKind),
}

impl FileChecks {
    /// Another file stands under this name.
    pub fn suspect(&mut self, name: FileName) {
        self.suspects.push_back(name);
    }

    /// Looks at some files, all but the one that is being taken. Returns those that have other contents than were read: those of which
    /// that is news, or `all`, also those that were reported before.
    pub fn run(
        &mut self,
        directory: &Path,
        known: &mut KnownFiles,
        in_part: Option<&FileName>,
        all: bool,
    ) -> Vec<(FileName, FileStamp)> {
        let mut replaced = BTreeMap::new();
        let mut note = |known: &mut KnownFiles, name: FileName, found| {
            if known.replace(&name, found) || all {
                replaced.insert(name, found);
            }
        };
        if self.round.len() == 0 {
            self.round = known.names().cloned().collect::<Vec<_>>().into_iter();
        }
        let due: Vec<_> = self.suspects.drain(..).chain(self.round.by_ref().take(LOOKS)).collect();
        for name in due {
            let Some(memory) = known.get(&name) else { continue };
            let is_read = memory.stamp.map_or(!memory.parts.is_empty(), |stamp| stamp.size == memory.end());
            let was_replaced = memory.replaced;
            if !is_read || in_part == Some(&name) {
                continue;
            }
            // What is not there, or is no file, tells nothing.
            let Ok(Some(found)) = stamp_of(&name.in_directory(directory)) else { continue };
            match known.compare(&name, found) {
                Comparison::Same if was_replaced.is_some() => known.accept(&name, found),
                Comparison::Same => {}
                Comparison::Replaced => note(known, name, found),
                // Its bytes were compared before.
                Comparison::Unsure if was_replaced == Some(found) => note(known, name, found),
                Comparison::Unsure if self.is_reading(&name) => {}
                Comparison::Unsure => drop(self.unsure.insert(name)),
            }
        }
        let mut budget = REREAD_BYTES;
        while budget > 0 {
            if self.reading.is_none() {
                let Some(name) = self.unsure.pop_first() else { break };
                if let Err(error) = self.begin(directory, name) {
                    tracing::debug!("{error}: the file is looked at again later");
                }
            }
            let Some(name) = self.reading.as_ref().map(|reading| reading.name.clone()) else { continue };
            match self.read_on(directory, known, &mut budget) {
                Finding::Same(found) => known.accept(&name, found),
                Finding::Other(found) => note(known, name, found),
                // It is looked at again in the next round.
                Finding::Pending | Finding::Unreadable(_) => {}
            }
        }
        replaced.into_iter().collect()
    }

    /// Reads the part of a file again that was taken of it, as far as the budget of one offer goes.
    pub fn read_now(&mut self, directory: &Path, known: &KnownFiles, name: &FileName) -> Finding {
        if !self.is_reading(name) {
            let interrupted = self.reading.take().map(|reading| reading.name);
            self.unsure.extend(interrupted);
            if let Err(error) = self.begin(directory, name.clone()) {
                return Finding::Unreadable(error.kind());
            }
        }
        let mut budget = REREAD_BYTES;
        self.read_on(directory, known, &mut budget)
    }

    fn is_reading(&self, name: &FileName) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.name == *name)
    }

    /// Begins with a file, unless none is there.
    fn begin(&mut self, directory: &Path, name: FileName) -> io::Result<()> {
        if let Some(stamp) = stamp_of(&name.in_directory(directory))? {
            self.reading = Some(Reading { name, stamp, part: 0, at: 0, hasher: Xxh3::new() });
        }
        Ok(())
    }

    /// Reads on until the budget is used up or the file has shown what it is; it is not being read any more then.
    fn read_on(&mut self, directory: &Path, known: &KnownFiles, budget: &mut u64) -> Finding {
        let Some(mut reading) = self.reading.take() else { return Finding::Pending };
        let path = reading.name.in_directory(directory);
        let same = known.get(&reading.name).map_or(Ok(None), |memory| {
            let file = open_file(&path)?;
            let mut piece = Vec::new();
            while let Some(part) = memory.parts.get(reading.part) {
                let left = part.end.saturating_sub(reading.at);
                let Some(hash) = part.hash else {
                    (reading.part, reading.at) = (reading.part + 1, part.end);
                    continue;
                };
                if left == 0 {
                    if reading.hasher.digest128() != hash {
                        return Ok(Some(false));
                    }
                    reading.part += 1;
                    reading.hasher.reset();
                    continue;
                }
                if *budget == 0 {
                    return Ok(None);
                }
                piece.resize(left.min(PIECE_BYTES).min(*budget) as usize, 0);
                match file.read_exact_at(&mut piece, reading.at) {
                    // It is shorter than what was read of it.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
                    read => read?,
                }
                reading.hasher.update(&piece);
                reading.at += piece.len() as u64;
                *budget -= piece.len() as u64;
            }
            Ok(Some(true))
        });
        match same {
            // What changes meanwhile is looked at again in the next round.
            Ok(Some(_)) if !matches!(stamp_of(&path), Ok(Some(found)) if found == reading.stamp) => Finding::Pending,
            Ok(Some(true)) => Finding::Same(reading.stamp),
            Ok(Some(false)) => Finding::Other(reading.stamp),
            Ok(None) if *budget == 0 => {
                self.reading = Some(reading);
                Finding::Pending
            }
            Ok(None) => Finding::Pending,
            Err(error) => {
                let error: io::Error = error;
                tracing::debug!("{}: {error}: it is looked at again later", path.display());
                Finding::Unreadable(error.kind())
            }
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("name", &self.name).field("at", &self.at).finish_non_exhaustive()
    }
}

/// The stamp of a file; `None` of what is no file.
pub(crate) fn stamp_of(path: &Path) -> io::Result<Option<FileStamp>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() { FileStamp::of(&metadata).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use xxhash_rust::xxh3::xxh3_128;

    use super::*;
    use crate::source::file_range::FileRange;

    /// A file that was read whole, in two parts, and then got another time; and what is known of it.
    fn restored(bytes: &[u8]) -> (tempfile::TempDir, KnownFiles) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, bytes).unwrap();
        let (size, middle) = (bytes.len() as u64, bytes.len() as u64 / 3);
        let mut known = KnownFiles::default();
        for (start, end) in [(0, middle), (middle, size)] {
            let range = FileRange { name: "a".into(), stamp: FileStamp { size, modified_ns: 1 }, start, end };
            known.committed(&range, Some(xxh3_128(&bytes[start as usize..end as usize])));
        }
        (directory, known)
    }

    fn is_as_read(directory: &Path, known: &KnownFiles) -> bool {
        let found = stamp_of(&directory.join("a")).unwrap().unwrap();
        known.compare(&"a".into(), found) == Comparison::Same
    }

    #[test]
    fn a_file_with_another_time_and_the_same_bytes_is_accepted_and_one_with_other_bytes_is_told_once() {
        for byte in [0, 5, 9] {
            let (directory, mut known) = restored(b"0123456789");
            let mut checks = FileChecks::default();
            assert_eq!(checks.run(directory.path(), &mut known, None, false), []);
            assert!(is_as_read(directory.path(), &known));
            let mut other = *b"0123456789";
            other[byte] = b'x';
            let path = directory.path().join("a");
            fs::write(&path, other).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(7);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            let told = checks.run(directory.path(), &mut known, None, false);
            assert_eq!(told.len(), 1, "byte {byte} is another");
            assert_eq!(checks.run(directory.path(), &mut known, None, false), []);
        }
    }

    #[test]
    fn a_large_file_is_read_again_over_several_offers() {
        let bytes: Vec<u8> = (0..5 * REREAD_BYTES / 2).map(|byte| (byte % 253) as u8).collect();
        let (directory, mut known) = restored(&bytes);
        let mut checks = FileChecks::default();
        let mut offers = 0;
        while !is_as_read(directory.path(), &known) {
            assert_eq!(checks.run(directory.path(), &mut known, None, false), []);
            offers += 1;
        }
        assert_eq!(offers, 3);
        let (directory, known) = restored(&bytes);
        let mut checks = FileChecks::default();
        let findings: Vec<_> = (0..3).map(|_| checks.read_now(directory.path(), &known, &"a".into())).collect();
        assert_eq!(findings[..2], [Finding::Pending; 2]);
        assert!(matches!(findings[2], Finding::Same(_)));
    }

    #[test]
    fn a_round_through_many_files_takes_as_many_offers_as_there_are_hundreds_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut known = KnownFiles::default();
        for number in 0..250 {
            let name = format!("{number}");
            fs::write(directory.path().join(&name), "longer than it was").unwrap();
            let stamp = FileStamp { size: 1, modified_ns: 1 };
            known.committed(&FileRange { name: name.as_str().into(), stamp, start: 0, end: 1 }, Some(1));
        }
        let mut checks = FileChecks::default();
        let told = [(); 4].map(|()| checks.run(directory.path(), &mut known, None, false).len());
        assert_eq!(told, [100, 100, 50, 0]);
    }
}
