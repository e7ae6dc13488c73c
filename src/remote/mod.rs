//! Object storage: where manifests, checkpoint files and the log are kept when the machine may be lost.
//!
//! - [`RemoteLocation`]: what `s3://bucket/job` names, and how one connects to it.
//! - [`Bucket`]: what is asked of an object store, each call retried and each ambiguity resolved.
//! - [`RemoteDisk`]: the door to the disk, by which a job keeps what counts in a bucket; see decision 0016.
//! - [`RemoteError`]: what can be wrong with it, in words.
//!
//! What is assumed of a store: a put is whole or not there; of several creates of one name one wins; what was answered is read at
//! once; a list may be behind. [`Bucket::open`] probes what can be probed of it and refuses a store that lacks it.

mod bucket;
mod collect;
mod disk;
mod download;
mod envelope;
mod error;
mod fetch;
mod job;
mod location;
mod log;
mod manifests;
mod probe;
mod rebuild;
mod retry;
mod settings;
mod upload;

pub(crate) use disk::RemoteDisk;
pub(crate) use job::{GROUP_INTERVAL, RemoteJob, RemotePlace};
pub(crate) use log::Opened;

pub use bucket::{Bucket, Created, RemoteFile};
pub use download::Download;
pub use error::RemoteError;
pub use location::RemoteLocation;
pub use retry::Health;
pub use settings::BucketSettings;
pub use upload::Upload;
