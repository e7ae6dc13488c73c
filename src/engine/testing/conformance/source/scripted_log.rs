//! The log of a scripted job: it keeps what it was given, and acknowledges, waits, refuses or loses its answer as it is told.

use std::sync::{Mutex, MutexGuard, PoisonError};

use byteview::ByteView;

use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::Sequence;
use floodmark_store::block::{BlockHead, BlockLog};
use floodmark_store::wal::{FrameAt, WalVersion};

type Done = Box<dyn FnOnce(Result<FrameAt, Error>) + Send>;

/// What the log does with an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    /// Makes it durable and says so.
    #[default]
    Acknowledge,
    /// Neither, until it is told to.
    Wait,
    /// Takes nothing and says so; this is final for a life (I-7).
    Refuse,
    /// Makes it durable and says that it failed, as when a machine dies between the two; final, too.
    Lose,
}

#[derive(Default)]
pub(super) struct ScriptedLog(Mutex<State>);

#[derive(Default)]
struct State {
    answer: Answer,
    durable: Vec<(BlockHead, ByteView)>,
    waiting: Vec<(BlockHead, ByteView, Done)>,
    failures: u64,
}

impl ScriptedLog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, and for what waits: does this.
    pub fn answer(&self, answer: Answer) {
        let answers: Vec<_> = {
            let mut state = self.state();
            state.answer = answer;
            let waiting = std::mem::take(&mut state.waiting);
            waiting.into_iter().filter_map(|(head, body, done)| state.take(head, body, done)).collect()
        };
        answers.into_iter().for_each(|(done, answer)| done(answer));
    }

    /// Acknowledges the oldest append that waits.
    pub fn acknowledge_one(&self) {
        let answer = {
            let mut state = self.state();
            if state.waiting.is_empty() {
                return;
            }
            let (head, body, done) = state.waiting.remove(0);
            let answer = std::mem::replace(&mut state.answer, Answer::Acknowledge);
            let taken = state.take(head, body, done);
            state.answer = answer;
            taken
        };
        if let Some((done, answer)) = answer {
            done(answer);
        }
    }

    /// What is durable, block by block.
    pub fn durable(&self) -> Vec<(BlockHead, ByteView)> {
        self.state().durable.clone()
    }

    /// How many appends wait.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// How many appends were answered with a failure.
    pub fn failures(&self) -> u64 {
        self.state().failures
    }

    /// The life that appended is over: what waited was never durable, and nobody asks for it any more.
    pub fn next_life(&self) {
        let waiting = {
            let mut state = self.state();
            state.answer = Answer::Acknowledge;
            state.failures = 0;
            std::mem::take(&mut state.waiting)
        };
        // An answer would be that of a dead process; dropped, it is none.
        drop(waiting);
    }
}

impl State {
    /// The answer to an append, and whom to tell; none while it waits.
    fn take(&mut self, head: BlockHead, body: ByteView, done: Done) -> Option<(Done, Result<FrameAt, Error>)> {
        if self.answer == Answer::Wait {
            self.waiting.push((head, body, done));
            return None;
        }
        let body_len = body.len() as u32;
        if self.answer != Answer::Refuse {
            self.durable.push((head, body));
        }
        if self.answer != Answer::Acknowledge {
            self.failures += 1;
            return Some((done, Err(Error::new(ErrorKind::Environment, "the scripted log failed"))));
        }
        let sequence = Sequence(self.durable.len() as u64);
        Some((done, Ok(FrameAt::in_memory(sequence, body_len))))
    }
}

impl BlockLog for ScriptedLog {
    fn append_block(&self, head: Vec<u8>, body: ByteView, done: Done) {
        let head = BlockHead::decode(WalVersion::CURRENT, &head).expect("a head decodes that was just encoded");
        let answer = self.state().take(head, body, done);
        if let Some((done, answer)) = answer {
            done(answer);
        }
    }
}
