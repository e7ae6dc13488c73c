//! Runs a case as a job, with its crashes, and compares what came out with the model.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::case::{After, Case, Node, SOURCES};
use super::graph::{Handles, declare};
use super::model::{Part, Stream, streams};
use super::ticks::Ticks;
use super::values::{Pair, TestKey, value};
use crate::source::Pushed;
use crate::testing::TestJob;
use floodmark_base::clock::Clock;
use floodmark_base::error::Result;
use floodmark_base::id::{Batch, BatchId, BatchTime};

type Partitions<K> = Vec<Vec<Pair<K>>>;

/// What was seen of each collected node, by the batch.
type Seen<K> = BTreeMap<(usize, BatchId), (BatchTime, Partitions<K>)>;

/// A case under way.
struct Run<K> {
    job: TestJob<Handles<K>>,
    workers: Arc<AtomicU32>,
    checkpoint_every: u64,
    ticks: Ticks,
    /// What each source gave, batch by batch.
    sources: Vec<Stream<Pair<K>>>,
    seen: Seen<K>,
}

/// Whether a case does what the model says; otherwise what is different.
pub fn check<K: TestKey>(case: &Case) -> std::result::Result<(), String> {
    let graph = Arc::new(case.graph());
    run::<K>(case, &graph).map_err(|difference| {
        let nodes: Vec<String> = (0..).zip(&*graph).skip(SOURCES).map(|(at, node)| node.describe(at)).collect();
        format!("{difference}\n{}\n", nodes.join("\n"))
    })
}

fn run<K: TestKey>(case: &Case, graph: &Arc<Vec<Node>>) -> std::result::Result<(), String> {
    let mut run = Run::<K>::start(case, graph).map_err(|error| format!("the job does not start: {error}"))?;
    for (number, batch) in case.batches.iter().enumerate() {
        let blocks = batch.blocks.each_ref().map(|blocks| blocks.iter().map(|block| pairs(block)).collect());
        run.batch(blocks, batch.merged_ticks).map_err(|error| format!("batch {}: {error}", number + 1))?;
        run.then(&batch.after).map_err(|error| format!("after batch {}, {:?}: {error}", number + 1, batch.after))?;
    }
    run.look()?;
    run.compare(graph)
}

fn pairs<K: TestKey>(block: &[(u64, u64)]) -> Vec<Pair<K>> {
    block.iter().map(|(key, number)| (K::of(*key), value(*number))).collect()
}

impl<K: TestKey> Run<K> {
    fn start(case: &Case, graph: &Arc<Vec<Node>>) -> Result<Self> {
        let workers = Arc::new(AtomicU32::new(case.workers));
        let (present, checkpoint_every, graph) = (workers.clone(), case.checkpoint_every, graph.clone());
        let job = TestJob::configured(
            move |builder| {
                let workers = present.load(Ordering::Relaxed);
                builder
                    .workers(workers)
                    .checkpoint_every(checkpoint_every)
                    .recovery_target(Duration::from_secs(3_600))
                    .backpressure(false)
            },
            move |context| declare::<K>(context, &graph),
        )?;
        Ok(Self {
            job,
            workers,
            checkpoint_every,
            ticks: Ticks::default(),
            sources: vec![Vec::new(); SOURCES],
            seen: Seen::new(),
        })
    }

    /// One batch, for which the clock goes forward by its tick and those that merge with it.
    fn batch(&mut self, blocks: [Partitions<K>; SOURCES], merged_ticks: u64) -> std::result::Result<(), String> {
        let (queues, _) = self.job.handles();
        // All at once, so that they share the syncs of the log.
        let to_push =
            queues.iter().zip(&blocks).flat_map(|(queue, blocks)| blocks.iter().map(move |block| (queue, block)));
        let pushed: Vec<Pushed> = to_push.map(|(queue, block)| queue.enqueue(block.clone())).collect();
        pushed.into_iter().try_for_each(Pushed::wait).map_err(|error| error.to_string())?;
        let published = self.job.run_batch_after(1 + merged_ticks).map_err(|error| error.to_string())?;
        let next = self.ticks.next(self.job.clock().epoch_ms());
        let expected = Batch { id: BatchId(self.ticks.times.len() as u64 + 1), time: BatchTime(next) };
        same("the batch", &published, &expected)?;
        self.note_batch(next, blocks);
        // A checkpoint that is due is written before anything else happens, so that a seed always does the same.
        let (batch, every) = (published.id.0, self.checkpoint_every);
        let settled = self.job.running().wait_until(|status| batch - status.checkpoint.0 < every);
        settled.map(drop).map_err(|error| error.to_string())
    }

    /// The model learns of a batch: a partition for every block, and none for an empty one, which is not kept.
    fn note_batch(&mut self, time: u64, blocks: [Partitions<K>; SOURCES]) {
        self.ticks.times.push(time);
        for (source, blocks) in self.sources.iter_mut().zip(blocks) {
            let parts = (0..).zip(blocks.into_iter().filter(|block| !block.is_empty()));
            source.push(Some((time, parts.map(|(number, records)| Part { place: vec![number], records }).collect())));
        }
    }

    fn then(&mut self, after: &After) -> std::result::Result<(), String> {
        let text = |error: floodmark_base::error::Error| error.to_string();
        match after {
            After::Nothing => Ok(()),
            After::Crash { workers, down_ms } => {
                self.look()?;
                self.job.crash();
                self.workers.store(*workers, Ordering::Relaxed);
                let clock = self.job.clock();
                clock.advance_to(clock.epoch_ms() + down_ms);
                self.job.start().map_err(text)
            }
            After::Stop { workers } => {
                self.job.running().stop(true).map_err(text)?;
                self.workers.store(*workers, Ordering::Relaxed);
                // A graceful stop ends with a checkpoint; where the newest batch has none, one more is made.
                let status = self.job.running().status();
                if status.planned != BatchId(self.ticks.times.len() as u64) {
                    let next = self.ticks.next(self.job.clock().epoch_ms());
                    let expected = (BatchId(self.ticks.times.len() as u64 + 1), BatchTime(next));
                    same("the last batch", &(status.planned, status.planned_time), &expected)?;
                    self.note_batch(next, [Vec::new(), Vec::new(), Vec::new()]);
                }
                self.look()?;
                self.job.crash();
                self.job.start().map_err(text)?;
                same("batches after a graceful stop", &self.job.recovery().batches_replayed(), &0)
            }
        }
    }

    /// Notes what the present life put out. What comes again must be what it was.
    fn look(&mut self) -> std::result::Result<(), String> {
        for (node, collected) in self.job.handles().1 {
            for (batch, rdd) in collected.all() {
                let now = (batch.time, rdd.partitions().to_vec());
                if let Some(before) = self.seen.get(&(node, batch.id)) {
                    same(&format!("batch {} of node {node}, again", batch.id), &now, before)?;
                }
                self.seen.insert((node, batch.id), now);
            }
        }
        Ok(())
    }

    fn compare(&self, graph: &[Node]) -> std::result::Result<(), String> {
        let streams = streams(graph, &self.ticks, self.sources.clone());
        for (number, node) in graph.iter().enumerate().filter(|(_, node)| node.collected) {
            for (batch, expected) in (1..).map(BatchId).zip(&streams[number]) {
                let seen = self.seen.get(&(number, batch)).cloned();
                let expected = expected.as_ref().map(|(time, parts)| {
                    (BatchTime(*time), parts.iter().map(|part| part.records.clone()).collect::<Partitions<K>>())
                });
                let times = &self.ticks.times;
                same(&format!("batch {batch} of node {number}, {:?}, at {times:?}", node.op), &seen, &expected)?;
            }
        }
        Ok(())
    }
}

fn same<T: PartialEq + Debug>(what: &str, seen: &T, expected: &T) -> std::result::Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: seen {seen:?}, expected {expected:?}")) }
}
