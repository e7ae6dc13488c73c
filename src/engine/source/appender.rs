//! The task that hands in the calls of one source, one after the other, in the order in which they were called.
//!
//! It runs as long as the source's receiver may store, and is its own task, so that no call waits for a future that nobody polls. What
//! is to be done next is decided in [`calls`](super::calls); what holds it up are the backlog and the rate (for records that were not
//! admitted yet), and the room on the way to the log.

use std::future::pending;
use std::sync::Arc;

use crate::source::calls::{Caller, Step, TAKEN, What};
use crate::source::store::BlockStore;
use floodmark_base::error::{Error, ErrorKind};
use floodmark_store::block::{NewBlock, Offered, Room, StoreError, Turn};

/// Hands in calls until the store is closed and all of them are handed in. When it ends otherwise, every call is told that the job has
/// stopped.
pub(crate) async fn hand_in_calls(store: Arc<BlockStore>) {
    let end = EndOfCalls(Arc::clone(&store));
    let interval = store.settings().block_interval;
    let mut cut = store.clock().sleep(interval);
    let mut turn = None;
    loop {
        let step = {
            if let Err(failure) = store.check() {
                let refused = store.calls().refuse_all();
                refused.tell(&failure);
            }
            let mut calls = store.calls();
            match calls.next() {
                Step::Admit { place, .. } if !calls.is_new(place) => {
                    calls.let_pass();
                    calls.next()
                }
                step => step,
            }
        };
        if step == Step::End {
            break;
        }
        if !matches!(step, Step::Cut { .. } | Step::HandIn { .. }) {
            turn = None;
        }
        tokio::select! {
            biased;
            () = &mut cut => {
                store.cut();
                cut = store.clock().sleep(interval);
            }
            () = perform(&store, step, &mut turn) => {}
            // A call was made or dropped: the next step may be another one.
            () = store.changed() => {}
        }
    }
    drop(end);
}

/// Waits for room for a block, in the source's turn, which it keeps if this is dropped while it waits.
async fn room(store: &BlockStore, bytes: usize, turn: &mut Option<Turn>) -> Room {
    let room = turn.get_or_insert_with(|| store.intake.gate().line_up()).room(bytes as u64).await;
    *turn = None;
    room
}

/// Does the step, or nothing if it is dropped while it waits.
async fn perform(store: &BlockStore, step: Step, turn: &mut Option<Turn>) {
    match step {
        Step::Wait | Step::End => pending().await,
        Step::Cut { bytes } => {
            let room = room(store, bytes, turn).await;
            if let Some((records, payload, open)) = store.finish_block() {
                store.offer(NewBlock { claim: None, records, payload }, None, (room, open));
            }
        }
        Step::Admit { place, records } => {
            let admitted = admit(store, records).await;
            if !store.calls().admit(place, admitted) {
                store.rate().give_back(admitted);
            }
        }
        Step::Take { place } => {
            let mut calls = store.calls();
            if let Some((What::Record(record), caller, open)) = calls.take(place).map(|call| call.into_parts()) {
                calls.take_record(&record, store.settings().block_bytes, || open);
                drop(calls);
                caller.tell(TAKEN);
            }
        }
        Step::HandIn { place, bytes } => {
            let room = room(store, bytes, turn).await;
            let call = store.calls().take(place);
            if let Some((What::Block(block), caller, open)) = call.map(|call| call.into_parts()) {
                match caller {
                    Caller::Stored(to) => {
                        store.offer(block, Some(to), (room, open));
                    }
                    Caller::HandedIn(_) => {
                        let offered = store.offer(block, None, (room, open));
                        caller.tell(if offered == Offered::Refused { store.check().and(TAKEN) } else { TAKEN });
                    }
                }
            }
        }
    }
}

/// Waits until at least one and at most `records` may be received, and gives how many: the backlog has room and the rate allows it.
/// While the job stops, what was called for already is not held up.
async fn admit(store: &BlockStore, records: u64) -> u64 {
    let allowed = async {
        store.gate_open().await;
        store.rate().acquire_up_to(records).await
    };
    tokio::select! {
        biased;
        () = store.stopped() => records,
        admitted = allowed => admitted,
    }
}

/// However the task ends, no call waits for it any more. It may not end by a panic unnoticed: what was not handed in would be missing.
struct EndOfCalls(Arc<BlockStore>);

impl Drop for EndOfCalls {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = format!("the task that hands in the blocks of source {} panicked, which is a bug", self.0.uid());
            self.0.intake.break_off(Error::new(ErrorKind::Stopped, what));
        }
        self.0.close();
        let refused = self.0.calls().refuse_all();
        refused.tell(&StoreError::Stopped);
    }
}
