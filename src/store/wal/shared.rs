//! What the handle and the writer's thread share: the segments, the room on disk, the counters.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::WalError;
use super::queue::Queue;
use super::segment::segment_path;
use super::settings::WalSettings;
use super::truncation::TruncationRight;
use floodmark_base::disk::{Disk, Step};
use floodmark_base::id::{LogId, SegmentNumber, Sequence};

/// The name of the file that is given up when the disk is full.
const RESERVE: &str = "reserve";

/// What the log has done in this life, and what it takes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStatistics {
    /// Bytes of frames written, headers included.
    pub bytes_written: u64,
    /// Groups written, each acknowledged as a whole.
    pub groups: u64,
    /// Syncs of segments; without trouble as many as groups.
    pub syncs: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes on disk, without the reserve.
    pub bytes_on_disk: u64,
}

/// A segment on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub number: SegmentNumber,
    pub first_sequence: Sequence,
    pub bytes: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub bytes_written: AtomicU64,
    pub groups: AtomicU64,
    pub syncs: AtomicU64,
}

pub(super) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub directory: PathBuf,
    pub log: LogId,
    pub settings: WalSettings,
    pub queue: Queue,
    /// From the oldest to the newest; never empty.
    segments: Mutex<Vec<Segment>>,
    /// Held by the one truncation under way, so that two never meet in one file and the writer never waits for one.
    truncation: Mutex<()>,
    /// The sum of the segments' bytes, to be asked without waiting for a truncation.
    bytes_on_disk: AtomicU64,
    /// Blocks are refused until a truncation has made room. Set and cleared by the log's thread alone, in the order of its work: what
    /// was queued while it was set is refused.
    disk_full: AtomicBool,
    /// Blocks are refused for good.
    blocks_ended: AtomicBool,
    pub counters: Counters,
}

impl Shared {
    pub fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        log: LogId,
        settings: WalSettings,
        segments: Vec<Segment>,
    ) -> Result<Self, WalError> {
        let shared = Self {
            disk,
            directory: directory.to_path_buf(),
            log,
            queue: Queue::new(settings.queue_bytes),
            settings,
            bytes_on_disk: AtomicU64::new(segments.iter().map(|segment| segment.bytes).sum()),
            segments: Mutex::new(segments),
            truncation: Mutex::new(()),
            disk_full: AtomicBool::new(false),
            blocks_ended: AtomicBool::new(false),
            counters: Counters::default(),
        };
        if !shared.make_reserve()? {
            tracing::warn!(directory = %directory.display(), "no room for the log's reserve: blocks are refused");
            shared.set_disk_full();
        }
        Ok(shared)
    }

    /// Whether blocks may be taken, when so many bytes wait before them and so many are theirs.
    pub fn admit_blocks(&self, waiting_bytes: u64, bytes: u64) -> Result<(), WalError> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let quota = self.settings.quota_bytes;
        let present = self.bytes_on_disk.load(Ordering::Acquire);
        if present.saturating_add(waiting_bytes).saturating_add(bytes) > quota {
            return Err(full(&format!("{present} bytes on disk and {waiting_bytes} waiting, of a quota of {quota}")));
        }
        Ok(())
    }

    /// Why blocks are refused, if they are.
    pub fn refusal(&self) -> Option<WalError> {
        if self.blocks_ended.load(Ordering::Acquire) {
            return Some(full("a block was refused, and none is taken behind it"));
        }
        self.disk_is_full().then(|| full("no space on the disk until a checkpoint has made room"))
    }

    pub fn set_disk_full(&self) {
        self.disk_full.store(true, Ordering::Release);
    }

    pub fn disk_is_full(&self) -> bool {
        self.disk_full.load(Ordering::Acquire)
    }

    /// No block is taken any more, and none that waits is written.
    pub fn end_blocks(&self) {
        self.blocks_ended.store(true, Ordering::Release);
    }

    /// Blocks are taken again, if the reserve can be made; says whether they are. For the log's thread, which alone gives the reserve
    /// up: so the two never meet.
    pub fn free_blocks(&self) -> Result<bool, WalError> {
        let has_room = !self.disk_is_full() || self.make_reserve()?;
        if has_room && self.disk_full.swap(false, Ordering::AcqRel) {
            tracing::info!("the log has room again: blocks are taken");
        }
        Ok(has_room)
    }

    /// The newest segment has grown.
    pub fn grown(&self, bytes: u64) {
        let mut segments = self.lock();
        segments.last_mut().expect("a log has a segment").bytes += bytes;
        self.bytes_on_disk.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A segment was created.
    pub fn rolled(&self, segment: Segment) {
        let mut segments = self.lock();
        self.bytes_on_disk.fetch_add(segment.bytes, Ordering::AcqRel);
        segments.push(segment);
    }

    /// Removes whole segments that hold no needed frame, the oldest first, so that a crash leaves no hole.
    pub fn truncate(&self, right: TruncationRight) -> Result<u64, WalError> {
        self.queue.poison.check()?;
        let _alone = self.truncation.lock().unwrap_or_else(PoisonError::into_inner);
        let mut freed = 0;
        while let Some(oldest) = self.superfluous(right) {
            let file = segment_path(&self.directory, oldest.number);
            match self.disk.remove(Step::WalTruncate, &file) {
                // An earlier try removed the name and failed to sync the directory: nothing needs it either way.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|error| WalError::io(&file, 0, error))?,
            }
            self.lock().remove(0);
            self.bytes_on_disk.fetch_sub(oldest.bytes, Ordering::AcqRel);
            freed += oldest.bytes;
        }
        Ok(freed)
    }

    /// The oldest segment, if it has a successor and every needed frame stands in or behind that.
    fn superfluous(&self, right: TruncationRight) -> Option<Segment> {
        match self.lock()[..] {
            [oldest, next, ..] if next.first_sequence <= right.oldest_needed() => Some(oldest),
            _ => None,
        }
    }

    /// Creates the reserve unless it is there; false when there is no room for it.
    fn make_reserve(&self) -> Result<bool, WalError> {
        if self.settings.reserve_bytes == 0 {
            return Ok(true);
        }
        let file = self.directory.join(RESERVE);
        // Made whole or not at all, so one that is there is as large as it was to be; an earlier life has left it.
        match self.disk.kind(&file) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(WalError::io(&file, 0, error)),
        }
        let zeros = vec![0; self.settings.reserve_bytes as usize];
        match self.disk.create_whole(Step::WalRoll, &file, &zeros) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(WalError::io(&file, 0, error)),
        }
    }

    pub fn statistics(&self) -> WalStatistics {
        WalStatistics {
            bytes_written: self.counters.bytes_written.load(Ordering::Relaxed),
            groups: self.counters.groups.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            segments: self.lock().len() as u64,
            bytes_on_disk: self.bytes_on_disk.load(Ordering::Acquire),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives up the reserve of the log in `directory`, if it is still there; false if it is not.
pub fn give_up_reserve(disk: &dyn Disk, directory: &Path) -> Result<bool, WalError> {
    let file = directory.join(RESERVE);
    match disk.remove(Step::WalTruncate, &file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(WalError::io(&file, 0, error)),
    }
}

/// Whether an error says that there is no space.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub(super) fn full(reason: &str) -> WalError {
    WalError::Full { reason: reason.into() }
}
