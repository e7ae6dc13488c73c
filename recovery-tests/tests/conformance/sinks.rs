//! Sinks: those to memory and to files, also after deaths in the middle, and one broken sink for each rule about faults.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use floodmark::testing::{SinkPlace, check_sink};
use floodmark::{BatchId, Epoch, FileSink, Lineage, MemorySink, PublishedBatch, Sink, SinkError};
use tempfile::TempDir;

use super::assert_broken;

struct Memory(MemorySink<u64>);

impl SinkPlace for Memory {
    type Item = u64;
    type Sink = MemorySink<u64>;

    fn open(&mut self) -> MemorySink<u64> {
        self.0.clone()
    }

    fn record(&self, number: u64) -> u64 {
        number
    }

    fn visible(&mut self) -> Vec<u64> {
        self.0.contents()
    }
}

/// Text files; a life can die in the middle of a batch.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// The batch as it is written, elsewhere.
    fn written(batch: &PublishedBatch<String>) -> (TempDir, PathBuf) {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut sink = FileSink::new(elsewhere.path());
        Sink::<String>::fence(&mut sink, batch.epoch, batch.lineage).unwrap();
        sink.publish(batch).unwrap();
        let directory = sink.batch_directory(batch.batch);
        (elsewhere, directory)
    }
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

impl SinkPlace for Files {
    type Item = String;
    type Sink = FileSink;

    fn open(&mut self) -> FileSink {
        FileSink::new(self.out())
    }

    fn record(&self, number: u64) -> String {
        format!("record {number}")
    }

    fn visible(&mut self) -> Vec<String> {
        let shown = |path: &PathBuf| !name(path).starts_with(['.', '_']);
        let batches = if self.out().exists() { sorted(&self.out()) } else { Vec::new() };
        let parts = batches.into_iter().filter(shown).flat_map(|batch| sorted(&batch)).filter(shown);
        parts.flat_map(|part| fs::read_to_string(part).unwrap().lines().map(String::from).collect::<Vec<_>>()).collect()
    }

    /// Nothing but the directory; a file more each, half first; all without the name; and the name at last.
    fn die_publishing(&mut self, batch: &PublishedBatch<String>, step: usize) -> bool {
        let (_elsewhere, written) = Self::written(batch);
        let files = sorted(&written);
        if step > 2 * files.len() + 1 {
            return false;
        }
        let unfinished = self.out().join(format!(".{}-{}", name(&written), batch.epoch));
        fs::create_dir(&unfinished).unwrap();
        for (at, file) in files.iter().enumerate().take(step.div_ceil(2)) {
            let bytes = fs::read(file).unwrap();
            let is_half = step % 2 == 1 && at == step / 2;
            let bytes = if is_half { &bytes[..bytes.len() / 2] } else { &bytes[..] };
            fs::write(unfinished.join(name(file)), bytes).unwrap();
        }
        if step == 2 * files.len() + 1 {
            fs::rename(&unfinished, self.out().join(name(&written))).unwrap();
        }
        true
    }
}

#[test]
fn the_memory_sink_keeps_the_contract() {
    check_sink(|| Memory(MemorySink::new()));
}

#[test]
fn the_file_sink_keeps_the_contract_also_after_deaths_in_the_middle() {
    check_sink(Files::new);
}

/// What a sink may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Records within a partition are sorted.
    SortsRecords,
    /// Equal records of a partition become one.
    DropsEqualRecords,
    /// Batches are in the order of the last two digits of their numbers.
    OrdersByTwoDigits,
    /// What a new life hands over again is appended.
    RemembersOnlyInItsLife,
    /// A repetition is recognised, and then forgotten.
    RecognisesOneRepetition,
    /// Only the newest batch is known.
    KnowsTheNewestOnly,
    /// The newest contents stand.
    ReplacesBatches,
    /// What a death left is not cleared away, and becomes a part of the next batch.
    KeepsHalfABatch,
    /// Half a batch is visible.
    PublishesRecordByRecord,
    /// The fence is kept in memory.
    ForgetsItsFence,
    /// The fence falls with the driver that set it.
    FenceEndsWithItsDriver,
    /// Whoever asks is let in, if it was let in before.
    LetsInWhoWasIn,
    /// Only new batches are looked at by the fence: what is held is written again.
    FencesNewBatchesOnly,
    /// A refused batch is remembered, and the same one of the newer driver is taken for it.
    RemembersRefusedBatches,
    /// A refused batch counts as held when somebody asks for the last one.
    CountsRefusedBatches,
}

/// What stands at the place, whoever opens it.
#[derive(Default)]
struct Held {
    batches: Vec<PublishedBatch<u64>>,
    fence: Option<(Epoch, Lineage)>,
    half: Vec<u64>,
    refused: Vec<BatchId>,
    repeated: Vec<BatchId>,
}

/// A sink that would keep the contract, but for one flaw.
struct Flawed {
    held: Arc<Mutex<Held>>,
    flaw: Flaw,
    /// What this life knows by itself.
    own_fence: Option<(Epoch, Lineage)>,
    own_batches: Vec<BatchId>,
}

struct FlawedPlace(Arc<Mutex<Held>>, Flaw);

fn fenced(epoch: Epoch, newer: Epoch) -> SinkError {
    SinkError::Fenced { place: "the flawed sink".to_string(), epoch, newer }
}

impl Sink<u64> for Flawed {
    fn fence(&mut self, epoch: Epoch, lineage: Lineage) -> Result<Option<BatchId>, SinkError> {
        let mut held = self.held.lock().unwrap();
        let was_in = self.flaw == Flaw::LetsInWhoWasIn && self.own_fence == Some((epoch, lineage));
        if let Some((newer, _)) = held.fence.filter(|(newer, _)| *newer > epoch && !was_in) {
            return Err(fenced(epoch, newer));
        }
        held.fence = Some((epoch, lineage));
        self.own_fence = held.fence;
        if self.flaw != Flaw::KeepsHalfABatch {
            held.half.clear();
        }
        let of_lineage = held.batches.iter().filter(|batch| batch.lineage == lineage).map(|batch| batch.batch);
        let refused = held.refused.iter().copied().filter(|_| self.flaw == Flaw::CountsRefusedBatches);
        Ok(of_lineage.chain(refused).max())
    }

    fn publish(&mut self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        let mut held = self.held.lock().unwrap();
        let of = |held: &Held| {
            let is_it = |there: &PublishedBatch<u64>| (there.lineage, there.batch) == (batch.lineage, batch.batch);
            held.batches.iter().position(is_it)
        };
        let there = of(&held);
        let newer = held.fence.map(|(newer, _)| newer).filter(|newer| *newer > batch.epoch);
        if let Some(newer) = newer {
            if let (Flaw::FencesNewBatchesOnly, Some(_)) = (self.flaw, there) {
                held.batches.push(batch.clone());
                return Ok(());
            }
            held.refused.push(batch.batch);
            return Err(fenced(batch.epoch, newer));
        }
        let is_known = match self.flaw {
            Flaw::RemembersOnlyInItsLife => self.own_batches.contains(&batch.batch),
            Flaw::KnowsTheNewestOnly => {
                held.batches.last().is_some_and(|last| (last.lineage, last.batch) == (batch.lineage, batch.batch))
            }
            Flaw::RemembersRefusedBatches => there.is_some() || held.refused.contains(&batch.batch),
            Flaw::ReplacesBatches => false,
            Flaw::RecognisesOneRepetition => there.is_some() && !held.repeated.contains(&batch.batch),
            _ => there.is_some(),
        };
        if is_known {
            held.repeated.push(batch.batch);
            return Ok(());
        }
        let mut batch = batch.clone();
        match self.flaw {
            Flaw::SortsRecords => batch.partitions.iter_mut().for_each(|partition| partition.sort_unstable()),
            Flaw::DropsEqualRecords => batch.partitions.iter_mut().for_each(Vec::dedup),
            Flaw::KeepsHalfABatch => batch.partitions.insert(0, std::mem::take(&mut held.half)),
            _ => {}
        }
        self.own_batches.push(batch.batch);
        match (self.flaw, there) {
            (Flaw::ReplacesBatches, Some(at)) => held.batches[at] = batch,
            _ => held.batches.push(batch),
        }
        if self.flaw == Flaw::OrdersByTwoDigits {
            held.batches.sort_by_key(|batch| batch.batch.0 % 100);
        }
        Ok(())
    }
}

impl Drop for Flawed {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap();
        if self.flaw == Flaw::FenceEndsWithItsDriver && self.own_fence == held.fence {
            held.fence = None;
        }
    }
}

impl SinkPlace for FlawedPlace {
    type Item = u64;
    type Sink = Flawed;

    fn open(&mut self) -> Flawed {
        if self.1 == Flaw::ForgetsItsFence {
            // What a life knows is gone with it.
            self.0.lock().unwrap().fence = None;
        }
        Flawed { held: Arc::clone(&self.0), flaw: self.1, own_fence: None, own_batches: Vec::new() }
    }

    fn record(&self, number: u64) -> u64 {
        number
    }

    fn visible(&mut self) -> Vec<u64> {
        let held = self.0.lock().unwrap();
        let half = held.half.iter().copied().filter(|_| self.1 == Flaw::PublishesRecordByRecord);
        held.batches.iter().flat_map(PublishedBatch::records).copied().chain(half).collect()
    }

    fn die_publishing(&mut self, batch: &PublishedBatch<u64>, step: usize) -> bool {
        if step < batch.len() {
            self.0.lock().unwrap().half = batch.records().copied().take(step + 1).collect();
        }
        step < batch.len()
    }
}

#[test]
fn each_rule_about_faults_finds_a_sink_that_breaks_it() {
    for (flaw, rule) in [
        (Flaw::SortsRecords, "records keep their order, their number and their partitions' order"),
        (Flaw::DropsEqualRecords, "records keep their order, their number and their partitions' order"),
        (Flaw::OrdersByTwoDigits, "batches are in order wherever they begin"),
        (Flaw::RemembersOnlyInItsLife, "a restarted sink knows or recognises what it holds"),
        (Flaw::RecognisesOneRepetition, "an acknowledgement that was lost changes nothing"),
        (Flaw::KnowsTheNewestOnly, "an older batch that comes again changes nothing"),
        (Flaw::ReplacesBatches, "a batch that is held is never replaced"),
        (Flaw::KeepsHalfABatch, "a life that died while it published leaves the batch whole or absent"),
        (Flaw::PublishesRecordByRecord, "a life that died while it published leaves the batch whole or absent"),
        (Flaw::ForgetsItsFence, "a smaller epoch is not let in"),
        (Flaw::FenceEndsWithItsDriver, "a fence outlives the driver that set it"),
        (Flaw::LetsInWhoWasIn, "a driver that was fenced cannot come in again"),
        (Flaw::FencesNewBatchesOnly, "a driver that was fenced changes nothing, whatever it publishes"),
        (Flaw::RemembersRefusedBatches, "a driver that was fenced cannot come in again"),
        (Flaw::CountsRefusedBatches, "a driver that was fenced does not hinder the newer one"),
    ] {
        assert_broken(&format!("{flaw:?}"), rule, || check_sink(|| FlawedPlace(Arc::default(), flaw)));
    }
}
