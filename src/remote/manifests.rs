//! What is in the bucket, as far as its manifests tell: read only, nothing is brought and nothing is judged.
//!
//! Lists are hints: which manifest is the newest is found by asking for the next one until there is none.
//!
//! What is wrong with an object is told to whoever asks: a start takes the first such thing for a refusal, whoever merely looks goes
//! on. Manifests below the boundary do not count; what is wrong with one of them is told as that.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::collect::{MILESTONE, stays};
use super::disk::manifest_name;
use super::envelope::{Envelope, damaged};
use super::error::NO_SUCH_OBJECT;
use super::fetch::read_many;
use super::log::number_in;
use super::{Bucket, RemoteError};
use crate::checkpoint::{MANIFESTS, Manifest};
use crate::id::ManifestSequence;

/// How far below the boundary manifests are read whose deletion a crash may have prevented.
const LEFT_BEHIND: u64 = 64;

/// A manifest of the bucket.
#[derive(Clone, Debug)]
pub(crate) struct StoredManifest {
    pub(super) envelope: Envelope,
    pub manifest: Manifest,
}

/// The manifests of a bucket.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Those that count, and are what they were.
    pub sound: BTreeMap<ManifestSequence, StoredManifest>,
    /// Those that are not, where whoever reads has gone on.
    pub damaged: BTreeMap<ManifestSequence, Bytes>,
    /// Those just below the boundary that wait for their deletion.
    pub left: Vec<ManifestSequence>,
    /// The newest of all names; 0 where there is none.
    pub newest: ManifestSequence,
}

/// What is wrong with an object, and whether it counts: an error ends the reading.
pub(super) type Tell<'t> = &'t mut dyn FnMut(RemoteError, bool) -> Result<(), RemoteError>;

impl Manifests {
    /// All manifests that count, and those just below them that wait for their deletion.
    pub(super) fn read(bucket: &Bucket, tell: Tell<'_>) -> Result<Self, RemoteError> {
        let listed = bucket.list(MANIFESTS)?;
        let listed: Vec<u64> = listed.iter().filter_map(|file| number_in(&file.name)).collect();
        let mut reading = Reading { bucket, found: BTreeMap::new(), damage: Vec::new() };
        let newest = reading.find_newest(listed.iter().max().copied().unwrap_or(0))?;
        let newest_sound = reading.found.values().rev().find_map(|(_, stored)| stored.as_ref());
        let boundary = newest_sound.map_or(0, |newest| newest.manifest.boundary.0);
        let from = if newest_sound.is_some() { boundary } else { listed.iter().min().copied().unwrap_or(newest.0) };
        let is_left = |number: &u64| *number < boundary && *number + LEFT_BEHIND >= boundary;
        let mut wanted: Vec<u64> = listed.into_iter().filter(is_left).chain(from..newest.0).collect();
        wanted.retain(|number| !reading.found.contains_key(&ManifestSequence(*number)));
        for (number, bytes) in wanted.iter().zip(reading.read(&wanted)?) {
            match bytes {
                Some(bytes) => reading.take(ManifestSequence(*number), bytes),
                None if *number >= from => {
                    let name = manifest_name(ManifestSequence(*number));
                    let missing = damaged(&name, "a manifest of the chain", NO_SUCH_OBJECT);
                    reading.damage.push((ManifestSequence(*number), missing));
                }
                None => {} // deleted meanwhile
            }
        }
        let Reading { found, damage, .. } = reading;
        for (number, error) in damage {
            tell(error, number.0 >= boundary)?;
        }
        Ok(Self::sorted(found, ManifestSequence(boundary), newest))
    }

    fn sorted(
        found: BTreeMap<ManifestSequence, (Bytes, Option<StoredManifest>)>,
        boundary: ManifestSequence,
        newest: ManifestSequence,
    ) -> Self {
        let epoch_of = |number: u64| Some(found.get(&ManifestSequence(number))?.1.as_ref()?.manifest.epoch);
        let below = found.range(..boundary).filter(|(_, (_, stored))| stored.is_some()).map(|(at, _)| *at);
        let left = below.filter(|at| !stays(*at, epoch_of(at.0.saturating_sub(1)), epoch_of(at.0))).collect();
        let mut manifests = Self { left, newest, ..Self::default() };
        for (number, (bytes, stored)) in found {
            match stored {
                _ if number < boundary => {}
                Some(stored) => drop(manifests.sound.insert(number, stored)),
                None => drop(manifests.damaged.insert(number, bytes)),
            }
        }
        manifests
    }

    /// The newest that is what it was.
    pub fn newest_sound(&self) -> Option<&StoredManifest> {
        self.sound.values().next_back()
    }
}

struct Reading<'b> {
    bucket: &'b Bucket,
    found: BTreeMap<ManifestSequence, (Bytes, Option<StoredManifest>)>,
    damage: Vec<(ManifestSequence, RemoteError)>,
}

impl Reading<'_> {
    /// The newest manifest, from any older one on, without believing a list: milestones are never deleted, so the newest is not behind
    /// one that is not there, and between two of them every name is asked for.
    fn find_newest(&mut self, from: u64) -> Result<ManifestSequence, RemoteError> {
        let mut newest = from;
        loop {
            let milestone = (newest / MILESTONE + 1) * MILESTONE;
            let numbers: Vec<u64> = (newest.max(1)..=milestone).collect();
            for (number, bytes) in numbers.iter().zip(self.read(&numbers)?) {
                let Some(bytes) = bytes else { continue };
                self.take(ManifestSequence(*number), bytes);
                newest = *number;
            }
            if newest < milestone {
                return Ok(self.found.keys().next_back().copied().unwrap_or_default());
            }
        }
    }

    fn take(&mut self, number: ManifestSequence, bytes: Bytes) {
        let stored = match StoredManifest::from_bytes(&manifest_name(number), number, &bytes) {
            Ok(stored) => Some(stored),
            Err(error) => {
                self.damage.push((number, error));
                None
            }
        };
        self.found.insert(number, (bytes, stored));
    }

    fn read(&self, numbers: &[u64]) -> Result<Vec<Option<Bytes>>, RemoteError> {
        let names: Vec<String> = numbers.iter().map(|number| manifest_name(ManifestSequence(*number))).collect();
        read_many(self.bucket, &names)
    }
}

impl StoredManifest {
    /// Reads the object `name`, which must hold the manifest of this number.
    pub(super) fn from_bytes(name: &str, number: ManifestSequence, bytes: &Bytes) -> Result<Self, RemoteError> {
        let stored = Self::of_any_number(name, bytes)?;
        let found = stored.manifest.sequence;
        if found != number {
            return Err(damaged(name, format!("manifest {number}"), format!("manifest {found}")));
        }
        Ok(stored)
    }

    /// The same, whichever number it has.
    pub(super) fn of_any_number(name: &str, bytes: &Bytes) -> Result<Self, RemoteError> {
        let envelope = Envelope::from_bytes(name, bytes)?;
        let manifest =
            Manifest::from_bytes(&envelope.manifest).map_err(|damage| damaged(name, "a manifest within it", damage))?;
        Ok(Self { envelope, manifest })
    }

    /// Who wrote it, for people.
    pub fn who(&self) -> &str {
        &self.envelope.writer.who
    }
}
