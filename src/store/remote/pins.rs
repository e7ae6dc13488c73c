//! Pins in the bucket: `pins/<directory>`, the envelope of the manifest that names the checkpoint. So a pin tells by itself which
//! objects it holds, and a machine that has nothing finds its checkpoint through it.
//!
//! # A pin and a collection at the same time
//! Whoever pins creates the pin first, and looks then whether the chain still has the checkpoint. If it has, every manifest that could
//! make the checkpoint unneeded comes later, and a collection behind that manifest asks for this pin by its name before it deletes:
//! it is found. If the chain has it no longer, a collection may be under way that has asked before; the pin is deleted again, and
//! nothing was pinned. A crash between the two leaves a pin of a checkpoint that may be gone: `verify` names it, `unpin`
//! deletes it, and all that it can do is to keep objects.
//!
//! Which objects a collection spares for the sake of *other* pins comes from a list, which may be behind: by as much as lies between
//! the making of a pin and the checkpoint two checkpoints later. A pin that cannot be read may hold anything: then nothing is deleted.

use std::collections::BTreeMap;

use super::disk::RemoteDisk;
use super::envelope::{Envelope, StoredFile, damaged};
use super::{Bucket, RemoteError};

/// Where pins are.
pub(super) const PINS: &str = "pins";

/// A pin.
#[derive(Debug)]
pub struct StoredPin {
    pub(super) envelope: Envelope,
}

/// The pins that a bucket holds, by the directory of their checkpoint.
pub type StoredPins = BTreeMap<String, Result<StoredPin, RemoteError>>;

/// The name of a checkpoint's pin.
pub(super) fn pin_name(directory: &str) -> String {
    format!("{PINS}/{directory}")
}

/// Reads a pin; nothing where there is none.
pub(super) fn read_pin(
    bucket: &Bucket,
    directory: &str,
) -> Result<Option<Result<StoredPin, RemoteError>>, RemoteError> {
    let name = pin_name(directory);
    Ok(bucket.read(&name)?.map(|bytes| {
        let (envelope, manifest) = Envelope::with_manifest(&name, &bytes)?;
        match &manifest.checkpoint {
            Some(files) if files.directory == directory => Ok(StoredPin { envelope }),
            _ => Err(damaged(&name, "a manifest that names this checkpoint", "another one")),
        }
    }))
}

/// Reads all pins; those that are known already are not read again, since a pin never changes.
pub(super) fn read_pins(bucket: &Bucket, mut known: StoredPins) -> Result<StoredPins, RemoteError> {
    let mut pins = StoredPins::new();
    for file in bucket.list(PINS)? {
        let Some(directory) = file.name.strip_prefix(PINS).and_then(|name| name.strip_prefix('/')) else { continue };
        let read = match known.remove(directory) {
            Some(Ok(known)) => Some(Ok(known)),
            _ => read_pin(bucket, directory)?,
        };
        if let Some(read) = read {
            pins.insert(directory.to_string(), read);
        }
    }
    Ok(pins)
}

impl RemoteDisk {
    /// What pins hold, as a collection has to know it; nothing where a pin cannot be read, which may hold anything.
    /// `asked` is the checkpoint that is about to go: its pin is asked for by name.
    pub(super) fn pinned_files(&self, asked: Option<&str>) -> Result<Option<Vec<StoredFile>>, RemoteError> {
        let known = std::mem::take(&mut self.kept().pins);
        let mut pins = read_pins(&self.bucket, known)?;
        if let Some(asked) = asked.filter(|asked| !pins.contains_key(*asked))
            && let Some(pin) = read_pin(&self.bucket, asked)?
        {
            pins.insert(asked.to_string(), pin);
        }
        let unreadable = pins.iter().find_map(|(directory, pin)| Some((directory, pin.as_ref().err()?.to_string())));
        let held = match unreadable {
            Some((directory, error)) => {
                tracing::warn!(directory, error, "a pin cannot be read, so nothing is deleted");
                None
            }
            None => {
                let sound = pins.values().filter_map(|pin| pin.as_ref().ok());
                Some(sound.flat_map(|pin| pin.envelope.files.clone()).collect())
            }
        };
        self.kept().pins = pins;
        Ok(held)
    }
}
