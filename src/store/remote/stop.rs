//! The signal by which a hard stop ends every wait for an object store, and any stop those of a start.
//!
//! A hard stop is a crash that the program asks for. A request that it cuts off may be applied or not, now or later, exactly as when
//! the process dies in it. The caller gets [`RemoteError::Stopped`](super::RemoteError::Stopped), so the step fails, nothing
//! that stands on it is done (no acknowledgement, no publication, no deletion), and the driver ends.
//!
//! | cut off in | leaves | the next start |
//! |---|---|---|
//! | a put of the log (`wal.sync`, `wal.roll`) | the object or nothing; the working copy has the group | fetches the object, or cuts the group's events off the working copy: they were never acknowledged |
//! | the create of a manifest (`manifest.create`) | the object or nothing | fetches it, or goes on from the manifest before |
//! | an upload (`checkpoint.files`) | objects that no manifest names, parts that the note tells of | leaves them; a later collection deletes them |
//! | a deletion (`wal.truncate`, `manifest.remove`, `checkpoint.remove`) | any subset of the names | leaves them; a later collection deletes them |
//!
//! A put that arrives after the next start has taken the log over finds its name taken by the object that says so, or is passed over by
//! it, as one of an older epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Raised once, for good. Clones are handles to the same signal.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<Signal>);

#[derive(Debug)]
struct Signal {
    raised: watch::Sender<bool>,
    has_cut_off: AtomicBool,
}

impl Default for StopSignal {
    fn default() -> Self {
        Self(Arc::new(Signal { raised: watch::Sender::new(false), has_cut_off: AtomicBool::new(false) }))
    }
}

impl StopSignal {
    /// Ends the waits that are under way and all later ones.
    pub fn raise(&self) {
        self.0.raised.send_replace(true);
    }

    /// Returns whether the signal was raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.raised.borrow()
    }

    /// Returns whether a call was ended by the signal, so that what fails after it fails because of the stop.
    #[must_use]
    pub fn has_cut_off(&self) -> bool {
        self.0.has_cut_off.load(Ordering::Acquire)
    }

    /// Notes that a call was ended by the signal.
    pub(super) fn cut_off(&self) {
        self.0.has_cut_off.store(true, Ordering::Release);
    }

    /// Waits until the signal is raised.
    pub async fn raised(&self) {
        // The sender lives as long as this handle, so the wait ends by the signal alone.
        if self.0.raised.subscribe().wait_for(|raised| *raised).await.is_err() {
            std::future::pending().await
        }
    }
}
