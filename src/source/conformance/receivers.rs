//! Floodmark's own receivers, for trying them alone: a job makes them by methods of its context.

use crate::codec::Record;
use crate::source::framing::{Framing, MAX_FRAME_BYTES};
use crate::source::lines::LinesReader;
use crate::source::queue::Queue;
use crate::source::receiver::Receiver;
use crate::source::socket::SocketFrames;
use crate::source::task::{TaskBytes, TaskReader};
use crate::text::Text;

/// The receiver of `socket_text_stream`; `address` is `host:port`.
pub fn socket_lines(address: &str) -> impl Receiver<Item = Text> + use<> {
    SocketFrames::<Text>::new(address, Framing::lines())
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

/// A queue and its receiver, as `queue_stream` makes them.
pub fn queue<T: Record>() -> (Queue<T>, impl Receiver<Item = T>) {
    Queue::new()
}
