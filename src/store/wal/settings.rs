//! The sizes of the log.

use std::time::Duration;

use floodmark_base::planted::Planted;

/// How large the parts of the log may become. All in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalSettings {
    /// A segment that has reached this length is followed by a new one.
    pub segment_bytes: u64,
    /// What is written before one sync, at most; a single append may be larger.
    pub group_bytes: u64,
    /// The time between two groups of blocks alone; events, and a full group, take them along at once. Without one nothing waits.
    pub group_interval: Option<Duration>,
    /// What may wait to be written; beyond it [`append`](super::Wal::append) blocks. A single append may be larger.
    pub queue_bytes: u64,
    /// What the log may take on disk before blocks are refused; events pass, so that batches can end and free it.
    pub quota_bytes: u64,
    /// A file that is given up when the disk is full, so that a checkpoint can still make room; 0 for none.
    pub reserve_bytes: u64,
    /// All of the work, unless its cost is measured: `switched_off`, `without_sync`.
    pub effort: Effort,
    /// The bug in the job, if a test has planted one.
    pub planted: Planted,
}

/// How much of the work is done; less than all of it only to measure what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The only one that keeps a promise.
    WriteAndSync,
    /// Written but never synced.
    Write,
    /// Not even written.
    Nothing,
}

impl Default for WalSettings {
    /// Segments of 64 MiB, groups of 4 MiB, a queue of 32 MiB, a quota of 16 GiB, a reserve of 4 MiB.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            group_bytes: 4 << 20,
            group_interval: None,
            queue_bytes: 32 << 20,
            quota_bytes: 16 << 30,
            reserve_bytes: 4 << 20,
            effort: Effort::WriteAndSync,
            planted: Planted::default(),
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl WalSettings {
    /// Nothing is written, everything is acknowledged at once: what a job costs without its log.
    pub fn switched_off() -> Self {
        Self { reserve_bytes: 0, effort: Effort::Nothing, ..Self::default() }
    }

    /// Written but never synced: what the syncs cost.
    pub fn without_sync() -> Self {
        Self { effort: Effort::Write, ..Self::default() }
    }
}
