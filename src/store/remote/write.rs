//! What verbs do to a job in a bucket.
//!
//! | step | a crash before or in it leaves | after it |
//! |---|---|---|
//! | a pin is created (`pins/<directory>`) | nothing | a pin; see [`pins`](super::pins) for what it may lack |
//! | a pin is deleted | the pin | the files, which the sweep of the next life deletes if nobody else names them |
//! | an object that nobody needs is deleted, behind a copy of it | the object, and perhaps a copy | the copy |
//! | a line of the record is created (`operations/<time>-<verb>-<stage>`) | nothing, or the line | the line |

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;

use super::collect::{epoch_of, object_of};
use super::disk::{FILES, RemoteDisk, manifest_name};
use super::envelope::LogObject;
use super::fetch::FetchError;
use super::log::{LOG, number_in};
use super::look::Look;
use super::manifests::Manifests;
use super::pins::{pin_name, read_pin};
use super::{Created, RemoteError, RemoteFile, probe};
use crate::checkpoint::Manifest;

/// Where the record of what verbs did is.
pub(super) const OPERATIONS: &str = "operations";

/// Why a checkpoint is not pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the checkpoint {directory} was collected meanwhile: nothing was pinned")]
    Collected { directory: String },
}

impl From<RemoteError> for PinError {
    fn from(error: RemoteError) -> Self {
        Self::Fetch(error.into())
    }
}

/// An object that nobody needs.
#[derive(Clone, Debug)]
pub struct Unneeded {
    pub name: String,
    pub kind: &'static str,
    pub bytes: u64,
}

impl RemoteDisk {
    /// Pins the checkpoint that this manifest of the chain names.
    ///
    /// # Errors
    /// When the store fails, or the checkpoint is no longer retained.
    pub fn pin(&self, manifest: &Manifest) -> Result<(), PinError> {
        let Some(files) = &manifest.checkpoint else { return Ok(()) };
        let collected = || PinError::Collected { directory: files.directory.clone() };
        let envelope = self.bucket.read(&manifest_name(manifest.sequence))?.ok_or_else(collected)?;
        let name = pin_name(&files.directory);
        // Another envelope of the same checkpoint holds the same objects.
        if let Created::Theirs(_) = self.bucket.create(&name, envelope)?
            && let Some(Err(damage)) = read_pin(&self.bucket, &files.directory)?
        {
            return Err(damage.into());
        }
        let now = Manifests::read(&self.bucket)?;
        let names_it = |named: &Manifest| named.checkpoint.as_ref().is_some_and(|it| it.directory == files.directory);
        if now.sound.values().any(|(_, manifest)| names_it(manifest)) {
            return Ok(());
        }
        self.bucket.delete_all(&[name])?;
        Err(collected())
    }

    /// The bytes of a pin's object.
    pub fn pin_bytes(&self, directory: &str) -> Result<Option<Bytes>, RemoteError> {
        self.bucket.read(&pin_name(directory))
    }

    /// Gives a pin up.
    pub fn unpin(&self, directory: &str) -> Result<(), RemoteError> {
        self.bucket.delete_all(&[pin_name(directory)])
    }

    /// Lets the next manifest name the checkpoint of a pin; its objects are there.
    ///
    /// # Errors
    /// When the pin cannot be read.
    pub fn bring_back(&self, directory: &str) -> Result<(), RemoteError> {
        let missing = || super::envelope::damaged(&pin_name(directory), "a pin", super::error::NO_SUCH_OBJECT);
        let pin = read_pin(&self.bucket, directory)?.ok_or_else(missing)??;
        self.kept().checkpoints.insert(directory.to_string(), pin.envelope.files);
        Ok(())
    }

    /// Writes a line of the record. The same line may be written again.
    pub fn record(&self, stage: &str, verb: &str, time_ms: u64, line: &str) -> Result<(), RemoteError> {
        let name = format!("{OPERATIONS}/{time_ms:020}-{verb}-{stage}");
        self.bucket.create(&name, Bytes::from(line.to_string())).map(drop)
    }

    /// The bytes of any object.
    pub fn read_object(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        self.bucket.read(name)
    }

    /// Deletes an object that nobody needs.
    pub fn delete_object(&self, name: &str) -> Result<(), RemoteError> {
        self.bucket.delete_all(&[name.to_string()])
    }

    /// What nobody needs. Of files only those of epochs before the newest manifest's: the driver of that one may be about to name
    /// its own. Where something is damaged that might need anything, nothing counts as unneeded.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unneeded(&self, look: &Look) -> Result<Vec<Unneeded>, RemoteError> {
        let Some(newest) = look.manifests.newest_sound() else { return Ok(Vec::new()) };
        if !look.damage.is_empty() {
            return Ok(Vec::new());
        }
        let pins = look.pins.values().filter_map(|pin| pin.as_ref().ok());
        let envelopes = look.manifests.sound.values().map(|(envelope, _)| envelope);
        let named = envelopes.chain(pins.map(|pin| &pin.envelope)).flat_map(|envelope| &envelope.files);
        let named: HashSet<&str> = named.filter_map(object_of).collect();
        let left: BTreeSet<String> = look.manifests.left.iter().map(|number| manifest_name(*number)).collect();
        let left_by_probes = look.newest_write_ms().saturating_sub(probe::LEFT_AFTER_MS);
        let mut unneeded = Vec::new();
        for file in &look.objects {
            let kind = if left.contains(&file.name) {
                "superseded manifest"
            } else if file.name.starts_with(FILES) {
                let is_old = epoch_of(&file.name).is_some_and(|epoch| epoch < newest.epoch);
                if !is_old || named.contains(&*file.name) {
                    continue;
                }
                "unnamed upload"
            } else if file.name.starts_with(probe::DIRECTORY) && file.modified_ms < left_by_probes {
                "leftover of a probe"
            } else if file.name.starts_with(LOG) && self.holds_frames_that_nobody_reads(file, look)? {
                "log, not needed any more"
            } else {
                continue;
            };
            unneeded.push(Unneeded { name: file.name.clone(), kind, bytes: file.size });
        }
        Ok(unneeded)
    }

    /// Whether it is an object of the log that no start reads, and not one that stays for ever.
    fn holds_frames_that_nobody_reads(&self, file: &RemoteFile, look: &Look) -> Result<bool, RemoteError> {
        let Some(number) = number_in(&file.name).filter(|number| *number < look.log_range().0) else {
            return Ok(false);
        };
        let Some(bytes) = self.bucket.read(&file.name)? else { return Ok(false) };
        Ok(LogObject::from_bytes(&file.name, number, &bytes).is_ok_and(|object| !object.pieces.is_empty()))
    }
}
