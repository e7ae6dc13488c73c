//! Text lines from a TCP socket.

use std::future::pending;

use byteview::ByteView;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::block::StoreError;
use crate::source::line_buffer::LineBuffer;
use crate::source::receiver::{Receiver, ReceiverContext, ReceiverError};
use crate::source::store::BlockStore;
use crate::text::Text;

/// Connects to a server and takes every line that it sends.
///
/// The socket is read as fast as the job allows and not at all when the backlog is full, so that the sender is slowed.
/// When the connection is refused or breaks, the error is shown and the receiver connects again after the restart delay; after
/// an end of the stream likewise, silently. The sender gets no acknowledgement: what was read and not yet logged is lost in
/// a crash.
///
/// A block's payload is the bytes that came in; they are decoded where they are used.
#[derive(Debug)]
pub(crate) struct SocketLines {
    address: String,
    max_line_bytes: usize,
}

impl SocketLines {
    /// `address` is `host:port`.
    pub fn new(address: impl Into<String>, max_line_bytes: usize) -> Self {
        Self { address: address.into(), max_line_bytes }
    }
}

impl Receiver for SocketLines {
    type Item = Text;

    async fn on_start(&mut self, context: ReceiverContext<Text>) -> Result<(), ReceiverError> {
        let connected = tokio::select! {
            () = context.stopped() => return Ok(()),
            connected = TcpStream::connect(&self.address) => connected,
        };
        let stream = connected.map_err(|error| format!("cannot connect to {}: {error}", self.address))?;
        tracing::info!(source = %context.uid(), address = %self.address, "connected");
        let settings = context.block_store().settings();
        let buffer = LineBuffer::new(settings.block_bytes, self.max_line_bytes);
        Connection { store: context.block_store(), stream, buffer, allowed: 0 }
            .receive(&self.address, self.max_line_bytes)
            .await
    }

    fn restarts_at_end(&self) -> bool {
        true
    }
}

/// One connection, from its first byte to its last.
struct Connection<'a> {
    store: &'a BlockStore,
    stream: TcpStream,
    buffer: LineBuffer,
    /// Whole lines in the buffer that the rate has let pass.
    allowed: u64,
}

impl Connection<'_> {
    async fn receive(mut self, address: &str, max_line_bytes: usize) -> Result<(), ReceiverError> {
        let mut taken_bytes = 0_u64;
        // Runs from the first line of a block; a slow sender's lines do not wait for a full one.
        let mut block_is_due = None;
        loop {
            if self.buffer.is_full() && self.allowed == self.buffer.lines() {
                self.hand_in().await?;
                block_is_due = None;
            }
            let waiting = self.buffer.lines() - self.allowed;
            let due = async {
                match &mut block_is_due {
                    Some(due) => due.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.store.stopped() => {
                    self.allowed = self.buffer.lines();
                    self.hand_in().await?;
                    self.report_cut_line("the job stops");
                    return Ok(());
                }
                () = due => {
                    self.hand_in().await?;
                    block_is_due = None;
                }
                passed = self.store.rate().acquire_up_to(waiting), if waiting > 0 => self.allowed += passed,
                read = read_when_open(self.store, &mut self.stream, &mut self.buffer), if waiting == 0 => match read {
                    Ok(0) => return self.end().await,
                    Ok(count) => {
                        taken_bytes += count as u64;
                        if self.buffer.advance(count) {
                            self.store.report_error(format_args!(
                                "{address}: a line before byte {taken_bytes} has more than {max_line_bytes} bytes: it is dropped"
                            ));
                        }
                    }
                    Err(error) => {
                        self.allowed = self.buffer.lines();
                        self.hand_in().await?;
                        self.report_cut_line("the connection broke");
                        return Err(format!("{address}: the connection broke after {taken_bytes} bytes: {error}").into());
                    }
                },
            }
            if self.buffer.lines() > 0 && block_is_due.is_none() {
                block_is_due = Some(self.store.clock().sleep(self.store.settings().block_interval));
            }
        }
    }

    /// Hands in the lines that the rate has let pass as a block; does not wait for the log.
    async fn hand_in(&mut self) -> Result<(), StoreError> {
        if self.allowed == 0 {
            return Ok(());
        }
        let bytes = self.buffer.line_bytes();
        let (buffer, allowed) = (&mut self.buffer, std::mem::take(&mut self.allowed));
        self.store.hand_in(bytes, || buffer.cut(allowed).map(unpositioned)).await.map(drop)
    }

    /// The stream has ended: its last line needs no end.
    async fn end(mut self) -> Result<(), ReceiverError> {
        let bytes = self.buffer.line_bytes() + self.buffer.begun_bytes();
        if bytes > 0 {
            self.store.hand_in(bytes, || self.buffer.finish().map(unpositioned)).await?;
        }
        Ok(())
    }

    fn report_cut_line(&self, why: &str) {
        if self.buffer.begun_bytes() > 0 {
            self.store.report_error(format_args!("{} bytes of an unfinished line are dropped: {why}", self.buffer.begun_bytes()));
        }
    }
}

fn unpositioned((payload, lines): (ByteView, u64)) -> (Option<crate::id::Position>, u64, ByteView) {
    (None, lines, payload)
}

/// Reads what there is, if the backlog has room. Nothing is lost when this is dropped while it waits.
async fn read_when_open(store: &BlockStore, stream: &mut TcpStream, buffer: &mut LineBuffer) -> std::io::Result<usize> {
    store.gate_open().await;
    stream.read(buffer.space()).await
}
