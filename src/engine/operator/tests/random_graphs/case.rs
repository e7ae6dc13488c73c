//! Random cases: a graph of operators, batches, and when the job dies.
//!
//! To add an operator: its name in [`operators!`], how it is declared (`graph.rs`), what it means (`model.rs`), and where it is
//! not one record out for one record in, how many there may be ([`Builder::size`]).

use proptest::collection::vec;
use proptest::prelude::*;

use super::values::ALL_KEYS;

/// The batch interval, in milliseconds.
pub const INTERVAL_MS: u64 = 100;

macro_rules! operators {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            Source,
            $($name),*
        }

        /// All but the sources.
        const OPERATORS: &[Op] = &[$(Op::$name),*];
    };
}

operators! {
    Map, FlatMap, Filter, MapValues, FlatMapValues, MapPartitions, Glom, Inspect, Cache, Union, Count, Reduce, ReduceByKey,
    CountByValue, GroupByKey, CombineByKey, PartitionBy, PartitionByFunction, Repartition, Cogroup, Join, LeftOuterJoin,
    RightOuterJoin, FullOuterJoin, Transform, TransformWith, UpdateStateByKey, MapWithState, Window, ReduceByKeyAndWindow,
    ReduceByKeyAndWindowInverse, ReduceByKeyAndWindowFiltered, ReduceByWindow, ReduceByWindowInverse, CountByWindow,
    CountByValueAndWindow, GroupByKeyAndWindow, JoinReference, LeftOuterJoinReference, SubtractReference,
}

/// One operator as it is drawn: numbers that mean something only once the graph before it is known.
#[derive(Clone, Debug)]
pub struct Wish {
    op: Op,
    one: usize,
    other: usize,
    length: u64,
    slide: u64,
    number: usize,
    flag: bool,
    collected: bool,
}

/// One operator of a graph.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    /// The inputs, which come before it.
    pub one: usize,
    pub other: usize,
    /// How often it yields, in milliseconds.
    pub slide_ms: u64,
    /// How long its window is, in milliseconds.
    pub length_ms: u64,
    /// What else there is to choose.
    pub number: usize,
    pub flag: bool,
    pub collected: bool,
    /// How many records and partitions a batch has at the most, about.
    size: (usize, usize),
}

impl Node {
    /// A line about the node of this number.
    pub fn describe(&self, at: usize) -> String {
        let Self { op, one, other, slide_ms, length_ms, number, flag, .. } = self;
        let collected = if self.collected { ", collected" } else { "" };
        format!(
            "node {at}: {op:?} of {one} (and {other}), slides by {slide_ms}, length {length_ms}, number {number}, {flag}{collected}"
        )
    }
}

/// What happens after a batch.
#[derive(Clone, Debug)]
pub enum After {
    Nothing,
    Crash { workers: u32, down_ms: u64 },
    Stop { workers: u32 },
}

#[derive(Clone, Debug)]
pub struct Batch {
    /// The blocks of each source: keys and values.
    pub blocks: [Vec<Vec<(u64, u64)>>; SOURCES],
    /// Ticks that pass without a batch before it.
    pub merged_ticks: u64,
    pub after: After,
}

pub const SOURCES: usize = 3;

#[derive(Clone, Debug)]
pub struct Case {
    pub wishes: Vec<Wish>,
    pub batches: Vec<Batch>,
    pub workers: u32,
    pub checkpoint_every: u64,
}

pub fn cases() -> impl Strategy<Value = Case> {
    let (wishes, batches) = (vec(wish(), 1..12), vec(batch(), 3..11));
    (wishes, batches, 1..=4_u32, 1..=5_u64).prop_map(|(wishes, batches, workers, checkpoint_every)| Case {
        wishes,
        batches,
        workers,
        checkpoint_every,
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let op = prop::sample::select(OPERATORS);
    let collected = prop::bool::weighted(0.3);
    (op, 0..5_usize, 0..20_usize, 0..7_u64, 0..3_u64, 0..12_usize, any::<bool>(), collected).prop_map(
        |(op, one, other, length, slide, number, flag, collected)| Wish {
            op,
            one,
            other,
            length,
            slide,
            number,
            flag,
            collected,
        },
    )
}

fn batch() -> impl Strategy<Value = Batch> {
    let merged_ticks = prop_oneof![6 => Just(0_u64), 2 => 1..8_u64, 1 => 8..40_u64];
    let blocks = || prop_oneof![2 => Just(Vec::new()), 3 => vec(block(), 0..5)];
    (blocks(), blocks(), blocks(), merged_ticks, after()).prop_map(|(one, two, three, merged_ticks, after)| Batch {
        blocks: [one, two, three],
        merged_ticks,
        after,
    })
}

fn block() -> impl Strategy<Value = Vec<(u64, u64)>> {
    // Few records often, so that keys stay away for some batches and come again.
    let (keys, most) = (prop_oneof![Just(1_u64), Just(4), Just(ALL_KEYS)], prop_oneof![Just(3_usize), Just(21)]);
    (keys, most).prop_flat_map(|(keys, most)| vec((0..keys, 0..10_000_u64), 0..most))
}

fn after() -> impl Strategy<Value = After> {
    prop_oneof![
        8 => Just(After::Nothing),
        2 => (1..=4_u32, 0..700_u64).prop_map(|(workers, down_ms)| After::Crash { workers, down_ms }),
        1 => (1..=4_u32).prop_map(|workers| After::Stop { workers }),
    ]
}

/// Larger batches are not made.
const MOST_RECORDS: usize = 3_000;
const MOST_PARTITIONS: usize = 600;
/// No stream slides by more.
const LONGEST_SLIDE_MS: u64 = 1_200;
/// Longer than every run.
const FOR_EVER: u64 = 1_000;
/// No run has more batches, with those of graceful stops.
const BATCHES: u64 = 20;

impl Case {
    /// The graph that the wishes give, whichever they are. Inputs come before what they are inputs of.
    pub fn graph(&self) -> Vec<Node> {
        let source = |_| Node {
            op: Op::Source,
            one: 0,
            other: 0,
            slide_ms: INTERVAL_MS,
            length_ms: 0,
            number: 0,
            flag: false,
            collected: false,
            size: (80, 4),
        };
        let mut builder = Builder { nodes: (0..SOURCES).map(source).collect() };
        self.wishes.iter().for_each(|wish| builder.add(wish));
        builder.nodes.last_mut().expect("there are sources").collected = true;
        builder.nodes
    }
}

struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    fn add(&mut self, wish: &Wish) {
        // One of the last few, so that graphs grow deep.
        let one = (self.nodes.len() - 1).saturating_sub(wish.one);
        let parent_ms = self.nodes[one].slide_ms;
        let alike: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].slide_ms == parent_ms).collect();
        let other = alike[wish.other % alike.len()];
        let longer_ms = parent_ms * (wish.slide + 1);
        let slides = format!("{:?}", wish.op).contains("Window") && longer_ms <= LONGEST_SLIDE_MS;
        let mut node = Node {
            op: wish.op,
            one,
            other,
            slide_ms: if slides { longer_ms } else { parent_ms },
            length_ms: parent_ms * if wish.length == 6 { FOR_EVER } else { wish.length + 1 },
            number: wish.number,
            flag: wish.flag,
            collected: wish.collected,
            size: (0, 0),
        };
        node.size = self.size(&node);
        if node.size.0 > MOST_RECORDS || node.size.1 > MOST_PARTITIONS {
            node.op = Op::ReduceByKey;
            node.slide_ms = parent_ms;
            node.size = (ALL_KEYS as usize, 8);
        }
        self.nodes.push(node);
    }

    /// How many records and partitions there are at the most, about.
    fn size(&self, node: &Node) -> (usize, usize) {
        let keys = ALL_KEYS as usize + 1;
        let (one, other) = (self.nodes[node.one].size, self.nodes[node.other].size);
        let batches = (node.length_ms / self.nodes[node.one].slide_ms).min(BATCHES) as usize;
        match node.op {
            Op::FlatMap | Op::FlatMapValues => (one.0 * 2, one.1),
            Op::MapPartitions => (one.0 + one.1, one.1),
            Op::Glom => (one.1, one.1),
            Op::Union => (one.0 + other.0, one.1 + other.1),
            Op::Count | Op::Reduce | Op::ReduceByWindow | Op::ReduceByWindowInverse | Op::CountByWindow => (1, 8),
            Op::ReduceByKey | Op::GroupByKey | Op::CombineByKey | Op::Cogroup | Op::UpdateStateByKey => (keys, 8),
            Op::ReduceByKeyAndWindow
            | Op::ReduceByKeyAndWindowInverse
            | Op::ReduceByKeyAndWindowFiltered
            | Op::GroupByKeyAndWindow => (keys, 8),
            Op::CountByValue | Op::PartitionBy => (one.0, 8),
            Op::PartitionByFunction | Op::Repartition => (one.0, node.number + 1),
            Op::Join | Op::LeftOuterJoin | Op::RightOuterJoin | Op::FullOuterJoin => (one.0 * other.0, 8),
            Op::Transform => (one.0 + 1, one.1 + 1),
            Op::TransformWith => (one.0 + other.0 + 1, one.1 + other.1 + 1),
            Op::MapWithState => (one.0 + 2 * keys, 16),
            Op::JoinReference | Op::LeftOuterJoinReference | Op::SubtractReference => (one.0 * 2, 8),
            Op::Window => (one.0 * batches, one.1 * batches),
            Op::CountByValueAndWindow => (one.0 * batches, 8),
            Op::Source | Op::Map | Op::Filter | Op::MapValues | Op::Inspect | Op::Cache => one,
        }
    }
}
