//! The log of the working copy, brought to what the objects of the log say, byte for byte where they say anything.
//!
//! What the working copy has beyond it, in its newest segment: blocks, which its local log has acknowledged, stay, and go to the bucket
//! with the next object; an event that was not put, and what stands behind it, was never acknowledged and is cut. Segments that differ,
//! or that the bucket does not know, are moved aside; segments that a truncation has deleted since go. What the working copy lacks is
//! written from the objects; blocks whose bodies are neither there nor here leave absent frames.
//!
//! The objects are read from the oldest that a manifest of then needed to the first number that is free; where a note ([`Known`]) says
//! what the working copy has already, from there on. Deletions may have left holes at their beginning; only what follows the last hole
//! counts, and whether that reaches back far enough shows when the log is scanned, as with any log.
//!
//! # What a crash leaves
//! The note goes before a segment is changed. A segment is written anew under another name, synced, and moved over the old one, so a crash
//! leaves segments that are as before or as they shall be, and no note, or one that is true of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::disk::RemoteDisk;
use super::envelope::{Known, LogObject, LogRange, damaged};
use super::error::NO_SUCH_OBJECT;
use super::fetch::{FetchError, FetchProgress, local, read_many};
use super::image::{SegmentImage, header_of};
use super::log::{Fetched, LOG, number_in, object_name};
use super::outline::Outline;
use crate::recovery::facts::WAL;
use crate::wal::{segment_number, segment_path};
use floodmark_base::clock::Clock;
use floodmark_base::disk::Step;
use floodmark_base::id::{LogId, SegmentNumber, Sequence};

/// Objects that are read before their pieces are written.
const BATCH: u64 = 32;
/// Where segments are written anew.
const REBUILT: &str = "wal.rebuilt";

impl RemoteDisk {
    /// Brings the log of the working copy to what the bucket holds.
    ///
    /// `oldest_needed` is the first frame that a retained manifest needs, if one knows this log.
    pub(super) fn rebuild_log(
        &self,
        range: Option<LogRange>,
        oldest_needed: Option<Sequence>,
        clock: &dyn Clock,
        tell: &dyn Fn(FetchProgress),
    ) -> Result<(), FetchError> {
        let range = range.unwrap_or(LogRange { first: 1, next: 1 });
        let listed = self.bucket.list(LOG)?;
        let hint = listed.iter().filter_map(|file| number_in(&file.name)).max().map_or(range.next, |newest| newest + 1);
        let mut image = Image::new(self)?;
        let mut number = self.trusted(&mut image, range)?.unwrap_or(range.first);
        let is_ahead = |name: &str| number_in(name).is_some_and(|at| at >= number);
        let total = listed.iter().filter(|file| is_ahead(&file.name)).map(|file| file.size).sum();
        let mut done = 0;
        let known = hint.max(range.next);
        loop {
            // What is known to be there at once; what may follow one by one.
            let until = if number < known { known.min(number + BATCH) } else { number + 1 };
            let names: Vec<String> = (number..until).map(object_name).collect();
            let mut ended = None;
            for (number, bytes) in (number..until).zip(read_many(&self.bucket, &names)?) {
                match bytes {
                    Some(bytes) => {
                        image.take(&LogObject::from_bytes(&object_name(number), number, &bytes)?)?;
                        image.last = Some((number, crc32fast::hash(&bytes)));
                        done += bytes.len() as u64;
                    }
                    // Behind the newest manifest there are no holes: that is the end.
                    None if number >= range.next => {
                        ended = Some(number);
                        break;
                    }
                    None => image.begin_anew(),
                }
            }
            if total > 0 {
                tell(FetchProgress { what: LOG, bytes: done.min(total), of: total });
            }
            if let Some(next) = ended {
                if next < hint {
                    let expected = format!("an object of the log, as those up to {}", object_name(hint - 1));
                    return Err(damaged(&object_name(next), expected, NO_SUCH_OBJECT).into());
                }
                let fetched = image.finish(next, oldest_needed, clock)?;
                self.log.fetched(fetched);
                return self.write_known().map_err(local("write", &self.known_path()));
            }
            number = until;
        }
    }

    /// Takes what a note says that the working copy has, if it is true of both sides; says which object comes next.
    fn trusted(&self, image: &mut Image<'_>, range: LogRange) -> Result<Option<u64>, FetchError> {
        let Some(known) = self.read_known().filter(|known| known.next > range.first) else { return Ok(None) };
        let last = self.bucket.read(&object_name(known.next - 1))?;
        let is_same_log = last.is_some_and(|bytes| crc32fast::hash(&bytes) == known.crc32);
        let is_true = is_same_log && image.begin_with(&known, range)?;
        tracing::debug!(next = known.next, is_true, "the working copy's note on the log");
        if !is_true {
            image.begin_anew();
            return Ok(None);
        }
        self.note_trust(true);
        Ok(Some(known.next))
    }
}

/// The log as the objects read so far say it is.
struct Image<'d> {
    disk: &'d RemoteDisk,
    segments: BTreeMap<SegmentNumber, Segment>,
    /// The newest of them, which may go on.
    current: Option<SegmentImage>,
    objects: BTreeMap<u64, SegmentNumber>,
    log: Option<LogId>,
    /// The newest object, and its checksum.
    last: Option<(u64, u32)>,
    rebuilt: PathBuf,
}

/// One segment of it that has ended.
struct Segment {
    /// Its first frame.
    begins_with: Sequence,
    /// Up to here the bucket knows it, where the working copy has it in the same layout.
    end: Option<u64>,
    /// It is written anew; the old one is to be kept aside.
    anew: Option<bool>,
}

impl<'d> Image<'d> {
    fn new(disk: &'d RemoteDisk) -> Result<Self, FetchError> {
        let rebuilt = disk.job.join(REBUILT);
        if !disk.absent(&rebuilt)? {
            disk.local.remove(Step::LiveBuild, &rebuilt).map_err(local("remove", &rebuilt))?;
        }
        for directory in [&rebuilt, &disk.job.join(WAL)] {
            disk.local.create_dir_all(Step::DirectoryCreate, directory).map_err(local("create", directory))?;
        }
        let (segments, objects) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { disk, segments, current: None, objects, log: None, last: None, rebuilt })
    }

    /// Nothing before a hole counts, and nothing of a log that was lost.
    fn begin_anew(&mut self) {
        self.segments.clear();
        self.objects.clear();
        self.current = None;
    }

    /// Begins with what a note says; false where the working copy says otherwise.
    fn begin_with(&mut self, known: &Known, range: LogRange) -> Result<bool, FetchError> {
        let newest = known.segments.last().map(|(number, _)| *number);
        for (number, end) in &known.segments {
            let (number, end) = (SegmentNumber(*number), *end);
            let Some(bytes) = self.local(number)? else {
                // Truncated since, as the oldest are; or missing, which shows when the log is read.
                if self.segments.is_empty() && Some(number.0) != newest {
                    continue;
                }
                return Ok(false);
            };
            let Ok(header) = crate::wal::SegmentHeader::decode(&bytes, Path::new(""), number) else { return Ok(false) };
            if (bytes.len() as u64) < end || self.log.replace(header.log).is_some_and(|log| log != header.log) {
                return Ok(false);
            }
            if Some(number.0) == newest {
                self.current = SegmentImage::known(header, bytes, end);
                if self.current.is_none() {
                    return Ok(false);
                }
            } else {
                let segment = Segment { begins_with: header.first_sequence, end: Some(end), anew: None };
                self.segments.insert(number, segment);
            }
        }
        let oldest = self.segments.keys().next().copied().or(newest.map(SegmentNumber));
        let is_there = |(number, segment): &(u64, SegmentNumber)| *number >= range.first && Some(*segment) >= oldest;
        let objects = known.objects.iter().map(|(number, segment)| (*number, SegmentNumber(*segment)));
        self.objects = objects.filter(is_there).collect();
        self.last = Some((known.next - 1, known.crc32));
        Ok(true)
    }

    fn take(&mut self, object: &LogObject) -> Result<(), FetchError> {
        for piece in &object.pieces {
            if piece.offset == 0 {
                let header = header_of(object.number, piece)?;
                if self.log.replace(header.log).is_some_and(|log| log != header.log) {
                    self.begin_anew();
                }
                drop(self.end_current(false)?);
                let there = self.local(header.number)?.unwrap_or_default();
                self.current = Some(SegmentImage::new(header, &piece.bytes, there));
            }
            self.objects.insert(object.number, piece.segment);
            // A segment whose beginning is gone: nothing of it is needed, or the scan finds it missing.
            match &mut self.current {
                Some(current) if current.header.number == piece.segment => current.take(object.number, piece)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends the segment that is under way, and writes it where the working copy has not the same. Of the newest the working copy may
    /// have more; that is returned, to be put.
    fn end_current(&mut self, is_newest: bool) -> Result<Outline, FetchError> {
        let Some(mut image) = self.current.take() else { return Ok(Outline::default()) };
        image.finish();
        let (number, mut more, mut is_cut) = (image.header.number, Outline::default(), false);
        let mut shall = std::mem::take(&mut image.built);
        if is_newest {
            let tail = image.local_tail();
            more = image.outline_of(&tail, self.disk.log_blocks);
            shall.extend_from_slice(&tail.blocks);
            is_cut = tail.is_cut;
        }
        let is_there = image.is_same && !is_cut || shall == image.local();
        let anew = if is_there {
            None
        } else {
            if is_cut {
                let (kept, cut) = (shall.len(), image.local().len() as i64 - shall.len() as i64);
                tracing::warn!(segment = %number, kept, cut, "cutting off what was not acknowledged");
            }
            if image.absent > 0 {
                tracing::warn!(segment = %number, blocks = image.absent, "blocks are only in the log of another machine");
            }
            self.write(number, &shall)?;
            Some(!(shall.starts_with(image.local()) || image.is_same))
        };
        let end = image.is_same.then_some(image.end);
        self.segments.insert(number, Segment { begins_with: image.header.first_sequence, end, anew });
        Ok(more)
    }

    fn write(&self, number: SegmentNumber, bytes: &[u8]) -> Result<(), FetchError> {
        let path = segment_path(&self.rebuilt, number);
        self.disk.remove_file(&path)?;
        let created = self.disk.local.create(Step::LiveBuild, &path);
        let mut file = created.map_err(local("create", &path))?;
        file.append(Step::LiveBuild, &mut [std::io::IoSlice::new(bytes)]).map_err(local("write", &path))?;
        file.sync(Step::LiveBuild).map_err(local("sync", &path))
    }

    /// The working copy's segment.
    fn local(&self, number: SegmentNumber) -> Result<Option<Vec<u8>>, FetchError> {
        let path = segment_path(&self.disk.job.join(WAL), number);
        match self.disk.local.read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(local("read", &path)(error)),
        }
    }

    /// Whether all that is needed is in it.
    fn reaches_back_to(&self, oldest_needed: Option<Sequence>) -> bool {
        let begins_with = self.segments.first_key_value().map(|(_, segment)| segment.begins_with);
        begins_with.zip(oldest_needed).is_some_and(|(first, needed)| first <= needed)
    }

    /// Puts the segments in their places, and everything else aside.
    fn finish(mut self, next: u64, oldest_needed: Option<Sequence>, clock: &dyn Clock) -> Result<Fetched, FetchError> {
        let staged = self.end_current(true)?;
        let (disk, wal) = (self.disk, self.disk.job.join(WAL));
        let names = disk.names(&wal)?;
        let numbers: Vec<SegmentNumber> = names.iter().filter_map(|name| segment_number(name)).collect();
        let is_strange = |number: &SegmentNumber| !self.segments.contains_key(number);
        if self.segments.values().any(|segment| segment.anew.is_some()) || numbers.iter().any(is_strange) {
            disk.forget_known()?;
        }
        let first = self.segments.first_key_value().map(|(number, _)| *number);
        let unneeded = first.filter(|_| self.reaches_back_to(oldest_needed));
        for number in numbers {
            let old = segment_path(&wal, number);
            match self.segments.get(&number) {
                Some(segment) if segment.anew != Some(true) => {}
                None if unneeded.is_some_and(|first| number < first) => disk.remove_file(&old)?,
                _ => disk.move_aside(&Path::new(WAL).join(old.file_name().unwrap_or_default()), clock)?,
            }
        }
        for number in self.segments.iter().filter(|(_, segment)| segment.anew.is_some()).map(|(number, _)| *number) {
            let (from, to) = (segment_path(&self.rebuilt, number), segment_path(&wal, number));
            disk.local.rename(Step::LiveBuild, &from, &to).map_err(local("move", &from))?;
        }
        disk.local.sync_directory(Step::LiveBuild, &wal).map_err(local("sync", &wal))?;
        disk.local.remove(Step::LiveBuild, &self.rebuilt).map_err(local("remove", &self.rebuilt))?;
        let ends = self.segments.iter().map(|(number, segment)| (*number, segment.end)).collect();
        Ok(Fetched { next, objects: self.objects, staged: staged.pieces, ends, last: self.last })
    }
}
