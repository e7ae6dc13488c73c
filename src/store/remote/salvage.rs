//! What is left of a log whose objects are damaged, for those who look: a start refuses it.
//!
//! Segments are written from all objects that can be read. What the others held reads as zeros, so that whoever reads the log finds
//! the damage at its place and everything behind it.

use std::collections::BTreeMap;
use std::io::IoSlice;

use super::RemoteError;
use super::disk::RemoteDisk;
use super::envelope::{LogObject, LogRange, Piece, damaged};
use super::error::NO_SUCH_OBJECT;
use super::fetch::{FetchError, local, read_many};
use super::log::{LOG, listed_numbers, object_name};
use crate::recovery::facts::WAL;
use crate::wal::segment_path;
use floodmark_base::disk::{DiskFile, Step};
use floodmark_base::id::SegmentNumber;

/// Objects that are read at once.
const BATCH: usize = 32;
/// Zeros that are written at once.
const ZEROS: [u8; 4096] = [0; 4096];

/// A segment that is being written.
struct Segment {
    file: Box<dyn DiskFile>,
    len: u64,
}

impl RemoteDisk {
    /// Writes the segments anew from what can be read, and says what cannot.
    pub(super) fn salvage_log(&self, range: Option<LogRange>, found: &mut Vec<RemoteError>) -> Result<(), FetchError> {
        let wal = self.job.join(WAL);
        self.begin_anew()?;
        let listed = listed_numbers(&self.bucket, LOG)?;
        let (Some(oldest), Some(newest)) = (listed.iter().min().copied(), listed.iter().max().copied()) else {
            return Ok(());
        };
        let range = range.unwrap_or(LogRange { first: oldest, next: oldest });
        let numbers: Vec<u64> = (range.first..=newest.max(range.next.saturating_sub(1))).collect();
        let mut segments: BTreeMap<SegmentNumber, Segment> = BTreeMap::new();
        for numbers in numbers.chunks(BATCH) {
            let names: Vec<String> = numbers.iter().map(|number| object_name(*number)).collect();
            for (number, bytes) in numbers.iter().zip(read_many(&self.bucket, &names)?) {
                let name = object_name(*number);
                let object = bytes.map(|bytes| LogObject::from_bytes(&name, *number, &bytes));
                match object {
                    Some(Ok(object)) => {
                        for piece in &object.pieces {
                            self.take_piece(&mut segments, piece)?;
                        }
                    }
                    Some(Err(error)) => found.push(error),
                    // A truncation may have deleted it; what was before it is not needed.
                    None if *number < range.next && found.is_empty() => {
                        segments.clear();
                        self.begin_anew()?;
                    }
                    None => {
                        let expected = format!("an object of the log, as those up to {}", object_name(newest));
                        found.push(damaged(&name, expected, NO_SUCH_OBJECT));
                    }
                }
            }
        }
        self.local.sync_directory(Step::LiveBuild, &wal).map_err(local("sync", &wal))
    }

    fn begin_anew(&self) -> Result<(), FetchError> {
        let wal = self.job.join(WAL);
        if !self.absent(&wal)? {
            self.local.remove(Step::LiveBuild, &wal).map_err(local("remove", &wal))?;
        }
        self.local.create_dir_all(Step::DirectoryCreate, &wal).map_err(local("create", &wal))
    }

    fn take_piece(&self, segments: &mut BTreeMap<SegmentNumber, Segment>, piece: &Piece) -> Result<(), FetchError> {
        let path = segment_path(&self.job.join(WAL), piece.segment);
        if piece.offset == 0 || !segments.contains_key(&piece.segment) {
            self.remove_file(&path)?;
            let file = self.local.create(Step::LiveBuild, &path).map_err(local("create", &path))?;
            segments.insert(piece.segment, Segment { file, len: 0 });
        }
        let Some(segment) = segments.get_mut(&piece.segment) else { return Ok(()) };
        if piece.offset < segment.len {
            return Ok(()); // begun anew without its beginning: what is there stands
        }
        let append = |file: &mut dyn DiskFile, bytes: &[u8]| {
            file.append(Step::LiveBuild, &mut [IoSlice::new(bytes)]).map_err(local("write", &path))
        };
        while segment.len < piece.offset {
            let zeros = (piece.offset - segment.len).min(ZEROS.len() as u64);
            append(&mut *segment.file, &ZEROS[..zeros as usize])?;
            segment.len += zeros;
        }
        append(&mut *segment.file, &piece.bytes)?;
        segment.len += piece.bytes.len() as u64;
        Ok(())
    }
}
