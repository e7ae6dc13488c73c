//! What a source of files remembers of each file that it took: size, time, and a hash of each part that was read.
//!
//! It is kept in the state beside a checkpoint, an entry a file, and written where it changed: so neither the position of the
//! source nor a manifest grows with the number of files. Nothing here looks at a file.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::source::file_name::FileName;
use crate::source::file_range::{FileRange, FileStamp};

/// Bytes that were read in one task, from the end of the part before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Offset behind its last byte.
    pub end: u64,
    /// XXH3 of its bytes, 128 bits; none of what was given up without being read, or was read by a version that took no hash.
    pub hash: Option<u128>,
}

/// What is remembered of a file, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMemory {
    /// The file when it was last seen with the bytes that were read; none of what an earlier version took, until it is looked at.
    pub stamp: Option<FileStamp>,
    /// What was read of it, or given up, in batches that were committed; none of a file that is only planned.
    pub parts: Vec<Part>,
    /// The file as it was found with other contents under the same name, which were not read.
    pub replaced: Option<FileStamp>,
}

impl FileMemory {
    /// How far it was read.
    pub fn end(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end)
    }

    /// Whether it was read to its end.
    pub fn is_whole(&self) -> bool {
        !self.parts.is_empty() && self.stamp.is_some_and(|stamp| stamp.size == self.end())
    }

    fn add(&mut self, range: &FileRange, hash: Option<u128>) {
        let part = Part { end: range.end, hash };
        let begins_anew = range.start == 0 && (self.stamp != Some(range.stamp) || self.parts.first() != Some(&part));
        if begins_anew {
            *self = Self::default();
        }
        if range.start > self.end() {
            self.parts.push(Part { end: range.start, hash: None });
        }
        let is_known = self.parts.iter().rev().any(|part| part.end >= range.end && part.end > range.start)
            || (range.start == range.end && !self.parts.is_empty());
        if !is_known {
            self.parts.push(part);
        }
        self.stamp = Some(range.stamp);
    }
}

/// A change since the last checkpoint: a name, and what is remembered of it now, if anything.
pub(crate) type Change = (FileName, Option<FileMemory>);

/// The files that were taken and are not forgotten.
#[derive(Debug, Default)]
pub(crate) struct KnownFiles {
    files: HashMap<FileName, Entry>,
    /// Names whose memory is not what the newest checkpoint holds.
    changed: HashSet<FileName>,
    /// Names under which other contents stand than were read.
    replaced: BTreeSet<FileName>,
    /// Files of which something is remembered: all but those that are only planned.
    remembered: u64,
}

#[derive(Debug, Default)]
struct Entry {
    memory: FileMemory,
    /// The number of the file under this name at the last listing; 0 if it was not seen yet.
    inode: u64,
    /// The listing in which the name was last seen.
    listing: u64,
}

/// What a name in a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    New,
    Known,
    /// Another file stands under a known name than at the last listing.
    Exchanged,
}

/// What the size and time of a file tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// It is as it was.
    Same,
    /// It may be the same: its time is another, or is not known.
    Unsure,
    /// It has other contents.
    Replaced,
}

impl KnownFiles {
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// How many of them a checkpoint holds that is taken now.
    pub fn remembered(&self) -> u64 {
        self.remembered
    }

    pub fn contains(&self, name: &FileName) -> bool {
        self.files.contains_key(name)
    }

    /// Whether the listing has shown the name.
    pub fn is_seen(&self, name: &FileName, listing: u64) -> bool {
        self.files.get(name).is_some_and(|entry| entry.listing == listing)
    }

    pub fn get(&self, name: &FileName) -> Option<&FileMemory> {
        self.files.get(name).map(|entry| &entry.memory)
    }

    pub fn names(&self) -> impl Iterator<Item = &FileName> {
        self.files.keys()
    }

    /// Names under which other contents stand than were read.
    pub fn replaced(&self) -> &BTreeSet<FileName> {
        &self.replaced
    }

    /// A listing has shown a name, with the number of its file.
    pub fn see(&mut self, name: &[u8], listing: u64, inode: u64) -> Sighting {
        let Some(entry) = self.files.get_mut(name) else { return Sighting::New };
        let before = std::mem::replace(&mut entry.inode, inode);
        entry.listing = listing;
        if before == 0 || before == inode { Sighting::Known } else { Sighting::Exchanged }
    }

    /// Names that this listing has not shown.
    pub fn unseen(&self, listing: u64) -> impl Iterator<Item = &FileName> {
        self.files.iter().filter(move |(_, entry)| entry.listing != listing).map(|(name, _)| name)
    }

    /// A file was planned to its end.
    pub fn take(&mut self, name: FileName) {
        self.files.entry(name).or_default();
    }

    /// As [`take`](Self::take), by an earlier version, which remembered the name only, or of a part nothing but how long it is.
    pub fn take_over(&mut self, name: FileName, part: Option<(FileStamp, u64)>) {
        let (stamp, end) = part.map_or((None, 0), |(stamp, end)| (Some(stamp), end));
        let memory = FileMemory { stamp, parts: vec![Part { end, hash: None }], replaced: None };
        self.change(&name, |known| *known = memory);
        self.changed.insert(name);
    }

    /// What a checkpoint holds of a name.
    pub fn recall(&mut self, name: FileName, memory: FileMemory) {
        self.changed.remove(&name);
        self.change(&name, |known| *known = memory);
    }

    /// A range of a batch that is committed; `hash` is that of its bytes, none where it was given up. Whatever was committed before may
    /// be told again.
    pub fn committed(&mut self, range: &FileRange, hash: Option<u128>) {
        self.change(&range.name, |known| known.add(range, hash));
        self.changed.insert(range.name.clone());
    }

    pub fn forget(&mut self, name: &FileName) {
        if let Some(entry) = self.files.remove(name) {
            self.remembered -= u64::from(!entry.memory.parts.is_empty());
            self.replaced.remove(name);
            self.changed.insert(name.clone());
        }
    }

    /// What size and time tell of a file that was read whole, or of the part of one that was.
    pub fn compare(&self, name: &FileName, found: FileStamp) -> Comparison {
        match self.get(name) {
            Some(FileMemory { stamp: Some(stamp), .. }) if *stamp == found => Comparison::Same,
            Some(FileMemory { stamp: Some(stamp), .. }) if stamp.size != found.size => Comparison::Replaced,
            _ => Comparison::Unsure,
        }
    }

    /// A file has the bytes that were read, under this stamp.
    pub fn accept(&mut self, name: &FileName, found: FileStamp) {
        self.change(name, |known| {
            if known.stamp.is_none() {
                // An earlier version took it, and remembered no more than that.
                known.parts = vec![Part { end: found.size, hash: None }];
            }
            (known.stamp, known.replaced) = (Some(found), None);
        });
        self.changed.insert(name.clone());
    }

    /// A file has other bytes than were read. Returns whether that is news.
    pub fn replace(&mut self, name: &FileName, found: FileStamp) -> bool {
        let is_news = self.get(name).is_some_and(|known| known.replaced != Some(found));
        if is_news {
            self.change(name, |known| known.replaced = Some(found));
            self.changed.insert(name.clone());
        }
        is_news
    }

    /// What changed since the last call, for a checkpoint.
    pub fn freeze(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        let memory = |name: &FileName| self.get(name).filter(|memory| !memory.parts.is_empty()).cloned();
        changed.into_iter().map(|name| (memory(&name), name)).map(|(memory, name)| (name, memory)).collect()
    }

    /// The checkpoint that these were frozen for is not taken.
    pub fn thaw(&mut self, names: impl IntoIterator<Item = FileName>) {
        self.changed.extend(names);
    }

    /// The state goes back to an older checkpoint.
    pub fn thaw_all(&mut self) {
        self.changed.extend(self.files.keys().cloned());
    }

    fn change(&mut self, name: &FileName, change: impl FnOnce(&mut FileMemory)) {
        if !self.files.contains_key(name) {
            self.files.insert(name.clone(), Entry::default());
        }
        let memory = &mut self.files.get_mut(name).expect("it was put there").memory;
        let was_remembered = u64::from(!memory.parts.is_empty());
        change(memory);
        self.remembered = self.remembered - was_remembered + u64::from(!memory.parts.is_empty());
        if memory.replaced.is_some() {
            self.replaced.insert(name.clone());
        } else {
            self.replaced.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64, modified_ns: i64) -> FileStamp {
        FileStamp { size, modified_ns }
    }

    fn range(stamp: FileStamp, start: u64, end: u64) -> FileRange {
        FileRange { name: "a".into(), stamp, start, end }
    }

    fn ends(known: &KnownFiles) -> Vec<(u64, Option<u128>)> {
        known.get(&"a".into()).unwrap().parts.iter().map(|part| (part.end, part.hash)).collect()
    }

    #[test]
    fn parts_that_are_told_again_after_a_failed_attempt_are_known_once() {
        let mut known = KnownFiles::default();
        let told = [(range(stamp(9, 1), 0, 4), 10), (range(stamp(9, 1), 4, 7), 11), (range(stamp(9, 2), 7, 9), 12)];
        for from in 0..3 {
            for (range, hash) in &told[from..] {
                known.committed(range, Some(*hash));
            }
            assert_eq!(ends(&known), [(4, Some(10)), (7, Some(11)), (9, Some(12))], "from part {from} on");
        }
        assert_eq!(known.get(&"a".into()).unwrap().stamp, Some(stamp(9, 2)), "the newest stamp counts");
        known.committed(&range(stamp(3, 5), 0, 3), Some(13));
        assert_eq!(ends(&known), [(3, Some(13))], "another file under the same name begins anew");
    }

    #[test]
    fn an_empty_file_is_one_part() {
        let mut known = KnownFiles::default();
        for _ in 0..2 {
            known.committed(&range(stamp(0, 1), 0, 0), Some(7));
        }
        assert_eq!(ends(&known), [(0, Some(7))]);
    }

    #[test]
    fn a_part_of_which_an_earlier_version_took_no_hash_is_known_by_its_end() {
        let mut known = KnownFiles::default();
        known.take_over("a".into(), Some((stamp(9, 1), 4)));
        known.committed(&range(stamp(9, 1), 4, 9), Some(11));
        assert_eq!(ends(&known), [(4, None), (9, Some(11))]);
        let mut other = KnownFiles::default();
        other.committed(&range(stamp(9, 1), 4, 9), Some(11));
        assert_eq!(ends(&other), [(4, None), (9, Some(11))]);
    }

    #[test]
    fn a_checkpoint_gets_what_changed_since_the_last_one_and_what_is_only_planned_is_no_change() {
        let mut known = KnownFiles::default();
        known.take("b".into());
        known.committed(&range(stamp(1, 1), 0, 1), Some(1));
        let frozen = known.freeze();
        assert_eq!(frozen.len(), 1);
        assert_eq!(frozen[0].0, "a".into());
        assert!(known.freeze().is_empty());
        known.thaw(frozen.into_iter().map(|(name, _)| name));
        assert_eq!((known.len(), known.remembered()), (2, 1));
        known.forget(&"a".into());
        known.take("a".into());
        assert_eq!(known.freeze(), [("a".into(), None)], "planned anew, it is as if it were new");
        assert_eq!((known.len(), known.remembered()), (2, 0));
    }

    #[test]
    fn a_replaced_file_is_news_once_and_is_counted_until_its_contents_are_back() {
        let mut known = KnownFiles::default();
        known.committed(&range(stamp(1, 1), 0, 1), Some(1));
        assert_eq!(known.compare(&"a".into(), stamp(1, 2)), Comparison::Unsure);
        assert_eq!(known.compare(&"a".into(), stamp(2, 1)), Comparison::Replaced);
        assert!(known.replace(&"a".into(), stamp(2, 1)) && !known.replace(&"a".into(), stamp(2, 1)));
        assert_eq!(known.replaced().len(), 1);
        known.accept(&"a".into(), stamp(1, 3));
        assert_eq!((known.replaced().len(), known.compare(&"a".into(), stamp(1, 3))), (0, Comparison::Same));
    }

    #[test]
    fn another_file_under_a_known_name_is_seen_in_the_listing() {
        let mut known = KnownFiles::default();
        known.take("a".into());
        known.take("b".into());
        assert_eq!(known.see(b"a", 1, 77), Sighting::Known, "nothing is known of the file before");
        assert_eq!(known.see(b"a", 2, 77), Sighting::Known);
        assert_eq!(known.see(b"a", 3, 78), Sighting::Exchanged);
        assert_eq!(known.see(b"c", 3, 79), Sighting::New);
        assert_eq!(known.unseen(3).collect::<Vec<_>>(), [&"b".into()]);
    }
}
