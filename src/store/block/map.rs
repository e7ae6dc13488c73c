//! Blocks by their sequence, in one sorted array: most come in the order of the log, and there may be millions of them.

use std::ops::Index;

use crate::block::BlockRef;
use floodmark_base::id::Sequence;

/// A map from sequences to blocks. A block takes its own size and nothing else; putting one in front of others moves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockMap(Vec<BlockRef>);

impl BlockMap {
    /// Adds a block, in the place of one with the same sequence.
    pub fn insert(&mut self, block: BlockRef) {
        if self.0.last().is_none_or(|last| last.at.sequence < block.at.sequence) {
            return self.0.push(block);
        }
        match self.place(block.at.sequence) {
            Ok(place) => self.0[place] = block,
            Err(place) => self.0.insert(place, block),
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&BlockRef) -> bool) {
        self.0.retain(|block| keep(block));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn get(&self, sequence: Sequence) -> Option<&BlockRef> {
        self.place(sequence).ok().map(|place| &self.0[place])
    }

    pub fn contains(&self, sequence: Sequence) -> bool {
        self.place(sequence).is_ok()
    }

    /// Where a block stands in [`iter`](Self::iter).
    pub fn place_of(&self, sequence: Sequence) -> Option<usize> {
        self.place(sequence).ok()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks in the order of the log.
    pub fn iter(&self) -> std::slice::Iter<'_, BlockRef> {
        self.0.iter()
    }

    fn place(&self, sequence: Sequence) -> Result<usize, usize> {
        self.0.binary_search_by_key(&sequence, |block| block.at.sequence)
    }
}

/// # Panics
/// When the block is not there.
impl Index<Sequence> for BlockMap {
    type Output = BlockRef;

    fn index(&self, sequence: Sequence) -> &BlockRef {
        self.get(sequence).expect("the block is there")
    }
}

impl FromIterator<BlockRef> for BlockMap {
    fn from_iter<I: IntoIterator<Item = BlockRef>>(blocks: I) -> Self {
        let mut blocks: Vec<BlockRef> = blocks.into_iter().collect();
        blocks.sort_by_key(|block| block.at.sequence);
        blocks.dedup_by_key(|block| block.at.sequence);
        Self(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockHead;
    use crate::wal::{FrameAt, WalVersion};
    use floodmark_base::id::{SegmentNumber, Uid};

    fn block(sequence: u64, records: u64) -> BlockRef {
        let (sequence, segment) = (Sequence(sequence), SegmentNumber(1));
        let at = FrameAt { sequence, segment, offset: 64, head_len: 9, body_len: 100, version: WalVersion::V2 };
        BlockRef::new(BlockHead { source: Uid::from("s"), position: None, records, record_type: None }, at)
    }

    #[test]
    fn it_is_a_map_in_the_order_of_the_log_however_blocks_come() {
        let mut blocks = BlockMap::default();
        [5, 9, 7, 1].into_iter().for_each(|sequence| blocks.insert(block(sequence, 1)));
        blocks.insert(block(7, 2));
        let sequences = |blocks: &BlockMap| blocks.iter().map(|block| block.at.sequence.0).collect::<Vec<_>>();
        assert_eq!(sequences(&blocks), [1, 5, 7, 9]);
        assert_eq!(blocks[Sequence(7)].records, 2);
        assert_eq!((blocks.place_of(Sequence(7)), blocks.place_of(Sequence(8))), (Some(2), None));
        blocks.retain(|block| block.at.sequence != Sequence(5));
        assert!(blocks.contains(Sequence(1)) && !blocks.contains(Sequence(5)));
        let collected: BlockMap = [9, 2, 4].into_iter().map(|sequence| block(sequence, 1)).collect();
        assert_eq!(sequences(&collected), [2, 4, 9]);
    }
}
