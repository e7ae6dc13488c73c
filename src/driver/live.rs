//! Going live: receivers, ticks and signals, once everything since the checkpoint is recomputed.

use std::sync::Arc;

use byteview::ByteView;

use crate::batch::ticker::Ticker;
use crate::block::{BlockLog, Intake};
use crate::driver::Driver;
use crate::driver::message::DriverMessage;
use crate::driver::start::environment;
use crate::error::{Error, Result};
use crate::source::{ReceiverSource, Supervisor};
use crate::wal::{FrameAt, FrameKind, NewFrame, Wal};

impl Driver {
    /// Receives and ticks from now on.
    pub(super) fn go_live(&mut self, receivers: Vec<ReceiverSource>) -> Result<()> {
        let sender = self.sender.clone();
        let intake = Intake::new(Arc::new(WalBlocks(self.wal.clone())), self.inputs.tracker.clone(), move |error| {
            drop(sender.send(DriverMessage::ReceivingFailed(error)));
        });
        if !receivers.is_empty() {
            let runtime = self.runtime.handle();
            let supervisor =
                Arc::new(Supervisor::start(runtime, receivers, &intake, &self.settings.clock, &self.events));
            self.shared.receiving(&supervisor);
            self.supervisor = Some(supervisor);
        }
        let sender = self.sender.clone();
        let tick = move || drop(sender.send(DriverMessage::Tick));
        self.ticker = Some(Ticker::start(self.settings.clock.clone(), self.settings.interval_ms, tick)?);
        if self.settings.signals {
            self.listen_to_signals()?;
        }
        Ok(())
    }

    /// SIGTERM, and the first SIGINT, stop gracefully; the second SIGINT stops hard.
    fn listen_to_signals(&self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let _runtime = self.runtime.enter();
        let listen = |kind| signal(kind).map_err(|error| environment("listen to signals", error));
        let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let (sender, stop) = (self.sender.clone(), self.settings.stop_signal());
        self.runtime.spawn(async move {
            let mut interrupted = false;
            loop {
                let graceful = tokio::select! {
                    _ = terminate.recv() => true,
                    _ = interrupt.recv() => !std::mem::replace(&mut interrupted, true),
                };
                tracing::info!(graceful, "stopping on a signal");
                if !graceful {
                    stop.raise();
                }
                if sender.send(DriverMessage::Stop { graceful }).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

/// The log as receivers need it.
struct WalBlocks(Wal);

impl BlockLog for WalBlocks {
    fn append_block(&self, head: Vec<u8>, body: ByteView, done: Box<dyn FnOnce(Result<FrameAt, Error>) + Send>) {
        let frame = NewFrame { kind: FrameKind::Block, head, body };
        self.0.append(vec![frame], Box::new(move |at| done(at.map(|at| at[0]).map_err(Error::from))));
    }
}
