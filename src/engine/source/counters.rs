//! What a receiver has done, for whoever operates the job.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use floodmark_store::block::Offered;

/// What one source has done since the job started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    blocks: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    /// Records that had come before, as their positions told, and were dropped.
    repeated: AtomicU64,
    errors: AtomicU64,
    restarts: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// The source has ended, and stored nothing since.
    at_end: AtomicBool,
}

impl Counters {
    /// Counts a block that was handed in.
    pub fn count(&self, records: u64, bytes: u64, offered: Offered) {
        self.at_end.store(false, Ordering::Release);
        match offered {
            Offered::New => {
                self.blocks.fetch_add(1, Ordering::Relaxed);
                self.records.fetch_add(records, Ordering::Relaxed);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Offered::Repeated => {
                self.repeated.fetch_add(records, Ordering::Relaxed);
            }
            Offered::Refused => {}
        }
    }

    pub fn count_error(&self, message: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    pub fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn set_at_end(&self) {
        self.at_end.store(true, Ordering::Release);
    }

    pub fn is_at_end(&self) -> bool {
        self.at_end.load(Ordering::Acquire)
    }

    pub fn counts(&self) -> SourceCounts {
        SourceCounts {
            blocks: self.blocks.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            repeated: self.repeated.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What a receiver has done since the job started.
///
/// ```
/// assert_eq!(floodmark::SourceCounts::default().errors, 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Blocks that were given to the log.
    pub blocks: u64,
    /// Their records.
    pub records: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Records that had come before, as their positions told, and were dropped.
    pub repeated: u64,
    /// Errors that were reported.
    pub errors: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// The newest error.
    pub last_error: Option<String>,
}
