//! The pieces of files that one offer is made of.

use crate::source::compression::Compression;
use crate::source::file_name::FileName;
use crate::source::file_range::{FileRange, FileStamp};

/// The smallest piece of a file that is planned when the limits allow next to nothing.
const SMALLEST_PIECE_BYTES: u64 = 4 << 10;
/// Into what pieces files are divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces {
    /// Bytes that the batch may take.
    pub budget_bytes: u64,
    /// Bytes of a piece.
    pub task_bytes: u64,
    /// Pieces end at multiples of this, or with their file.
    pub grain_bytes: u64,
}

/// Ranges in the making.
pub(super) struct Offer {
    pub ranges: Vec<FileRange>,
    /// Bytes that the batch may still take.
    left: u64,
    pieces: Pieces,
}

impl Offer {
    pub fn new(pieces: Pieces) -> Self {
        Self { ranges: Vec::new(), left: pieces.budget_bytes, pieces }
    }

    pub fn has_room(&self) -> bool {
        self.left > 0 || self.ranges.is_empty()
    }

    /// Adds as much of a file as there is room for: of a compressed one all of it, or, behind others, nothing where it does not
    /// fit. Says whether it is in as a whole.
    pub fn add(&mut self, name: &FileName, stamp: FileStamp, from: u64) -> bool {
        if from == 0 && Compression::of_name(name.as_bytes()).is_some() {
            let fits = self.ranges.is_empty() || stamp.size <= self.left;
            if fits {
                self.push(name, stamp, 0, stamp.size);
            }
            return fits;
        }
        let mut start = from;
        while self.has_room() {
            let room = if self.ranges.is_empty() { self.left.max(SMALLEST_PIECE_BYTES) } else { self.left };
            let Pieces { task_bytes, grain_bytes, .. } = self.pieces;
            // Rounded down, but to one grain at least.
            let most = (task_bytes.min(room) / grain_bytes).max(1) * grain_bytes;
            let end = start + (stamp.size - start).min(most);
            self.push(name, stamp, start, end);
            start = end;
            if end == stamp.size {
                return true;
            }
        }
        false
    }

    fn push(&mut self, name: &FileName, stamp: FileStamp, start: u64, end: u64) {
        self.ranges.push(FileRange { name: name.clone(), stamp, start, end });
        // An empty file costs something, too.
        self.left = self.left.saturating_sub((end - start).max(1));
    }
}
