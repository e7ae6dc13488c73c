//! What is logged and not yet planned, in the order of the log; and the payloads that memory still holds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use byteview::ByteView;

use crate::block::gate::{Gate, ReceiveLimits};
use crate::block::head::{BLOCK_COST, BlockRef};
use floodmark_base::id::{Position, Sequence, TypeHash, Uid};

/// Blocks that a batch takes at the most, whatever the limits: with what is kept of each until a checkpoint, 64 MiB.
const MOST_BLOCKS: usize = 1 << 19;

/// What a batch may take from the receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    pub records: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// What is logged and not yet planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    pub blocks: u64,
    pub records: u64,
    pub bytes: u64,
}

/// Holds every block from its acknowledgement by the log until it is planned, and its payload, where memory allows, until
/// it is forgotten. One per job, shared by the intake (which adds) and the driver (which takes).
#[derive(Debug)]
pub struct BlockTracker {
    memory_limit: u64,
    gate: Arc<Gate>,
    /// What the blocks of each source hold, for the heads of new ones.
    record_types: HashMap<Uid, TypeHash>,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    /// Ascending by sequence.
    unplanned: VecDeque<BlockRef>,
    pending: Pending,
    payloads: HashMap<Sequence, ByteView>,
    /// What the blocks of these payloads count.
    payload_cost: u64,
    logged: HashMap<Uid, Position>,
    planned: HashMap<Uid, Position>,
}

impl BlockTracker {
    /// `positions`: how far each source was taken, as the checkpoint says; what the log adds comes by [`accept`](Self::accept).
    pub fn new(limits: ReceiveLimits, positions: impl IntoIterator<Item = (Uid, Position)>) -> Self {
        let logged: HashMap<_, _> = positions.into_iter().collect();
        let blocks = Blocks { planned: logged.clone(), logged, ..Blocks::default() };
        Self {
            memory_limit: limits.memory,
            gate: Arc::new(Gate::new(limits)),
            record_types: HashMap::new(),
            blocks: Mutex::new(blocks),
        }
    }

    /// Says what the blocks of each source hold.
    pub fn with_record_types(self, types: impl IntoIterator<Item = (Uid, TypeHash)>) -> Self {
        Self { record_types: types.into_iter().collect(), ..self }
    }

    /// What the blocks of a source hold, where it is known.
    pub fn record_type(&self, source: &Uid) -> Option<TypeHash> {
        self.record_types.get(source).copied()
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate that bounds what stands here.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Takes in a block that the log holds durably (I-1). The payload is kept while memory allows; what does not fit is
    /// read back from the log by whoever computes it. Since the oldest came first, the oldest stay.
    pub fn accept(&self, block: BlockRef, payload: Option<ByteView>) {
        let mut blocks = self.blocks();
        self.gate.fill_up(block.cost());
        blocks.pending.blocks += 1;
        blocks.pending.records += block.records;
        blocks.pending.bytes += block.bytes;
        raise(&mut blocks.logged, &block);
        if let Some(payload) = payload
            && blocks.payload_cost + block.cost() <= self.memory_limit
        {
            blocks.payload_cost += block.cost();
            let before = blocks.payloads.insert(block.at.sequence, payload);
            assert!(before.is_none(), "block {} was accepted twice", block.at.sequence);
        }
        // The log acknowledges in order; this search ends at once unless somebody else reorders.
        let place = blocks.unplanned.iter().rposition(|other| other.at.sequence < block.at.sequence);
        blocks.unplanned.insert(place.map_or(0, |before| before + 1), block);
    }

    /// Notes that a block from the log was planned before this life began: only its position counts.
    pub fn accept_planned(&self, block: &BlockRef) {
        let mut blocks = self.blocks();
        raise(&mut blocks.logged, block);
        raise(&mut blocks.planned, block);
    }

    /// Takes the oldest blocks that fit into the limits, in the order of the log; at least one, if there is any, even when
    /// it alone exceeds a limit. What does not fit stays for the next batch.
    pub fn take(&self, limits: BatchLimits) -> Vec<BlockRef> {
        let mut taken = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        let mut blocks = self.blocks();
        while let Some(block) = blocks.unplanned.front() {
            let fits = records + block.records <= limits.records && bytes + block.bytes <= limits.bytes;
            if taken.len() >= MOST_BLOCKS || !(fits || taken.is_empty()) {
                break;
            }
            records += block.records;
            bytes += block.bytes;
            taken.extend(blocks.unplanned.pop_front());
        }
        blocks.pending.blocks -= taken.len() as u64;
        blocks.pending.records -= records;
        blocks.pending.bytes -= bytes;
        for block in &taken {
            raise(&mut blocks.planned, block);
        }
        let waiting = blocks.unplanned.len();
        if shrinks(waiting, blocks.unplanned.capacity()) {
            blocks.unplanned.shrink_to(2 * waiting);
        }
        self.gate.drain(bytes + taken.len() as u64 * BLOCK_COST);
        taken
    }

    /// The payload, if memory still holds it.
    pub fn payload(&self, sequence: Sequence) -> Option<ByteView> {
        self.blocks().payloads.get(&sequence).cloned()
    }

    /// Gives up the payloads of blocks that nobody will compute again in this life.
    pub fn forget(&self, sequences: impl Iterator<Item = Sequence>) {
        let mut blocks = self.blocks();
        for sequence in sequences {
            if let Some(payload) = blocks.payloads.remove(&sequence) {
                blocks.payload_cost -= payload.len() as u64 + BLOCK_COST;
            }
        }
        let held = blocks.payloads.len();
        if shrinks(held, blocks.payloads.capacity()) {
            blocks.payloads.shrink_to(2 * held);
        }
    }

    /// What is logged and not yet planned.
    pub fn pending(&self) -> Pending {
        self.blocks().pending
    }

    /// What the blocks take whose payloads are in memory.
    #[cfg(any(test, feature = "testing"))]
    pub fn payload_cost(&self) -> u64 {
        self.blocks().payload_cost
    }

    /// The oldest block that waits for a plan: the log is needed from there on.
    pub fn oldest_unplanned(&self) -> Option<Sequence> {
        self.blocks().unplanned.front().map(|block| block.at.sequence)
    }

    /// How far a source's blocks are logged.
    pub fn position(&self, source: &Uid) -> Option<Position> {
        self.blocks().logged.get(source).copied()
    }

    /// How far each source's blocks are logged, by uid.
    #[cfg(any(test, feature = "testing"))]
    pub fn positions(&self) -> Vec<(Uid, Position)> {
        sorted(&self.blocks().logged)
    }

    /// How far each source's blocks are planned, by uid: what a checkpoint after the newest plan covers.
    pub fn planned_positions(&self) -> Vec<(Uid, Position)> {
        sorted(&self.blocks().planned)
    }
}

/// Whether a collection has so much room to spare that it is given back: after a backlog there may be none for weeks.
fn shrinks(len: usize, capacity: usize) -> bool {
    capacity > 1024 && len < capacity / 8
}

fn raise(positions: &mut HashMap<Uid, Position>, block: &BlockRef) {
    let Some(position) = block.position else { return };
    match positions.get_mut(&block.source) {
        Some(known) => *known = position.max(*known),
        None => {
            positions.insert(block.source.clone(), position);
        }
    }
}

fn sorted(positions: &HashMap<Uid, Position>) -> Vec<(Uid, Position)> {
    let mut positions: Vec<_> = positions.iter().map(|(uid, position)| (uid.clone(), *position)).collect();
    positions.sort();
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::FrameAt;
    use proptest::prelude::*;

    const ANY: BatchLimits = BatchLimits { records: u64::MAX, bytes: u64::MAX };

    fn block(sequence: u64, records: u64, bytes: u32) -> BlockRef {
        let sequence = Sequence(sequence);
        let at = FrameAt::in_memory(sequence, bytes);
        let position = Some(Position(sequence.0));
        BlockRef { source: Uid::from("s"), position, records, bytes: bytes.into(), record_type: None, at }
    }

    fn tracker(memory: u64) -> BlockTracker {
        BlockTracker::new(ReceiveLimits { memory, ..ReceiveLimits::default() }, [])
    }

    fn sequences(blocks: &[BlockRef]) -> Vec<u64> {
        blocks.iter().map(|block| block.at.sequence.0).collect()
    }

    #[test]
    fn blocks_are_taken_in_the_order_of_the_log() {
        let tracker = tracker(0);
        for sequence in [2, 1, 4, 3] {
            tracker.accept(block(sequence, 1, 1), None);
        }
        assert_eq!(tracker.oldest_unplanned(), Some(Sequence(1)));
        assert_eq!(sequences(&tracker.take(ANY)), [1, 2, 3, 4]);
        assert_eq!(tracker.oldest_unplanned(), None);
    }

    #[test]
    fn what_does_not_fit_waits_for_the_next_batch() {
        let tracker = tracker(0);
        (1..=5).for_each(|sequence| tracker.accept(block(sequence, 10, 100), None));
        assert_eq!(sequences(&tracker.take(BatchLimits { records: 25, bytes: 1000 })), [1, 2]);
        assert_eq!(sequences(&tracker.take(BatchLimits { records: 1000, bytes: 150 })), [3]);
        assert_eq!(tracker.pending(), Pending { blocks: 2, records: 20, bytes: 200 });
    }

    #[test]
    fn a_block_that_alone_exceeds_a_limit_is_taken_alone() {
        let tracker = tracker(0);
        tracker.accept(block(1, 1000, 1000), None);
        tracker.accept(block(2, 1, 1), None);
        assert_eq!(sequences(&tracker.take(BatchLimits { records: 10, bytes: 10 })), [1]);
    }

    #[test]
    fn payloads_beyond_the_memory_limit_are_not_kept() {
        let tracker = tracker(250 + 2 * BLOCK_COST);
        for sequence in 1..=3 {
            tracker.accept(block(sequence, 1, 100), Some(ByteView::from(vec![0; 100])));
        }
        assert!(tracker.payload(Sequence(2)).is_some());
        assert!(tracker.payload(Sequence(3)).is_none());
        tracker.take(ANY);
        assert!(tracker.payload(Sequence(1)).is_some(), "a planned block is still to be computed");
        tracker.forget((1..=3).map(Sequence));
        assert_eq!((tracker.payload_cost(), tracker.payload(Sequence(1))), (0, None));
    }

    #[test]
    fn a_waiting_block_counts_in_the_backlog_with_what_it_takes_beside_its_payload() {
        let limits = ReceiveLimits { backlog: 3 * (1 + BLOCK_COST), ..ReceiveLimits::default() };
        let tracker = BlockTracker::new(limits, []);
        (1..=2).for_each(|sequence| tracker.accept(block(sequence, 1, 1), None));
        assert!(tracker.gate().is_open());
        tracker.accept(block(3, 1, 1), None);
        assert!(!tracker.gate().is_open());
        assert_eq!(tracker.pending().bytes, 3, "what is shown is payload");
        tracker.take(BatchLimits { bytes: 1, ..ANY });
        assert!(tracker.gate().is_open());
    }

    #[test]
    fn a_batch_takes_a_bounded_number_of_blocks_and_a_backlog_that_is_gone_leaves_no_room_behind() {
        let tracker = tracker(u64::MAX);
        let payload = ByteView::from([1]);
        let blocks = MOST_BLOCKS as u64 + 10;
        (1..=blocks).for_each(|sequence| tracker.accept(block(sequence, 1, 1), Some(payload.clone())));
        assert_eq!((tracker.take(ANY).len(), tracker.take(ANY).len()), (MOST_BLOCKS, 10));
        tracker.forget((1..=blocks).map(Sequence));
        let kept = tracker.blocks();
        assert!(kept.unplanned.capacity() <= 1024, "{}", kept.unplanned.capacity());
        assert!(kept.payloads.capacity() <= 1024, "{}", kept.payloads.capacity());
    }

    #[test]
    fn positions_are_those_given_at_start_and_what_was_logged_since() {
        let restored = [(Uid::from("a"), Position(7)), (Uid::from("s"), Position(1))];
        let tracker = BlockTracker::new(ReceiveLimits::default(), restored);
        tracker.accept_planned(&block(5, 1, 1));
        tracker.accept(block(9, 1, 1), None);
        assert_eq!(tracker.positions(), [(Uid::from("a"), Position(7)), (Uid::from("s"), Position(9))]);
        assert_eq!(tracker.planned_positions(), [(Uid::from("a"), Position(7)), (Uid::from("s"), Position(5))]);
        tracker.take(ANY);
        assert_eq!(tracker.planned_positions(), tracker.positions());
    }

    proptest! {
        #[test]
        fn every_block_is_taken_once_and_in_order(
            sizes in prop::collection::vec((0_u64..50, 0_u32..50), 0..60),
            limits in prop::collection::vec((0_u64..100, 0_u64..100), 1..20),
        ) {
            let limit = 500 + 20 * BLOCK_COST;
            let tracker = tracker(limit);
            for (index, &(records, bytes)) in sizes.iter().enumerate() {
                let payload = ByteView::from(vec![0; bytes as usize]);
                tracker.accept(block(index as u64 + 1, records, bytes), Some(payload));
                prop_assert!(tracker.payload_cost() <= limit);
            }
            let mut taken = Vec::new();
            for &(records, bytes) in limits.iter().cycle().take(sizes.len()) {
                let batch = tracker.take(BatchLimits { records, bytes });
                let fits = batch.iter().map(|block| block.records).sum::<u64>() <= records
                    && batch.iter().map(|block| block.bytes).sum::<u64>() <= bytes;
                prop_assert!(fits || batch.len() == 1);
                taken.extend(sequences(&batch));
            }
            prop_assert_eq!(taken, (1..=sizes.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(tracker.pending(), Pending::default());
        }
    }
}
