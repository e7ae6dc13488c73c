//! What a parent sees of a life: the words of the victim, folded.

use std::collections::{BTreeMap, BTreeSet};

use floodmark::testing::disk::Step;

use crate::process::victim::{Stage, Word};

/// What a life was at, as its last words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The process has begun; the job is not started yet.
    Starting,
    /// The job is started, and does not take live input yet.
    Recovering,
    /// Between two batches.
    Idle,
    /// A batch is computed or published, or the log is written.
    Running,
    /// A checkpoint's files, its manifest, or what it makes unneeded, is worked on; whatever else is done meanwhile.
    Checkpointing,
    /// A graceful stop.
    Stopping,
}

impl Phase {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Recovering, Self::Idle, Self::Running, Self::Checkpointing, Self::Stopping];

    /// The name of the phase.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Checkpointing => "checkpointing",
            Self::Stopping => "stopping",
        }
    }
}

/// A recovery that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub epoch: u64,
    /// None after a fresh start.
    pub checkpoint: Option<u64>,
    pub batches_replayed: u64,
    pub milliseconds: u64,
}

/// Everything that is known of a life.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The job was started.
    pub recovering: bool,
    pub recovered: Option<Recovery>,
    /// The last block that was stored when the receiver began, if it did.
    pub resumes: Option<u64>,
    /// The last block that was acknowledged in this life; 0 for none.
    pub stored: u64,
    /// The last batch that was told to be published in this life; 0 for none.
    pub published: u64,
    pub stopping: bool,
    /// It stands at the point that it was given.
    pub holding: bool,
    /// How often each operation was begun.
    pub operations: BTreeMap<(Stage, Step, String), u64>,
    pub(super) under_way: Vec<(Step, String)>,
    pub(super) batches: BTreeSet<u64>,
    pub(super) writes_checkpoint: bool,
}

impl Sight {
    /// Takes in a word.
    pub fn hear(&mut self, word: &Word) {
        match word {
            Word::Recovering => self.recovering = true,
            Word::Recovered { epoch, checkpoint, replayed, milliseconds } => {
                self.recovered = Some(Recovery {
                    epoch: *epoch,
                    checkpoint: *checkpoint,
                    batches_replayed: *replayed,
                    milliseconds: *milliseconds,
                });
            }
            Word::Resumes(block) => self.resumes = Some(self.resumes.unwrap_or(*block).max(*block)),
            Word::Stored(block) => self.stored = self.stored.max(*block),
            Word::Begin { step, operation } => {
                *self.operations.entry((self.stage(), *step, operation.clone())).or_default() += 1;
                self.writes_checkpoint |= *step == Step::CheckpointFiles;
                self.under_way.push((*step, operation.clone()));
            }
            Word::End { step, operation } => {
                let ended = self.under_way.iter().position(|(begun, name)| begun == step && name == operation);
                ended.map(|index| self.under_way.swap_remove(index));
            }
            Word::Batch(batch) => {
                self.batches.insert(*batch);
            }
            Word::Published(batch) => {
                self.batches.remove(batch);
                self.published = self.published.max(*batch);
            }
            Word::Checkpoint(_) => self.writes_checkpoint = false,
            Word::Stopping => self.stopping = true,
            Word::Holding => self.holding = true,
        }
    }

    /// What the life is at, or was at when it ended.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let of_a_checkpoint = |(step, _): &(Step, String)| {
            matches!(
                step,
                Step::CheckpointFiles
                    | Step::CheckpointRemove
                    | Step::ManifestCreate
                    | Step::ManifestRemove
                    | Step::WalTruncate
            )
        };
        match () {
            () if !self.recovering => Phase::Starting,
            () if self.recovered.is_none() => Phase::Recovering,
            () if self.stopping => Phase::Stopping,
            () if self.writes_checkpoint || self.under_way.iter().any(of_a_checkpoint) => Phase::Checkpointing,
            () if !self.batches.is_empty() || !self.under_way.is_empty() => Phase::Running,
            () => Phase::Idle,
        }
    }

    /// The durable steps that were begun and have not ended.
    #[must_use]
    pub fn steps_under_way(&self) -> BTreeSet<Step> {
        self.under_way.iter().map(|(step, _)| *step).collect()
    }

    fn stage(&self) -> Stage {
        match (self.recovered, self.stopping) {
            (None, _) => Stage::Recovering,
            (Some(_), false) => Stage::Running,
            (Some(_), true) => Stage::Stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(step: Step) -> Word {
        Word::Begin { step, operation: "sync".to_string() }
    }

    fn end(step: Step) -> Word {
        Word::End { step, operation: "sync".to_string() }
    }

    #[test]
    fn the_phase_follows_the_words() {
        let recovered = Word::Recovered { epoch: 1, checkpoint: None, replayed: 0, milliseconds: 1 };
        let story = [
            (Word::Recovering, Phase::Recovering),
            (begin(Step::WalSync), Phase::Recovering),
            (end(Step::WalSync), Phase::Recovering),
            (recovered, Phase::Idle),
            (begin(Step::WalSync), Phase::Running),
            (end(Step::WalSync), Phase::Idle),
            (Word::Batch(1), Phase::Running),
            (Word::Published(1), Phase::Idle),
            (begin(Step::CheckpointFiles), Phase::Checkpointing),
            (end(Step::CheckpointFiles), Phase::Checkpointing),
            (Word::Checkpoint(1), Phase::Idle),
            (Word::Stopping, Phase::Stopping),
        ];
        let mut sight = Sight::default();
        assert_eq!(sight.phase(), Phase::Starting);
        for (word, phase) in story {
            sight.hear(&word);
            assert_eq!(sight.phase(), phase, "after {word}");
        }
        assert_eq!(sight.operations[&(Stage::Recovering, Step::WalSync, "sync".to_string())], 1);
        assert_eq!(sight.operations[&(Stage::Running, Step::WalSync, "sync".to_string())], 1);
        assert!(sight.steps_under_way().is_empty());
    }
}
