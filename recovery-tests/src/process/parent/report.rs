//! What a hunt comes to, for people (`Display`) and for programs (serde).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::sight::{Phase, Sight};
use crate::process::victim::Pace;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Kills so far.
    pub kills: u32,
    /// Kills that there will be, as far as is known.
    pub of: u32,
    pub lives: u32,
    pub divergences: u32,
}

/// What lives recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recoveries {
    /// Recoveries that came to their end, fresh starts not counted.
    pub count: u32,
    pub batches_replayed: u64,
    pub most_batches_replayed: u64,
    /// From the start of the job until it takes live input.
    pub longest_ms: u64,
    /// Blocks that were stored, but not known to be: they were sent again, and must count once.
    pub blocks_sent_twice: u64,
}

/// One life of a victim that diverged.
#[derive(Clone, Debug, Serialize)]
pub struct LifeRecord {
    /// How it was to end.
    pub aim: String,
    /// What it was at when it ended.
    pub phase: Phase,
    /// The durable steps under way then.
    pub steps: Vec<String>,
    /// The last block that was acknowledged, and the last batch that was told to be published.
    pub stored: u64,
    pub published: u64,
}

/// Something that must not be.
#[derive(Clone, Debug, Serialize)]
pub struct Divergence {
    /// What differs.
    pub story: String,
    /// Which victim: its number and seed, or the point.
    pub victim: String,
    pub pace: Pace,
    /// All its lives.
    pub lives: Vec<LifeRecord>,
    /// Its directory, left as it is.
    pub left: PathBuf,
}

/// What [`kills`](super::kills()) came to.
#[derive(Clone, Debug, Serialize)]
pub struct KillReport {
    pub seed: u64,
    /// Lives that ended by SIGKILL.
    pub kills: u32,
    /// All lives.
    pub lives: u32,
    /// Victims, each with a directory of its own.
    pub victims: u32,
    /// Kills by what the life was at.
    pub by_phase: BTreeMap<Phase, u32>,
    /// Kills by the durable steps that were under way.
    pub by_step: BTreeMap<String, u32>,
    /// Batches and records that were compared in the end.
    pub batches: u64,
    pub records: u64,
    pub recoveries: Recoveries,
    pub divergences: Vec<Divergence>,
    pub seconds: f64,
}

/// What [`points`](super::points()) came to.
#[derive(Clone, Debug, Serialize)]
pub struct PointReport {
    pub seed: u64,
    /// Points that were aimed at.
    pub points: u32,
    /// Points at which a life was killed: by stage and step, then by the moment.
    pub struck: BTreeMap<String, BTreeMap<String, u32>>,
    /// Points that the life did not come to: threads interleaved otherwise than in the probe.
    pub missed: u32,
    /// Kinds of points that were aimed at, and never struck.
    pub never_struck: Vec<String>,
    pub kills: u32,
    pub lives: u32,
    pub batches: u64,
    pub recoveries: Recoveries,
    pub divergences: Vec<Divergence>,
    pub seconds: f64,
}

impl Recoveries {
    /// A life has ended, before which blocks up to `known_stored` were known to be stored.
    pub(super) fn note(&mut self, sight: &Sight, known_stored: u64) {
        self.blocks_sent_twice += sight.resumes.unwrap_or_default().saturating_sub(known_stored);
        if let Some(recovery) = sight.recovered.filter(|recovery| recovery.checkpoint.is_some()) {
            self.add(&Self {
                count: 1,
                batches_replayed: recovery.batches_replayed,
                most_batches_replayed: recovery.batches_replayed,
                longest_ms: recovery.milliseconds,
                blocks_sent_twice: 0,
            });
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.batches_replayed += other.batches_replayed;
        self.most_batches_replayed = self.most_batches_replayed.max(other.most_batches_replayed);
        self.longest_ms = self.longest_ms.max(other.longest_ms);
        self.blocks_sent_twice += other.blocks_sent_twice;
    }
}

impl LifeRecord {
    pub(super) fn new(aim: String, sight: &Sight) -> Self {
        Self {
            aim,
            phase: sight.phase(),
            steps: sight.steps_under_way().iter().map(ToString::to_string).collect(),
            stored: sight.stored,
            published: sight.published,
        }
    }
}

impl KillReport {
    /// Whether everything was as it must be.
    #[must_use]
    pub fn survived(&self) -> bool {
        self.divergences.is_empty()
    }
}

impl PointReport {
    /// Whether everything was as it must be, and every kind of point was struck.
    #[must_use]
    pub fn survived(&self) -> bool {
        self.divergences.is_empty() && self.never_struck.is_empty()
    }
}

impl fmt::Display for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, batches_replayed, most_batches_replayed, longest_ms, blocks_sent_twice } = self;
        write!(
            f,
            "{count} recoveries, {batches_replayed} batches replayed (at most {most_batches_replayed}), the longest in \
             {longest_ms} ms; {blocks_sent_twice} stored blocks sent again"
        )
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}): {}", self.victim, self.pace.name(), self.story)?;
        for (number, life) in (1..).zip(&self.lives) {
            let LifeRecord { aim, phase, steps, stored, published } = life;
            let steps = steps.join(" ");
            let (phase, end) = (phase.name(), format!("block {stored}, batch {published}"));
            writeln!(f, "  life {number:2}: {aim}; {phase} [{steps}]; {end}")?;
        }
        write!(f, "  left for inspection: {}", self.left.display())
    }
}

impl fmt::Display for KillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kills, lives, victims, batches, records, recoveries, seconds, .. } = self;
        writeln!(f, "seed {seed}: {kills} SIGKILLs, {lives} lives of {victims} victims, {seconds:.1} s")?;
        writeln!(f, "  {recoveries}")?;
        writeln!(f, "  {batches} batches with {records} records compared")?;
        for (phase, kills) in &self.by_phase {
            writeln!(f, "  killed {:<18} {kills:>5}", phase.name())?;
        }
        for (step, kills) in &self.by_step {
            writeln!(f, "  during {step:<18} {kills:>5}")?;
        }
        write_divergences(f, &self.divergences)
    }
}

impl fmt::Display for PointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, points, missed, kills, lives, batches, recoveries, seconds, .. } = self;
        writeln!(f, "seed {seed}: {points} points, {missed} missed, {kills} SIGKILLs, {lives} lives, {seconds:.1} s")?;
        writeln!(f, "  {recoveries}")?;
        writeln!(f, "  {batches} batches compared, byte for byte")?;
        writeln!(f, "  {:<30} before  within  after", "killed at")?;
        for (step, moments) in &self.struck {
            let count = |moment: &str| moments.get(moment).copied().unwrap_or_default();
            writeln!(f, "  {step:<30} {:>6}  {:>6}  {:>5}", count("before"), count("within"), count("after"))?;
        }
        for never in &self.never_struck {
            writeln!(f, "  never struck: {never}")?;
        }
        write_divergences(f, &self.divergences)
    }
}

fn write_divergences(f: &mut fmt::Formatter<'_>, divergences: &[Divergence]) -> fmt::Result {
    for divergence in divergences {
        writeln!(f, "{divergence}")?;
    }
    write!(f, "  {} divergences", divergences.len())
}
