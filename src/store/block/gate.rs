//! Backpressure: how many bytes may be under way to the log, and how many may wait for a plan.
//!
//! Beyond the backlog, receivers are not read at all: a sender that is faster than the job is slowed by its own full
//! socket. Nothing is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::block::head::BLOCK_COST;
use crate::block::line::Line;

/// Bytes of received blocks, per job. Every block counts with its payload and [`BLOCK_COST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveLimits {
    /// Blocks whose payload is kept in memory; the payloads of others are in the log only.
    pub memory: u64,
    /// Blocks that are not planned; beyond it receivers wait.
    pub backlog: u64,
    /// Blocks given to the log and not acknowledged; beyond it receivers wait. Smaller than the log's own queue, so that
    /// appending does not block a thread that runs receivers.
    pub in_flight: u64,
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        Self { memory: 256 << 20, backlog: 1 << 30, in_flight: 16 << 20 }
    }
}

#[derive(Debug)]
pub struct Gate {
    limits: ReceiveLimits,
    fill: Mutex<Fill>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Fill {
    in_flight: u64,
    unplanned: u64,
    /// Who waits for room.
    line: Line,
}

/// The right to have some bytes under way to the log; given back when dropped.
#[derive(Debug)]
pub struct Room {
    gate: Arc<Gate>,
    bytes: u64,
}

/// A place in the line of those who wait for room. Only the first in it is given room, so a large block, which has to wait until
/// nothing else is under way, is not overtaken without end. Given up when dropped.
#[derive(Debug)]
pub struct Turn {
    gate: Arc<Gate>,
    number: u64,
}

impl Turn {
    /// Waits until a block with `payload` bytes may be under way. One larger than the limit passes when it is alone. May be asked again
    /// if the future is dropped: the place in the line stays.
    pub async fn room(&self, payload: u64) -> Room {
        let bytes = payload + BLOCK_COST;
        let room = |fill: &mut Fill, limits: &ReceiveLimits| {
            let passes = fill.in_flight == 0 || fill.in_flight + bytes <= limits.in_flight;
            (passes && fill.line.first() == Some(self.number)).then(|| fill.in_flight += bytes)
        };
        self.gate.until(room).await;
        Room { gate: Arc::clone(&self.gate), bytes }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.gate.fill().line.leave(self.number);
        self.gate.changed.notify_waiters();
    }
}

impl Gate {
    pub fn new(limits: ReceiveLimits) -> Self {
        Self { limits, fill: Mutex::default(), changed: Notify::new() }
    }

    fn fill(&self) -> MutexGuard<'_, Fill> {
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether receivers may be read.
    pub fn is_open(&self) -> bool {
        let fill = self.fill();
        fill.unplanned + fill.in_flight < self.limits.backlog
    }

    /// Waits until receivers may be read.
    pub async fn open(&self) {
        self.until(|fill, limits| (fill.unplanned + fill.in_flight < limits.backlog).then_some(())).await;
    }

    /// Takes a place at the end of the line of those who wait for room.
    pub fn line_up(self: &Arc<Self>) -> Turn {
        let number = self.fill().line.join();
        Turn { gate: Arc::clone(self), number }
    }

    /// Waits for room for one block.
    #[cfg(any(test, feature = "testing"))]
    pub async fn room(self: &Arc<Self>, payload: u64) -> Room {
        self.line_up().room(payload).await
    }

    async fn until<R>(&self, mut look: impl FnMut(&mut Fill, &ReceiveLimits) -> Option<R>) -> R {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on no change is missed, even before the first await.
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.fill(), &self.limits) {
                return found;
            }
            changed.await;
        }
    }

    /// A block that takes so many bytes waits for a plan.
    pub fn fill_up(&self, bytes: u64) {
        self.fill().unplanned += bytes;
    }

    /// Blocks that took so many bytes were planned.
    pub fn drain(&self, bytes: u64) {
        let mut fill = self.fill();
        assert!(fill.unplanned >= bytes, "{bytes} bytes planned, {} waited", fill.unplanned);
        fill.unplanned -= bytes;
        drop(fill);
        self.changed.notify_waiters();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.gate.fill().in_flight -= self.bytes;
        self.gate.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_gate_closes_at_the_backlog_and_opens_again_when_blocks_are_planned() {
        let gate = Arc::new(Gate::new(ReceiveLimits { backlog: 10, ..ReceiveLimits::default() }));
        gate.open().await;
        gate.fill_up(10);
        assert!(!gate.is_open());
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.open().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        gate.drain(1);
        waiter.await.unwrap();
    }

    #[tokio::test]
    async fn room_is_given_back_and_a_large_block_passes_alone() {
        let gate = Arc::new(Gate::new(ReceiveLimits { in_flight: 10, ..ReceiveLimits::default() }));
        let large = gate.room(100).await;
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.room(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(large);
        drop(waiter.await.unwrap());
        assert_eq!(gate.fill().in_flight, 0);
    }

    #[tokio::test]
    async fn a_large_block_that_waits_is_not_overtaken_by_small_ones() {
        let gate = Arc::new(Gate::new(ReceiveLimits { in_flight: 4 * BLOCK_COST, ..ReceiveLimits::default() }));
        let under_way = gate.room(1).await;
        let large = gate.line_up();
        let small = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.room(1).await }
        });
        for _ in 0..3 {
            // Whoever asks again keeps the place.
            tokio::select! {
                biased;
                _ = large.room(1_000 * BLOCK_COST) => panic!("it is not alone"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(!small.is_finished(), "there is room for it, and another one is before it");
        drop(under_way);
        let room = large.room(1_000 * BLOCK_COST).await;
        drop((large, room));
        drop(small.await.unwrap());
        let gone = gate.line_up();
        let next = gate.line_up();
        drop(gone);
        drop(next.room(1).await);
    }

    #[tokio::test]
    async fn a_block_under_way_counts_with_what_it_takes_beside_its_payload() {
        let gate = Arc::new(Gate::new(ReceiveLimits { in_flight: 2 * BLOCK_COST + 2, ..ReceiveLimits::default() }));
        let (first, _second) = (gate.room(1).await, gate.room(1).await);
        let waiter = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.room(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished(), "two blocks of a byte fill it");
        drop(first);
        drop(waiter.await.unwrap());
    }
}
