//! The note in the working copy that says which objects of the log it holds, so that a restart need not read them again.
//!
//! It says less than there is, never more: what it tells of was synced in the working copy before it was put. It is believed only as
//! far as the newest of these objects is the bucket's, byte for byte by its checksum, and as the segments are as long as it says; the frames are
//! checked by whoever reads the log, and where they are not what they were, the log is fetched as if there were no note.
//!
//! A crash before it is written leaves the note before, which says less; it is replaced whole.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::disk::RemoteDisk;
use super::envelope::Known;
use super::fetch::{FetchError, local};
use floodmark_base::disk::Step;

/// Its name in the working copy.
pub(super) const KNOWN: &str = "log.known";

impl RemoteDisk {
    pub(super) fn known_path(&self) -> PathBuf {
        self.job.join(KNOWN)
    }

    /// The note, if there is one that can be read.
    pub(super) fn read_known(&self) -> Option<Known> {
        self.note_trust(false);
        let bytes = self.local.read(&self.known_path()).ok()?;
        let known = Known::from_bytes(KNOWN, &bytes.into());
        known.inspect_err(|error| tracing::debug!(%error, "the log is fetched as if there were no note")).ok()
    }

    /// Writes down what the working copy has by now.
    ///
    /// # Errors
    /// When the local disk fails. Without the note a restart would only take longer, but a disk that fails is passed over nowhere.
    pub(super) fn write_known(&self) -> io::Result<()> {
        let Some(known) = self.log.known() else { return Ok(()) };
        let path = self.known_path();
        let temporary = path.with_extension("tmp");
        self.local.replace_whole(Step::LiveBuild, &path, &temporary, &known.to_bytes()?)
    }

    /// Removes the note, before anything is changed that it tells of.
    pub(super) fn forget_known(&self) -> Result<(), FetchError> {
        let path = self.known_path();
        if self.absent(&path)? {
            return Ok(());
        }
        self.local.remove(Step::LiveBuild, &path).map_err(local("remove", &path))
    }

    pub(super) fn note_trust(&self, trusts: bool) {
        self.trusts.store(trusts, Ordering::Relaxed);
    }

    /// Removes the note, if the last fetch has believed it: what it told of turned out to be damaged. Whether a new fetch may help.
    ///
    /// # Errors
    /// When the local disk fails.
    pub fn distrust(&self) -> Result<bool, FetchError> {
        let trusted = self.trusts.swap(false, Ordering::Relaxed);
        if trusted {
            self.forget_known()?;
        }
        Ok(trusted)
    }
}
