//! The log of the working copy, brought to what the objects of the log say: exactly that, byte for byte.
//!
//! What the working copy has beyond it was never acknowledged: a group that was not put, which is cut, or a segment that was not
//! put, which is moved aside, as is everything that differs. Segments that a truncation has deleted since go. What it lacks is written from the objects.
//!
//! The objects are read from the oldest that a manifest of then needed to the first number that is free. Deletions may have left
//! holes at their beginning; only what follows the last hole counts, and whether that reaches back far enough shows when the log is
//! scanned, as with any log. A segment is written anew under another name and moved over the old one when it is whole, so a crash
//! leaves segments that are as before or as they shall be.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::disk::RemoteDisk;
use super::envelope::{LogObject, LogRange, Piece, damaged};
use super::error::NO_SUCH_OBJECT;
use super::fetch::{FetchError, local, read_many};
use super::log::{LOG, number_in, object_name};
use crate::clock::Clock;
use crate::disk::{DiskFile, Step};
use crate::id::{SegmentNumber, Sequence};
use crate::recovery::facts::WAL;
use crate::wal::{first_sequence, segment_number, segment_path};

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
    ) -> Result<(), FetchError> {
        let range = range.unwrap_or(LogRange { first: 1, next: 1 });
        let listed = self.bucket.list(LOG)?;
        let hint = listed.iter().filter_map(|file| number_in(&file.name)).max().map_or(range.next, |newest| newest + 1);
        let (known, mut number) = (hint.max(range.next), range.first);
        let mut image = Image::new(self)?;
        loop {
            // What is known to be there at once; what may follow one by one.
            let until = if number < known { known.min(number + BATCH) } else { number + 1 };
            let names: Vec<String> = (number..until).map(object_name).collect();
            let mut ended = None;
            for (number, bytes) in (number..until).zip(read_many(&self.bucket, &names)?) {
                match bytes {
                    Some(bytes) => image.take(LogObject::from_bytes(&object_name(number), number, &bytes)?)?,
                    // Behind the newest manifest there are no holes: that is the end.
                    None if number >= range.next => {
                        ended = Some(number);
                        break;
                    }
                    None => image.begin_anew(),
                }
            }
            if let Some(next) = ended {
                if next < hint {
                    let expected = format!("an object of the log, as those up to {}", object_name(hint - 1));
                    return Err(damaged(&object_name(next), expected, NO_SUCH_OBJECT).into());
                }
                let objects = std::mem::take(&mut image.objects);
                image.finish(oldest_needed, clock)?;
                self.log.fetched(next, objects);
                return Ok(());
            }
            number = until;
        }
    }
}

/// The log as the objects read so far say it is.
struct Image<'d> {
    disk: &'d RemoteDisk,
    segments: BTreeMap<SegmentNumber, Segment>,
    objects: BTreeMap<u64, SegmentNumber>,
    rebuilt: PathBuf,
}

/// One segment of it.
struct Segment {
    len: u64,
    /// Where it differs from the working copy's, it is written anew.
    anew: Option<Box<dyn DiskFile>>,
    /// All that the working copy's holds is in it.
    extends: bool,
    /// Its first frame.
    begins_with: Option<Sequence>,
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
        Ok(Self { disk, segments: BTreeMap::new(), objects: BTreeMap::new(), rebuilt })
    }

    /// Nothing before a hole counts.
    fn begin_anew(&mut self) {
        self.segments.clear();
        self.objects.clear();
    }

    fn take(&mut self, object: LogObject) -> Result<(), FetchError> {
        for piece in &object.pieces {
            self.objects.insert(object.number, piece.segment);
            self.take_piece(object.number, piece)?;
        }
        Ok(())
    }

    fn take_piece(&mut self, number: u64, piece: &Piece) -> Result<(), FetchError> {
        if piece.offset == 0 {
            let begins_with = first_sequence(&piece.bytes, piece.segment);
            self.segments.insert(piece.segment, Segment { len: 0, anew: None, extends: false, begins_with });
        }
        // A segment whose beginning is gone: nothing of it is needed, or the scan finds it missing.
        let Some(segment) = self.segments.get_mut(&piece.segment) else { return Ok(()) };
        if segment.len != piece.offset {
            let expected = format!("bytes of segment {} from {} on", piece.segment, segment.len);
            return Err(damaged(&object_name(number), expected, format!("from {} on", piece.offset)).into());
        }
        let (disk, len) = (self.disk, piece.bytes.len());
        let old = segment_path(&disk.job.join(WAL), piece.segment);
        if segment.anew.is_none() {
            let is_there = disk.local.read_at(&old, piece.offset, len).is_ok_and(|bytes| piece.bytes == bytes);
            if is_there {
                segment.len += len as u64;
                return Ok(());
            }
            segment.extends = disk.local.len(&old).is_ok_and(|len| len == segment.len);
            segment.anew = Some(begin(disk, &self.rebuilt, piece.segment, &old, segment.len)?);
        }
        let path = segment_path(&self.rebuilt, piece.segment);
        let file = segment.anew.as_mut().expect("just begun");
        append(&mut **file, &piece.bytes).map_err(local("write", &path))?;
        segment.len += len as u64;
        Ok(())
    }

    /// Whether all that is needed is in it.
    fn reaches_back_to(&self, oldest_needed: Option<Sequence>) -> bool {
        let begins_with = self.segments.first_key_value().and_then(|(_, segment)| segment.begins_with);
        begins_with.zip(oldest_needed).is_some_and(|(first, needed)| first <= needed)
    }

    /// Puts the segments in their places, and everything else aside.
    fn finish(mut self, oldest_needed: Option<Sequence>, clock: &dyn Clock) -> Result<(), FetchError> {
        let (disk, wal) = (self.disk, self.disk.job.join(WAL));
        let first = self.segments.first_key_value().map(|(number, _)| *number);
        let unneeded = first.filter(|_| self.reaches_back_to(oldest_needed));
        for name in disk.names(&wal)? {
            let Some(number) = segment_number(&name) else { continue };
            let old = wal.join(&name);
            let len = disk.local.len(&old).map_err(local("look at", &old))?;
            match self.segments.get_mut(&number) {
                Some(segment) if segment.anew.is_none() && len > segment.len => {
                    let (kept, cut) = (segment.len, len - segment.len);
                    tracing::warn!(segment = %number, kept, cut, "cutting off what was not acknowledged");
                    segment.anew = Some(begin(disk, &self.rebuilt, number, &old, kept)?);
                }
                Some(segment) if segment.anew.is_none() || segment.extends => {}
                None if unneeded.is_some_and(|first| number < first) => disk.remove_file(&old)?,
                _ => disk.move_aside(&Path::new(WAL).join(&name), clock)?,
            }
        }
        for (number, segment) in &mut self.segments {
            let Some(file) = &mut segment.anew else { continue };
            let (from, to) = (segment_path(&self.rebuilt, *number), segment_path(&wal, *number));
            file.sync(Step::LiveBuild).map_err(local("sync", &from))?;
            disk.local.rename(Step::LiveBuild, &from, &to).map_err(local("move", &from))?;
        }
        disk.local.sync_directory(Step::LiveBuild, &wal).map_err(local("sync", &wal))?;
        disk.local.remove(Step::LiveBuild, &self.rebuilt).map_err(local("remove", &self.rebuilt))
    }
}

/// Begins a segment anew, with so many bytes of the old one.
fn begin(
    disk: &RemoteDisk,
    rebuilt: &Path,
    number: SegmentNumber,
    old: &Path,
    len: u64,
) -> Result<Box<dyn DiskFile>, FetchError> {
    let path = segment_path(rebuilt, number);
    disk.remove_file(&path)?;
    let mut file = disk.local.create(Step::LiveBuild, &path).map_err(local("create", &path))?;
    if len > 0 {
        let bytes = disk.local.read_at(old, 0, len as usize).map_err(local("read", old))?;
        append(&mut *file, &Bytes::from(bytes)).map_err(local("write", &path))?;
    }
    Ok(file)
}

fn append(file: &mut dyn DiskFile, bytes: &Bytes) -> std::io::Result<()> {
    file.append(Step::LiveBuild, &mut [IoSlice::new(bytes)])
}
