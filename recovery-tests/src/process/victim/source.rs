//! The victim's receiver: takes the numbers of blocks, stores each block at its number, and tells that it is stored.

use std::sync::mpsc;

use floodmark::{Position, Receiver, ReceiverContext, ReceiverError};

use super::data::{self, Pair};
use super::options::Planted;
use super::word::Word;

/// The sender's end.
pub(super) struct Blocks(tokio::sync::mpsc::UnboundedSender<Block>);

struct Block {
    number: u64,
    stored: mpsc::Sender<()>,
}

/// The receiver's end.
pub(super) struct BlockReceiver {
    blocks: tokio::sync::mpsc::UnboundedReceiver<Block>,
    planted: Option<Planted>,
}

impl Blocks {
    pub fn new(planted: Option<Planted>) -> (Self, BlockReceiver) {
        let (sender, blocks) = tokio::sync::mpsc::unbounded_channel();
        (Self(sender), BlockReceiver { blocks, planted })
    }

    /// Sends a block. What comes back has a message when the block is acknowledged, and ends without one when it never will be.
    pub fn send(&self, number: u64) -> mpsc::Receiver<()> {
        let (stored, answer) = mpsc::channel();
        // A receiver that is gone answers nothing.
        drop(self.0.send(Block { number, stored }));
        answer
    }
}

impl Receiver for BlockReceiver {
    type Item = Pair;

    async fn on_start(&mut self, context: ReceiverContext<Pair>) -> Result<(), ReceiverError> {
        let Position(resumes) = context.stored_position().unwrap_or_default();
        Word::Resumes(resumes).tell()?;
        loop {
            let block = tokio::select! {
                block = self.blocks.recv() => block,
                () = context.stopped() => return Ok(()),
            };
            let Some(Block { number, stored }) = block else { return Ok(()) };
            if self.planted == Some(Planted::EarlyAcknowledgement) {
                Word::Stored(number).tell()?;
            }
            context.store_block_at(Position(number), data::block(number)).await?;
            Word::Stored(number).tell()?;
            // In real time nobody waits for the answer.
            _ = stored.send(());
        }
    }
}
