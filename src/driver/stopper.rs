//! How a job is asked to stop: every way leads through here.

use std::sync::mpsc::Sender;

use crate::driver::message::DriverMessage;
use crate::driver::watch::Watch;
use crate::remote::StopSignal;

/// Asks a job to stop; clones ask the same one.
#[derive(Clone)]
pub(crate) struct Stopper {
    sender: Sender<DriverMessage>,
    /// Ends the waits of a job in object storage.
    store: StopSignal,
    watch: Watch,
}

impl Stopper {
    pub fn new(sender: Sender<DriverMessage>, store: StopSignal, watch: Watch) -> Self {
        Self { sender, store, watch }
    }

    /// Asks, and does not wait. A hard stop ends what the driver waits for, too.
    pub fn stop(&self, graceful: bool) {
        if !graceful {
            self.store.raise();
            self.watch.stop();
        }
        // A driver that has ended takes no message; its outcome is there.
        drop(self.sender.send(DriverMessage::Stop { graceful }));
    }
}
