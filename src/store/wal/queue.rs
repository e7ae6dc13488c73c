//! The queue between the threads that append and the one that writes: bounded in bytes, drained in groups.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use byteview::ByteView;

use super::error::WalError;
use super::frame::FRAME_HEADER_LEN;
use super::poison::Poison;
use super::{FrameAt, FrameKind};
use floodmark_base::clock::{Clock, SystemClock};

/// Called once, with where the frames stand or why they do not.
pub type Done = Box<dyn FnOnce(Result<Vec<FrameAt>, WalError>) + Send>;

/// A frame whose payload is already summed, by the thread that appends it.
pub(super) struct SummedFrame {
    pub kind: FrameKind,
    pub head: Vec<u8>,
    pub body: ByteView,
    pub payload_checksum: u32,
}

/// Frames that are written without others between them and acknowledged together; or the question whether there is room again.
pub(super) struct Request {
    pub frames: Vec<SummedFrame>,
    /// A truncation has made room: blocks may be taken again if the reserve fits.
    pub frees_blocks: bool,
    pub done: Done,
}

impl Request {
    /// Asks for frames to be written.
    pub fn write(frames: Vec<SummedFrame>, done: Done) -> Self {
        Self { frames, frees_blocks: false, done }
    }

    /// Asks, behind everything that waits already, whether blocks may be taken again.
    pub fn free_blocks(done: Done) -> Self {
        Self { frames: Vec::new(), frees_blocks: true, done }
    }

    /// Bytes that the frames take in the log.
    pub fn bytes(&self) -> u64 {
        let payload = |frame: &SummedFrame| FRAME_HEADER_LEN + frame.head.len() + frame.body.len();
        self.frames.iter().map(|frame| payload(frame) as u64).sum()
    }

    /// A closing mark proves only what was synced before its group, so it is a group of its own.
    pub fn is_mark(&self) -> bool {
        matches!(&self.frames[..], [frame] if frame.kind == FrameKind::Mark)
    }

    /// Blocks are what a full disk or quota refuses.
    pub fn has_blocks(&self) -> bool {
        self.frames.iter().any(|frame| frame.kind == FrameKind::Block)
    }
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    /// Of all requests that wait.
    bytes: u64,
    closed: bool,
    /// Of the requests that wait, those without blocks: they wait for nobody.
    hurried: usize,
    /// When the group before was taken.
    group_ms: u64,
}

pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
    capacity_bytes: u64,
    /// The wait is for a disk or a network, so its time is the system's, whatever drives the batches.
    clock: SystemClock,
    pub poison: Poison,
}

impl Queue {
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            capacity_bytes,
            clock: SystemClock::default(),
            poison: Poison::default(),
        }
    }

    /// Takes a request, as soon as there is room for it; one that is larger than the queue waits until it is empty.
    /// `admit` decides with the bytes that wait already, once there is room.
    ///
    /// A request that is not taken comes back with the reason: poisoned, closed, or not admitted.
    pub fn push(
        &self,
        request: Request,
        admit: impl FnOnce(u64) -> Result<(), WalError>,
    ) -> Option<(Request, WalError)> {
        let bytes = request.bytes();
        let mut state = self.lock();
        loop {
            let refused = if state.closed { Err(WalError::Closed) } else { Ok(()) };
            if let Err(error) = self.poison.check().and(refused) {
                return Some((request, error));
            }
            if state.bytes == 0 || state.bytes.saturating_add(bytes) <= self.capacity_bytes {
                break;
            }
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Err(error) = admit(state.bytes) {
            return Some((request, error));
        }
        state.bytes += bytes;
        state.hurried += usize::from(!request.has_blocks());
        state.requests.push_back(request);
        self.filled.notify_one();
        None
    }

    /// Waits for requests and takes those that are written together: up to `group_bytes`, or marks only.
    /// Blocks alone wait until the group before was taken so long ago as `interval` says, so that more of them come together.
    /// `None` when the queue is closed and empty.
    pub fn take_group(&self, group_bytes: u64, interval: Option<Duration>) -> Option<Vec<Request>> {
        let mut state = self.lock();
        while state.requests.is_empty() {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(interval) = interval {
            let waits = |state: &mut State| {
                state.hurried == 0 && !state.closed && state.bytes < group_bytes && !state.requests.is_empty()
            };
            let since = self.clock.monotonic_ms().saturating_sub(state.group_ms);
            let left = interval.saturating_sub(Duration::from_millis(since));
            let waited = self.filled.wait_timeout_while(state, left, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.group_ms = self.clock.monotonic_ms();
        }
        let (mut group, mut bytes) = (Vec::<Request>::new(), 0);
        while let Some(next) = state.requests.front() {
            let fits = match group.first() {
                None => true,
                Some(first) => {
                    let is_alone = first.frees_blocks || next.frees_blocks;
                    !is_alone && first.is_mark() == next.is_mark() && bytes + next.bytes() <= group_bytes
                }
            };
            if !fits {
                break;
            }
            bytes += next.bytes();
            let hurried = usize::from(!next.has_blocks());
            state.hurried -= hurried;
            group.extend(state.requests.pop_front());
        }
        state.bytes -= bytes;
        self.drained.notify_all();
        Some(group)
    }

    /// Nothing is taken any more; what waits is still written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Poisons the log and answers everything that waits. No request slips in behind: `push` looks under the same lock.
    pub fn poison(&self, cause: &str) -> WalError {
        let error = self.poison.set(cause);
        let waiting = {
            let mut state = self.lock();
            (state.bytes, state.hurried) = (0, 0);
            std::mem::take(&mut state.requests)
        };
        self.drained.notify_all();
        for request in waiting {
            (request.done)(Err(error.clone()));
        }
        error
    }

    /// How many requests wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.lock().requests.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
