//! A job's place in object storage, as its builder gives it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;

use super::{Bucket, BucketSettings, RemoteDisk, RemoteError, RemoteLocation, StopSignal};
use floodmark_base::clock::Clock;
use floodmark_base::disk::Disk;

/// How long blocks wait for others before they are put together, unless the builder says otherwise.
pub const GROUP_INTERVAL: Duration = Duration::from_millis(200);

/// Where a job keeps what counts.
#[derive(Clone)]
pub enum RemotePlace {
    Location(RemoteLocation),
    /// A store that a test has made, and the prefix in it.
    Store(Arc<dyn ObjectStore>, String),
}

/// The settings of a job in object storage.
#[derive(Clone, Debug)]
pub struct RemoteJob {
    pub place: RemotePlace,
    /// What receivers take in is put, too. Otherwise it stays in the local log, and only plans, commits and other events are put.
    pub log_blocks: bool,
    /// A call that has been failing for so long ends the job.
    pub give_up_after: Duration,
    /// Measures that; the store has a time of its own, whatever drives the job's batches.
    pub clock: Arc<dyn Clock>,
    /// Ends every wait for the store when the job is stopped hard.
    pub stop: StopSignal,
}

impl RemoteJob {
    /// Connects, probes the store, and stands before the disk.
    ///
    /// # Errors
    /// As [`Bucket::open`].
    pub fn open(&self, local: Arc<dyn Disk>, working_copy: &Path) -> Result<RemoteDisk, RemoteError> {
        let (clock, stop) = (self.clock.clone(), self.stop.clone());
        let settings = BucketSettings { clock, give_up_after: self.give_up_after, stop, ..BucketSettings::default() };
        let bucket = match &self.place {
            RemotePlace::Location(location) => Bucket::open(location, settings)?,
            RemotePlace::Store(store, prefix) => Bucket::on(store.clone(), prefix, settings),
        };
        Ok(RemoteDisk::new(local, bucket, working_copy, self.log_blocks))
    }
}

impl fmt::Debug for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Location(location) => fmt::Display::fmt(location, f),
            Self::Store(store, prefix) => write!(f, "{store}, {prefix}"),
        }
    }
}
