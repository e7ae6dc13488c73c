//! Floodmark's own receivers, for trying them alone: a job makes them by methods of its context.

use crate::source::{
    Framing, LinesReader, MAX_FRAME_BYTES, Queue, QueueReceiver, Receiver, ReceiverContext, ReceiverError,
    SocketFrames, TaskBytes, TaskReader,
};
use floodmark_base::codec::Record;
use floodmark_base::text::Text;

/// The receiver of `socket_text_stream`.
pub struct SocketLines(SocketFrames<Text>);

impl SocketLines {
    /// Connects to `address`, `host:port`.
    pub fn new(address: &str) -> Self {
        Self(SocketFrames::new(address, Framing::lines()))
    }

    /// The lines of one of its blocks.
    ///
    /// # Panics
    /// When the block cannot be read.
    pub fn lines_of(block: &[u8]) -> Vec<Text> {
        let mut lines = Vec::new();
        let block = TaskBytes::Block(block.into());
        let reader = LinesReader { max_line_bytes: MAX_FRAME_BYTES };
        reader.read(block, &mut |line| lines.push(line)).expect("a block of lines");
        lines
    }
}

impl Receiver for SocketLines {
    type Item = Text;

    async fn on_start(&mut self, context: ReceiverContext<Text>) -> Result<(), ReceiverError> {
        self.0.on_start(context).await
    }

    fn restarts_at_end(&self) -> bool {
        self.0.restarts_at_end()
    }
}

/// The receiver of `queue_stream`.
pub struct QueueOf<T>(QueueReceiver<T>);

impl<T: Record> QueueOf<T> {
    /// A queue and its receiver.
    pub fn new() -> (Queue<T>, Self) {
        let (queue, receiver) = Queue::new();
        (queue, Self(receiver))
    }
}

impl<T: Record> Receiver for QueueOf<T> {
    type Item = T;

    async fn on_start(&mut self, context: ReceiverContext<T>) -> Result<(), ReceiverError> {
        self.0.on_start(context).await
    }
}
