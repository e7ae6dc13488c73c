//! The test kit: drives a job batch by batch on a manual clock, reads what each batch put out, and kills and restarts it.
//!
//! ```
//! # fn main() -> floodmark::Result<()> {
//! use floodmark::testing::TestJob;
//!
//! let mut job = TestJob::new(|context| {
//!     let (words, stream) = context.queue_stream::<String>("words");
//!     let counts = stream.map(|word| (word, 1_u64)).update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
//!         Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
//!     });
//!     (words, counts.collect("all counts"))
//! })?;
//!
//! job.handles().0.push(vec!["a".into(), "b".into()])?;
//! job.run_batch()?;
//! job.crash_and_restart()?; // the process dies here; what follows is the next one
//! job.handles().0.push(vec!["a".into()])?;
//! job.run_batch()?;
//! assert_eq!(job.handles().1.last_sorted(), [("a".to_string(), 2), ("b".to_string(), 1)]);
//! # Ok(())
//! # }
//! ```

mod collected;
#[cfg(feature = "testing")]
pub mod decoders;
#[cfg(feature = "testing")]
mod inspect;
mod job;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
#[cfg(feature = "testing")]
pub mod shapes;

#[cfg(test)]
mod tests;

pub use collected::Collected;
#[cfg(feature = "testing")]
pub use inspect::{Inspection, inspect, inspect_on, roll_back};
pub use job::TestJob;

#[cfg(feature = "testing")]
pub use self::conformance::sink::{SinkPlace, check_sink};
#[cfg(feature = "testing")]
pub use self::conformance::source::direct::{DirectPlace, Spoil, check_direct_source};
#[cfg(feature = "testing")]
pub use self::conformance::source::receiver::{Promise, ReceiverPlace, check_receiver};
#[cfg(feature = "testing")]
pub use self::conformance::source::receivers;
#[cfg(feature = "testing")]
pub use floodmark_base::planted::PlantedBug;
#[cfg(feature = "testing")]
pub use floodmark_store::checkpoint::CheckpointTrial;

/// The disk that fails on command, and the door that it stands in.
#[cfg(feature = "testing")]
pub mod disk {
    pub use floodmark_base::disk::*;
}

/// The log, for measuring it alone and for writing frames by hand; and the number of a manifest.
#[cfg(feature = "testing")]
pub mod wal {
    pub use floodmark_base::id::{LogId, ManifestSequence, SegmentNumber, Sequence};
    pub use floodmark_store::wal::*;
}

/// The object store behind the door to the disk: its protocol and its probe, for tests of them alone.
#[cfg(feature = "testing")]
pub mod remote {
    pub use floodmark_store::remote::*;
}
