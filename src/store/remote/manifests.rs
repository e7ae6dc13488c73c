//! The manifests of a job, as the bucket holds them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::collect::{MILESTONE, stays};
use super::disk::manifest_name;
use super::envelope::{Envelope, LogRange, damaged};
use super::error::NO_SUCH_OBJECT;
use super::fetch::read_many;
use super::log::listed_numbers;
use super::{Bucket, RemoteError};
use crate::checkpoint::{MANIFESTS, Manifest, oldest_needed};
use floodmark_base::id::{ManifestSequence, Sequence};
use floodmark_base::pursuit::Pursuit;

/// How far below the boundary manifests are read whose deletion a crash may have prevented.
const LEFT_BEHIND: u64 = 64;
/// Manifests that are read at once, behind one that is damaged.
const BACKWARD: u64 = 8;

/// The manifests from the boundary on.
#[derive(Debug, Default)]
pub struct Manifests {
    pub(super) sound: BTreeMap<ManifestSequence, (Envelope, Manifest)>,
    pub damaged: BTreeMap<ManifestSequence, DamagedManifest>,
    /// Those just below that wait for their deletion.
    pub left: Vec<ManifestSequence>,
}

/// An object that is there and cannot be read.
#[derive(Debug)]
pub struct DamagedManifest {
    pub bytes: Bytes,
    pub why: String,
}

impl Manifests {
    /// Reads all that count. What is missing while a driver publishes, and deletes what it needs no more, is read again.
    pub fn read(bucket: &Bucket) -> Result<Self, RemoteError> {
        let mut listed = listed_numbers(bucket, MANIFESTS)?;
        let mut pursuit = Pursuit::default();
        loop {
            let before = listed.iter().max().copied();
            let read = Self::read_listed(bucket, listed);
            let Err(RemoteError::Damaged { .. }) = &read else { return read };
            listed = listed_numbers(bucket, MANIFESTS)?;
            if !pursuit.goes_on(listed.iter().max().copied() != before) {
                return read;
            }
        }
    }

    fn read_listed(bucket: &Bucket, listed: Vec<u64>) -> Result<Self, RemoteError> {
        let mut manifests = Self::default();
        manifests.find_newest(bucket, listed.iter().max().copied().unwrap_or(0))?;
        let Some(newest) = manifests.newest() else { return Ok(manifests) };
        manifests.go_back_to_a_sound_one(bucket, newest)?;
        let stated = manifests.sound.values().map(|(_, manifest)| manifest.boundary.0).max();
        let Some(boundary) = stated else { return Err(manifests.all_damaged(newest)) };
        let is_left = |number: &u64| *number < boundary && *number + LEFT_BEHIND >= boundary;
        let mut wanted: Vec<u64> = listed.into_iter().filter(is_left).chain(boundary..newest.0).collect();
        wanted.retain(|number| !manifests.has(ManifestSequence(*number)));
        for (number, bytes) in read_numbers(bucket, &wanted)? {
            match bytes {
                Some(bytes) => manifests.take(number, bytes)?,
                None if number.0 >= boundary => manifests.hole(number, newest)?,
                None => {} // deleted meanwhile
            }
        }
        manifests.end_at(ManifestSequence(boundary));
        Ok(manifests)
    }

    /// All that is there, whether or not it makes a chain, and what lies below its boundary: for those who look at a bucket that a start refuses.
    pub(super) fn read_whatever_is_there(bucket: &Bucket) -> Result<Self, RemoteError> {
        let listed = listed_numbers(bucket, MANIFESTS)?;
        let mut manifests = Self::default();
        for (number, bytes) in read_numbers(bucket, &listed)? {
            if let Some(bytes) = bytes {
                manifests.take(number, bytes)?;
            }
        }
        let boundary = manifests.sound.values().map(|(_, manifest)| manifest.boundary).max().unwrap_or_default();
        manifests.end_at(boundary);
        Ok(manifests)
    }

    /// The newest that is what it was.
    pub fn newest_sound(&self) -> Option<&Manifest> {
        self.sound.values().next_back().map(|(_, manifest)| manifest)
    }

    /// Which objects of the log a start reads, as the newest says that is what it was.
    pub(super) fn log_range(&self) -> Option<LogRange> {
        self.sound.values().next_back().map(|(envelope, _)| envelope.log)
    }

    /// The oldest frame of the log that one of them needs.
    pub(super) fn oldest_needed(&self) -> Option<Sequence> {
        oldest_needed(self.sound.values().map(|(_, manifest)| manifest))
    }

    /// The bytes of each, as a working copy has them; of one that is damaged those that are there.
    pub(super) fn bytes(&self) -> impl Iterator<Item = (ManifestSequence, &Bytes)> {
        let sound = self.sound.iter().map(|(sequence, (envelope, _))| (*sequence, &envelope.manifest));
        sound.chain(self.damaged.iter().map(|(sequence, damaged)| (*sequence, &damaged.bytes)))
    }

    /// The oldest that counts.
    pub fn oldest(&self) -> Option<ManifestSequence> {
        self.sound.keys().next().into_iter().chain(self.damaged.keys().next()).min().copied()
    }

    /// Who wrote it, for people.
    pub fn newest_writer(&self) -> Option<&str> {
        self.sound.values().next_back().map(|(envelope, _)| &*envelope.writer.who)
    }

    /// The newest one, sound or not.
    pub fn newest(&self) -> Option<ManifestSequence> {
        self.sound.keys().next_back().max(self.damaged.keys().next_back()).copied()
    }

    fn has(&self, sequence: ManifestSequence) -> bool {
        self.sound.contains_key(&sequence) || self.damaged.contains_key(&sequence)
    }

    /// Takes an object in; one of another version is an error.
    fn take(&mut self, sequence: ManifestSequence, bytes: Bytes) -> Result<(), RemoteError> {
        match sound(sequence, &bytes) {
            Ok(sound) => drop(self.sound.insert(sequence, sound)),
            Err(error @ RemoteError::Damaged { .. }) => {
                let why = error.to_string();
                tracing::error!(%why, "a manifest in object storage cannot be read");
                self.damaged.insert(sequence, DamagedManifest { bytes, why });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Finds the newest manifest, from any older one on, without believing a list: milestones are never deleted, so the newest is not
    /// behind one that is not there, and between two of them every name is asked for.
    fn find_newest(&mut self, bucket: &Bucket, from: u64) -> Result<(), RemoteError> {
        let mut newest = from;
        loop {
            let milestone = (newest / MILESTONE + 1) * MILESTONE;
            let numbers: Vec<u64> = (newest.max(1)..=milestone).collect();
            for (number, bytes) in read_numbers(bucket, &numbers)? {
                let Some(bytes) = bytes else { continue };
                self.take(number, bytes)?;
                newest = number.0;
            }
            if newest < milestone {
                return Ok(());
            }
        }
    }

    /// Reads older ones until one says where the chain begins.
    fn go_back_to_a_sound_one(&mut self, bucket: &Bucket, newest: ManifestSequence) -> Result<(), RemoteError> {
        let mut number = newest.0;
        while self.sound.is_empty() && number > 1 {
            let numbers: Vec<u64> = (number.saturating_sub(BACKWARD).max(1)..number).collect();
            let mut is_whole = true;
            for (number, bytes) in read_numbers(bucket, &numbers)?.into_iter().rev() {
                match bytes {
                    Some(bytes) if is_whole => self.take(number, bytes)?,
                    _ => is_whole = false,
                }
            }
            if !is_whole {
                return Ok(());
            }
            number = numbers[0];
        }
        Ok(())
    }

    /// A manifest that is not there. Where the newest one cannot be read, it may have stated a higher boundary, and what is older than
    /// the hole was deleted behind it.
    fn hole(&mut self, at: ManifestSequence, newest: ManifestSequence) -> Result<(), RemoteError> {
        let is_sound = self.sound.contains_key(&newest);
        let newer = self.sound.keys().any(|sequence| *sequence > at);
        if is_sound || !newer {
            return Err(damaged(&manifest_name(at), "a manifest of the chain", NO_SUCH_OBJECT));
        }
        self.sound.retain(|sequence, _| *sequence > at);
        self.damaged.retain(|sequence, _| *sequence > at);
        Ok(())
    }

    /// Keeps those from the boundary on, and of those below the names of what is to be deleted.
    fn end_at(&mut self, boundary: ManifestSequence) {
        let epoch_of = |number: u64| self.sound.get(&ManifestSequence(number)).map(|(_, manifest)| manifest.epoch);
        let below = self.sound.keys().filter(|at| **at < boundary);
        self.left =
            below.filter(|at| !stays(**at, epoch_of(at.0.saturating_sub(1)), epoch_of(at.0))).copied().collect();
        self.sound.retain(|at, _| *at >= boundary);
        self.damaged.retain(|at, _| *at >= boundary);
    }

    fn all_damaged(&self, newest: ManifestSequence) -> RemoteError {
        let why = self.damaged.values().next_back().map(|damaged| damaged.why.clone()).unwrap_or_default();
        damaged(&manifest_name(newest), "it or an older manifest to be readable", why)
    }
}

pub(super) fn sound(sequence: ManifestSequence, bytes: &Bytes) -> Result<(Envelope, Manifest), RemoteError> {
    let name = manifest_name(sequence);
    let (envelope, manifest) = Envelope::with_manifest(&name, bytes)?;
    if manifest.sequence != sequence {
        return Err(damaged(&name, format!("manifest {sequence}"), format!("manifest {}", manifest.sequence)));
    }
    Ok((envelope, manifest))
}

fn read_numbers(bucket: &Bucket, numbers: &[u64]) -> Result<Vec<(ManifestSequence, Option<Bytes>)>, RemoteError> {
    let names: Vec<String> = numbers.iter().map(|number| manifest_name(ManifestSequence(*number))).collect();
    let read = read_many(bucket, &names)?;
    Ok(numbers.iter().map(|number| ManifestSequence(*number)).zip(read).collect())
}
