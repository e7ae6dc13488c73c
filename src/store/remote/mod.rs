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
mod image;
mod job;
mod known;
mod location;
mod log;
mod look;
mod manifests;
mod outline;
mod pins;
mod probe;
mod rebuild;
mod retry;
mod settings;
mod stop;
mod salvage;
mod upload;
mod write;

pub use disk::RemoteDisk;
pub use fetch::FetchError;
pub use fetch::FetchProgress;
pub use job::{GROUP_INTERVAL, RemoteJob, RemotePlace};
pub use log::Opened;
pub use log::{LOG, number_in};
pub use look::{JOURNAL, Look, ObjectDamage, PIN_MANIFEST, PINNED, words_of};
pub use write::PinError;

pub use bucket::{Bucket, Created, RemoteFile};
pub use download::Download;
pub use error::RemoteError;
pub use location::RemoteLocation;
pub use retry::ObjectStoreHealth;
pub use settings::BucketSettings;
pub use stop::StopSignal;
pub use upload::Upload;
