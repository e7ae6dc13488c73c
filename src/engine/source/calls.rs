//! The calls of one source that wait for their turn, and what has to be done next.
//!
//! ```text
//! log  <-  block in the making  <-  calls that wait: records and blocks, in the order in which they were called
//! ```
//!
//! A call takes its place at the end, when it is called. The records of single calls are put together in the block in the making,
//! which stands before all calls that wait: it is handed in before a block that was called for after its records.
//!
//! Pure: no waiting and no I/O. [`appender`](super::appender) does what [`next`](Calls::next) says.
//!
//! All of this is behind one lock, which the driver, the supervisor and the appender take as well. So no code of the user runs here:
//! records come encoded.

use std::collections::VecDeque;

use byteview::ByteView;
use tokio::sync::oneshot;

use crate::source::records::RecordBlock;
use crate::source::store::OpenBlock;
use floodmark_store::block::{Answer, NewBlock, StoreError, Stored};

/// Bytes that one block may have; a plan and a frame can carry no more.
pub(super) const MAX_BLOCK_BYTES: usize = 1 << 30;

/// What a call stores.
#[derive(Debug)]
pub(super) enum What {
    /// A record, for the block in the making.
    Record(RecordBlock),
    /// A block.
    Block(NewBlock),
}

/// What a caller waits for.
#[derive(Debug)]
pub(super) enum Caller {
    /// The record is in the block in the making, or the block is durable.
    Stored(oneshot::Sender<Answer>),
    /// The block is on its way to the log.
    HandedIn(oneshot::Sender<Answer>),
}

impl Caller {
    /// Tells the caller, who may have gone.
    pub fn tell(self, answer: Answer) {
        let (Self::Stored(to) | Self::HandedIn(to)) = self;
        drop(to.send(answer));
    }
}

/// A call that waits for its turn.
#[derive(Debug)]
pub(super) struct Call {
    what: What,
    caller: Caller,
    open: OpenBlock,
    /// Records that the rate has still to let pass; `None` when the call is admitted.
    to_admit: Option<u64>,
    /// Records that the rate has let pass.
    admitted: u64,
}

impl Call {
    pub fn new(what: What, caller: Caller, open: OpenBlock, to_admit: Option<u64>) -> Self {
        Self { what, caller, open, to_admit, admitted: 0 }
    }

    /// What the rate has let pass for a call that does not use it.
    pub fn admitted(&self) -> u64 {
        self.admitted
    }

    pub fn into_parts(self) -> (What, Caller, OpenBlock) {
        (self.what, self.caller, self.open)
    }

    fn refuse(self) -> (Caller, OpenBlock) {
        // The claim of a block goes with it: what was not stored is missing.
        drop(self.what);
        (self.caller, self.open)
    }
}

/// Callers whose calls are not carried out.
#[must_use]
pub(super) struct Refused(Vec<(Caller, OpenBlock)>);

impl Refused {
    /// Tells them why.
    pub fn tell(self, error: &StoreError) {
        for (caller, open) in self.0 {
            drop(open);
            caller.tell(Err(error.clone()));
        }
    }
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until there is another call.
    Wait,
    /// Nothing any more.
    End,
    /// The block in the making is to be handed in.
    Cut { bytes: usize },
    /// The rate has to let so many records pass for the call at this place.
    Admit { place: u64, records: u64 },
    /// The record at this place goes into the block in the making.
    Take { place: u64 },
    /// The block at this place is to be handed in.
    HandIn { place: u64, bytes: usize },
}

/// The calls of one source, in their order.
#[derive(Debug, Default)]
pub(super) struct Calls {
    block: RecordBlock,
    /// There from its first record on: the block in the making has no answer yet.
    block_open: Option<OpenBlock>,
    /// The block in the making is to be handed in.
    is_due: bool,
    waiting: VecDeque<(u64, Call)>,
    next_place: u64,
    closed: bool,
}

impl Calls {
    /// No call is taken any more; those that wait keep their places.
    pub fn close(&mut self) {
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a record may go into the block in the making without waiting for its turn.
    pub fn is_free(&self) -> bool {
        self.waiting.is_empty() && !self.is_due
    }

    /// Whether there are records in the block in the making.
    pub fn has_records(&self) -> bool {
        self.block.records() > 0
    }

    /// Whether a record can be added to the block in the making before that is handed in.
    pub fn fits(&self, record: &RecordBlock) -> bool {
        !self.has_records() || self.block.bytes() + record.bytes() <= MAX_BLOCK_BYTES
    }

    /// The block in the making is to be handed in; `false` when it is empty.
    pub fn cut(&mut self) -> bool {
        self.is_due = self.has_records();
        self.is_due
    }

    /// Adds a call at the end; gives its place.
    pub fn add(&mut self, call: Call) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        self.waiting.push_back((place, call));
        place
    }

    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next thing to do.
    pub fn next(&self) -> Step {
        let (has_records, cut) = (self.has_records(), Step::Cut { bytes: self.block.bytes() });
        if has_records && self.is_due {
            return cut;
        }
        let Some((place, call)) = self.waiting.front() else {
            return match self.closed {
                true if has_records => cut,
                true => Step::End,
                false => Step::Wait,
            };
        };
        let place = *place;
        match (&call.what, call.to_admit) {
            (_, Some(records)) => Step::Admit { place, records },
            (What::Record(record), None) if !self.fits(record) => cut,
            (What::Record(_), None) => Step::Take { place },
            (What::Block(_), None) if has_records => cut,
            (What::Block(block), None) => Step::HandIn { place, bytes: block.payload.len() },
        }
    }

    /// Whether the first call, at this place, is to store what is not stored yet. What comes again, or is to be refused, has nothing to
    /// wait for.
    pub fn is_new(&self, place: u64) -> bool {
        match self.waiting.front() {
            Some((first, Call { what: What::Block(NewBlock { claim: Some(claim), .. }), .. })) if *first == place => {
                claim.is_new()
            }
            _ => true,
        }
    }

    /// The first call has nothing to wait for.
    pub fn let_pass(&mut self) {
        if let Some((_, call)) = self.waiting.front_mut() {
            call.to_admit = None;
        }
    }

    /// The rate has let so many records pass for the first call; `false` when it is not at this place.
    pub fn admit(&mut self, place: u64, records: u64) -> bool {
        let Some((_, call)) = self.waiting.front_mut().filter(|(first, _)| *first == place) else { return false };
        call.admitted += records;
        call.to_admit = call.to_admit.map(|open| open.saturating_sub(records)).filter(|open| *open > 0);
        true
    }

    /// Takes the first call, if it is the one at this place.
    pub fn take(&mut self, place: u64) -> Option<Call> {
        self.waiting.pop_front_if(|(first, _)| *first == place).map(|(_, call)| call)
    }

    /// Takes a call that waits out of the order.
    pub fn remove(&mut self, place: u64) -> Option<Call> {
        let at = self.waiting.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.waiting.remove(at).map(|(_, call)| call)
    }

    /// Puts a record whose turn it is into the block in the making. `open` stands for the block if this is its first record.
    pub fn take_record(&mut self, record: &RecordBlock, full_bytes: usize, open: impl FnOnce() -> OpenBlock) {
        self.block.append(record);
        self.block_open.get_or_insert_with(open);
        self.is_due = self.block.bytes() >= full_bytes;
    }

    /// Takes the records of the block in the making: how many, and their bytes.
    pub fn finish_block(&mut self) -> Option<(u64, ByteView, OpenBlock)> {
        self.is_due = false;
        let open = self.block_open.take()?;
        Some((self.block.records(), self.block.finish(), open))
    }

    /// Takes out everything that waits, and gives up the block in the making. Who waits is to be [refused](Refused::tell) when the
    /// lock is given back: telling a caller wakes its task, which is not ours.
    pub fn refuse_all(&mut self) -> Refused {
        self.finish_block();
        Refused(std::mem::take(&mut self.waiting).into_iter().map(|(_, call)| call.refuse()).collect())
    }
}

/// What a caller is told of a record that is in the block in the making: no more than that it will be logged.
pub(super) const TAKEN: Answer = Ok(Stored::Logged);
