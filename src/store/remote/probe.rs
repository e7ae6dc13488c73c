//! Whether a store keeps what is assumed of it.
//!
//! Two creates of one new name at the same time must have one winner, both must then read the winner's bytes, and it must be possible to list
//! and to delete. A crash in the probe leaves an object of some bytes below `probe/`, which nobody reads; a later probe deletes it when
//! it is an hour older than its own object, by the store's clock: a probe that is under way takes a minute at most.

use bytes::Bytes;

use super::bucket::{Created, RemoteFile, Shared};
use super::error::RemoteError;

/// Below which the probes' objects are, each under a random name.
pub(super) const DIRECTORY: &str = "probe";
/// So much older than ours is an object that a crash has left.
pub(super) const LEFT_AFTER_MS: u64 = 60 * 60 * 1000;

pub(super) async fn probe(shared: &Shared) -> Result<(), RemoteError> {
    let limit = shared.settings.open_within;
    #[allow(clippy::disallowed_methods)] // a name that nobody else has
    let name = format!("{DIRECTORY}/{:016x}", rand::random::<u64>());
    let unsupported = |reason: String| RemoteError::Unsupported { place: shared.place.clone(), reason };
    // First what changes nothing: where the store cannot be reached, this says so without any doubt about what was created.
    if shared.read(&name, limit).await?.is_some() {
        return Err(unsupported(format!("{name}, a new random name, is taken")));
    }
    let others = shared.list(DIRECTORY, limit).await?;

    let (ours, theirs) = (Bytes::from_static(b"the first"), Bytes::from_static(b"the second"));
    let both = tokio::join!(shared.create(&name, ours.clone(), limit), shared.create(&name, theirs.clone(), limit));
    let winner = match (both.0?, both.1?) {
        (Created::Ours, Created::Theirs(found)) if found == ours => ours,
        (Created::Theirs(found), Created::Ours) if found == theirs => theirs,
        (Created::Ours, Created::Ours) => {
            return Err(unsupported("two creates of one name were both successful".into()));
        }
        (first, second) => {
            return Err(unsupported(format!("of two creates of one name none won: {first:?}, {second:?}")));
        }
    };
    let found = shared.read(&name, limit).await?;
    if found.as_ref() != Some(&winner) {
        let found = found.map_or_else(|| "nothing".to_string(), |found| format!("{found:?}"));
        return Err(unsupported(format!("a read after a write is behind: expected {winner:?}, found {found}")));
    }
    let mut unneeded = vec![name];
    if !others.is_empty() {
        unneeded.extend(left_by_crashes(shared.list(DIRECTORY, limit).await?, &unneeded[0]));
    }
    shared.delete_all(&unneeded, limit).await
}

/// The objects that are much older than ours; none where the list does not have ours.
fn left_by_crashes(listed: Vec<RemoteFile>, ours: &str) -> Vec<String> {
    let now_ms = listed.iter().find(|file| file.name == ours).map_or(0, |file| file.modified_ms);
    let left = listed.into_iter().filter(|file| file.modified_ms.saturating_add(LEFT_AFTER_MS) < now_ms);
    left.map(|file| file.name).collect()
}
