//! Frames (lines, for one) from a TCP socket.

use std::future::pending;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::source::frame_buffer::FrameBuffer;
use crate::source::framing::Framing;
use crate::source::receiver::{Receiver, ReceiverContext, ReceiverError};
use crate::source::store::BlockStore;
use crate::source::tcp::IdleTimer;
use floodmark_base::codec::Record;
use floodmark_store::block::StoreError;

/// Connects to a server and takes every frame that it sends.
///
/// The socket is read as fast as the job allows and not at all when the backlog is full, so that the sender is slowed.
/// When the name does not resolve, the connection is refused or breaks, or nothing comes in for the idle time-out, the error is
/// shown and the receiver connects again after the restart delay; after an end of the stream likewise, silently. The sender gets no acknowledgement: what was read and not yet logged is lost in
/// a crash.
///
/// A block's payload is the bytes that came in; they are decoded where they are used.
#[derive(Debug)]
pub(crate) struct SocketFrames<T> {
    address: String,
    framing: Framing,
    item: PhantomData<fn() -> T>,
}

impl<T> SocketFrames<T> {
    /// `address` is `host:port`.
    pub fn new(address: impl Into<String>, framing: Framing) -> Self {
        Self { address: address.into(), framing, item: PhantomData }
    }
}

impl<T: Record> Receiver for SocketFrames<T> {
    type Item = T;

    fn kind(&self) -> String {
        "socket_stream".to_string()
    }

    async fn on_start(&mut self, context: ReceiverContext<T>) -> Result<(), ReceiverError> {
        let store = context.block_store();
        let tcp = store.settings().tcp;
        let mut idle = IdleTimer::start(store.clock().clone(), tcp.idle_timeout);
        let connected = tokio::select! {
            () = context.stopped() => return Ok(()),
            connected = TcpStream::connect(&self.address) => connected,
            error = idle.over() => Err(error),
        };
        let stream = connected.map_err(|error| format!("cannot connect to {}: {error}", self.address))?;
        tcp.keep_alive(&stream).map_err(|error| format!("{}: TCP keepalive cannot be set: {error}", self.address))?;
        idle.restart();
        tracing::info!(source = %context.uid(), address = %self.address, "connected");
        let buffer = FrameBuffer::new(store.settings().block_bytes, self.framing.clone());
        let framing = &self.framing;
        Connection { store, address: &self.address, framing, stream, buffer, idle, allowed: 0 }.receive().await
    }

    fn restarts_at_end(&self) -> bool {
        true
    }
}

/// One connection, from its first byte to its last.
struct Connection<'a> {
    store: &'a Arc<BlockStore>,
    address: &'a str,
    framing: &'a Framing,
    stream: TcpStream,
    buffer: FrameBuffer,
    idle: IdleTimer,
    /// Whole frames in the buffer that the rate has let pass.
    allowed: u64,
}

impl Connection<'_> {
    async fn receive(mut self) -> Result<(), ReceiverError> {
        let mut taken_bytes = 0_u64;
        // Runs from the first frame of a block; a slow sender's frames do not wait for a full one.
        let mut block_is_due = None;
        loop {
            if self.buffer.is_full() && self.allowed == self.buffer.frames() {
                self.hand_in().await?;
                block_is_due = None;
            }
            let waiting = self.buffer.frames() - self.allowed;
            let due = async {
                match &mut block_is_due {
                    Some(due) => due.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.store.stopped() => {
                    self.hand_in_all().await?;
                    self.report_cut_frame("the job stops");
                    return Ok(());
                }
                () = due => {
                    self.hand_in().await?;
                    block_is_due = None;
                }
                passed = self.store.rate().acquire_up_to(waiting), if waiting > 0 => self.allowed += passed,
                read = read_when_open(self.store, &mut self.stream, &mut self.buffer, &mut self.idle), if waiting == 0 => match read {
                    Ok(0) => return self.end().await,
                    Ok(count) => {
                        taken_bytes += count as u64;
                        self.idle.restart();
                        self.take_in(count, taken_bytes).await?;
                    }
                    Err(error) => {
                        self.hand_in_all().await?;
                        self.report_cut_frame("the connection broke");
                        let address = self.address;
                        return Err(format!("{address}: the connection broke after {taken_bytes} bytes: {error}").into());
                    }
                },
            }
            if self.buffer.frames() > 0 && block_is_due.is_none() {
                block_is_due = Some(self.store.clock().sleep(self.store.settings().block_interval));
            }
        }
    }

    /// Looks for frames in what was read.
    async fn take_in(&mut self, count: usize, taken_bytes: u64) -> Result<(), ReceiverError> {
        let (address, noun) = (self.address, self.framing.noun());
        match self.buffer.advance(count) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let limit = self.framing.limit();
                self.store.report_error(format_args!(
                    "{address}: a {noun} before byte {taken_bytes} has more than {limit} bytes: it is dropped"
                ));
                Ok(())
            }
            Err(error) => {
                self.hand_in_all().await?;
                self.report_cut_frame("the stream cannot be cut any further");
                Err(format!("{address}: no {noun} can be found before byte {taken_bytes}: {error}").into())
            }
        }
    }

    /// Hands in the frames that the rate has let pass as a block; waits until it is on its way to the log.
    async fn hand_in(&mut self) -> Result<(), StoreError> {
        match self.buffer.cut(std::mem::take(&mut self.allowed)) {
            Some((payload, frames)) => self.store.hand_in(frames, payload).await,
            None => Ok(()),
        }
    }

    /// What was read already is not held up by the rate when it is the last.
    async fn hand_in_all(&mut self) -> Result<(), StoreError> {
        self.allowed = self.buffer.frames();
        self.hand_in().await
    }

    /// The stream has ended: a last frame that only lacks its delimiter counts.
    async fn end(mut self) -> Result<(), ReceiverError> {
        self.buffer.end();
        self.hand_in_all().await?;
        self.report_cut_frame("the stream has ended");
        Ok(())
    }

    fn report_cut_frame(&self, why: &str) {
        let (bytes, noun) = (self.buffer.begun_bytes(), self.framing.noun());
        if bytes > 0 {
            self.store.report_error(format_args!("{bytes} bytes of an unfinished {noun} are dropped: {why}"));
        }
    }
}

/// Reads what there is, if the backlog has room. Nothing is lost when this is dropped while it waits.
///
/// Fails when nothing has come in for the idle time-out. What came in while the backlog had no room is read first, so a job that is
/// slow does not take its peer for one that stalls.
async fn read_when_open(
    store: &BlockStore,
    stream: &mut TcpStream,
    buffer: &mut FrameBuffer,
    idle: &mut IdleTimer,
) -> std::io::Result<usize> {
    store.gate_open().await;
    tokio::select! {
        biased;
        read = stream.read(buffer.space()) => read,
        error = idle.over() => Err(error),
    }
}
