//! A log in memory, for tests: acknowledges at once, or when told to.

use std::sync::Mutex;

use byteview::ByteView;

use crate::block::{BlockHead, BlockLog};
use crate::wal::{FrameAt, WalVersion};
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::Sequence;

type Done = Box<dyn FnOnce(Result<FrameAt, Error>) + Send>;

#[derive(Default)]
pub struct MemoryLog(Mutex<State>);

#[derive(Default)]
struct State {
    held: bool,
    failing: bool,
    blocks: Vec<(BlockHead, ByteView)>,
    waiting: Vec<(FrameAt, Done)>,
}

impl MemoryLog {
    /// Acknowledges nothing until [`release`](Self::release).
    pub fn hold(&self) {
        self.0.lock().unwrap().held = true;
    }

    /// Acknowledges what waits, and from now on at once.
    pub fn release(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap();
            state.held = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(at, done)| done(Ok(at)));
    }

    /// Acknowledges the first `count` appends that wait; the others, and those to come, go on waiting.
    pub fn release_first(&self, count: usize) {
        let first: Vec<_> = self.0.lock().unwrap().waiting.drain(..count).collect();
        first.into_iter().for_each(|(at, done)| done(Ok(at)));
    }

    /// From now on every append fails, and so does what waits.
    pub fn fail(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap();
            state.failing = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, done)| done(Err(failure())));
    }

    /// What was appended.
    pub fn blocks(&self) -> Vec<(BlockHead, ByteView)> {
        self.0.lock().unwrap().blocks.clone()
    }

    /// The payloads that were appended, one after the other.
    pub fn bytes(&self) -> Vec<u8> {
        self.blocks().iter().flat_map(|(_, payload)| payload.to_vec()).collect()
    }

    /// How many appends wait for their acknowledgement.
    pub fn waiting(&self) -> usize {
        self.0.lock().unwrap().waiting.len()
    }
}

fn failure() -> Error {
    Error::new(ErrorKind::Environment, "wal/00000000000000000001.log: sync failed")
}

impl BlockLog for MemoryLog {
    fn append_block(&self, head: Vec<u8>, body: ByteView, done: Done) {
        let at = {
            let mut state = self.0.lock().unwrap();
            if state.failing {
                Err(failure())
            } else {
                let head_len = head.len() as u32;
                state.blocks.push((BlockHead::decode(WalVersion::CURRENT, &head).unwrap(), body.clone()));
                let sequence = Sequence(state.blocks.len() as u64);
                let at = FrameAt { head_len, ..FrameAt::in_memory(sequence, body.len() as u32) };
                if state.held {
                    state.waiting.push((at, done));
                    return;
                }
                Ok(at)
            }
        };
        done(at);
    }
}
