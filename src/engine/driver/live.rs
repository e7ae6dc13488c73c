//! Going live: receivers and ticks, once everything since the checkpoint is recomputed.

use std::sync::Arc;

use byteview::ByteView;

use crate::driver::Driver;
use crate::driver::message::DriverMessage;
use crate::driver::start::environment;
use crate::source::{ReceiverSource, Supervisor};
use floodmark_base::error::{Error, Result};
use floodmark_store::batch::ticker::Ticker;
use floodmark_store::block::{BlockLog, Intake};
use floodmark_store::wal::{FrameAt, FrameKind, NewFrame, Wal};

impl Driver {
    /// Receives and ticks from now on.
    pub(super) fn go_live(&mut self, receivers: Vec<ReceiverSource>) -> Result<()> {
        let sender = self.inbox.sender();
        let intake = Intake::new(Arc::new(WalBlocks(self.wal.clone())), self.inputs.tracker.clone(), move |error| {
            drop(sender.send(DriverMessage::ReceivingFailed(error)));
        });
        if !receivers.is_empty() {
            let (runtime, grace) = (self.runtime.handle(), self.settings.stop_grace);
            let (clock, events) = (&self.settings.clock, &self.events);
            let supervisor = Supervisor::start_on_threads(runtime, receivers, &intake, clock, events, grace);
            let supervisor = Arc::new(supervisor.map_err(|error| environment("start the receivers' threads", error))?);
            self.shared.receiving(&supervisor);
            self.supervisor = Some(supervisor);
        }
        let sender = self.inbox.sender();
        let tick = move || drop(sender.send(DriverMessage::Tick));
        self.ticker = Some(Ticker::start(self.settings.clock.clone(), self.settings.interval_ms, tick)?);
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

    fn refuse_blocks(&self) {
        self.0.refuse_blocks();
    }
}
