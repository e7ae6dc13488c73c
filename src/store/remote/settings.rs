//! How patient a bucket is, and how much it moves at once.

use std::sync::Arc;
use std::time::Duration;

use super::StopSignal;
use floodmark_base::clock::{Clock, SystemClock};

/// What a [`Bucket`](super::Bucket) is opened with.
#[derive(Clone, Debug)]
pub struct BucketSettings {
    /// Measures how long the store has been failing, and waits between tries.
    pub clock: Arc<dyn Clock>,
    /// A call that has been failing for so long is given up.
    pub give_up_after: Duration,
    /// The same for the probe at open: a job that cannot start should say so soon.
    pub open_within: Duration,
    /// A request without an answer for so long has failed; what it did is unknown.
    pub answer_within: Duration,
    /// Files that are moved at once, and parts of one file.
    pub parallel: usize,
    /// Files longer than this are uploaded in parts.
    pub in_parts_beyond: u64,
    /// The length of a part, up and down. Stores ask for 5 MiB at least, but for the last one.
    pub part_size: u64,
    /// Ends every call at once, whatever its patience.
    pub stop: StopSignal,
    /// Draws the jitter of the waits; none means a seed of its own.
    pub seed: Option<u64>,
}

impl Default for BucketSettings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            give_up_after: Duration::from_secs(5 * 60),
            open_within: Duration::from_secs(15),
            answer_within: Duration::from_secs(45),
            parallel: 4,
            in_parts_beyond: 16 << 20,
            part_size: 8 << 20,
            stop: StopSignal::default(),
            seed: None,
        }
    }
}
