//! What a sweep has shown: a table of steps and faults, and the story of every failure; as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::oracle::{Divergence, Oracle};
use super::play::{Played, Side};
use super::probe::Probe;
use super::replay::{REPLAY, Replay};
use super::schedule::{Schedule, Strike};
use super::script::Script;

/// The report of a sweep. It is the same, byte for byte, for the same sweep with the same seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    schema: String,
    pub sweep: String,
    pub seed: u64,
    /// Batches and records of the script.
    pub batches: u64,
    pub records: usize,
    /// Durable steps of the run without faults, over all its lives.
    pub points: usize,
    /// Lives of the run without faults.
    pub lives: usize,
    /// Runs with a fault, and those of them with two.
    pub runs: usize,
    pub nested: usize,
    /// Crashes and recoveries in all runs.
    pub recoveries: usize,
    /// How often what was under way at a crash was not there afterwards, and how often it was.
    pub old: usize,
    pub new: usize,
    /// Faults that never struck: the run had fewer steps of that kind.
    pub idle: usize,
    pub rows: Vec<Row>,
    /// Every run, in order.
    pub outcomes: Vec<Outcome>,
    pub failures: Vec<Failure>,
    /// Failures that are counted only.
    pub untold: usize,
    /// Why the sweep proves less than it should.
    pub vacuous: Vec<String>,
}

/// What came of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub schedule: Schedule,
    /// Where its faults struck.
    pub struck: Vec<String>,
    /// For each recovery, whether what was under way was there afterwards.
    pub sides: Vec<Side>,
    pub lives: usize,
    /// The oracle that found something, if one did.
    pub diverged: Option<Oracle>,
}

/// The runs whose fault struck at one kind of step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub step: String,
    pub cells: Vec<Cell>,
}

/// The runs with one fault at one kind of step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub fault: String,
    pub runs: usize,
    pub failures: usize,
}

/// A run that diverged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub divergence: Divergence,
    pub replay: Option<Replay>,
    /// What happened, line by line.
    pub story: Vec<String>,
}

impl Report {
    pub(super) fn new(sweep: &str, seed: u64, script: &Script, probe: &Probe, plain: &Played) -> Self {
        Self {
            schema: "floodmark.sweep/1".to_string(),
            sweep: sweep.to_string(),
            seed,
            batches: script.batches(),
            records: script.records(),
            points: probe.steps.iter().map(Vec::len).sum(),
            lives: plain.lives - 1, // the last one only recovers once more
            runs: 0,
            nested: 0,
            recoveries: 0,
            old: 0,
            new: 0,
            idle: 0,
            rows: Vec::new(),
            outcomes: Vec::new(),
            failures: Vec::new(),
            untold: 0,
            vacuous: Vec::new(),
        }
    }

    /// The plain run has failed, or two of them differ.
    pub(super) fn without_probe(sweep: &str, seed: u64, divergence: Divergence) -> Self {
        let mut report =
            Self::new(sweep, seed, &Script::default(), &Probe::default(), &Played { lives: 1, ..Played::default() });
        report.failures.push(Failure {
            divergence,
            replay: None,
            story: vec!["no fault was needed for this".to_string()],
        });
        report
    }

    /// Counts runs. Of those that are `expected`, every fault should have struck at every kind of step.
    pub(super) fn add<'a>(
        &mut self,
        schedules: impl Iterator<Item = &'a Schedule>,
        played: &[Played],
        expected: Option<&[Schedule]>,
    ) {
        let mut table: BTreeMap<String, BTreeMap<Fault, (usize, usize)>> = BTreeMap::new();
        for (schedule, played) in schedules.zip(played) {
            self.runs += 1;
            self.nested += usize::from(schedule.0.len() > 1);
            self.recoveries += played.lives - 1;
            self.old += played.sides.iter().filter(|side| **side == Side::Old).count();
            self.new += played.sides.iter().filter(|side| **side == Side::New).count();
            self.idle += schedule.0.len() - played.struck.len();
            self.outcomes.push(Outcome {
                schedule: schedule.clone(),
                struck: played.struck.iter().map(|step| step.what.clone()).collect(),
                sides: played.sides.clone(),
                lives: played.lives,
                diverged: played.divergence.as_ref().map(|divergence| divergence.oracle),
            });
            for (strike, step) in schedule.0.iter().zip(&played.struck) {
                let cell = table.entry(step.step.name().to_string()).or_default().entry(strike.fault).or_default();
                cell.0 += 1;
                cell.1 += usize::from(played.divergence.is_some());
            }
        }
        if let Some(expected) = expected {
            self.look_for_gaps(expected, &table);
        }
        let cell =
            |(fault, (runs, failures)): (Fault, (usize, usize))| Cell { fault: fault.to_string(), runs, failures };
        let row =
            |(step, cells): (String, BTreeMap<Fault, _>)| Row { step, cells: cells.into_iter().map(cell).collect() };
        self.rows = table.into_iter().map(row).collect();
    }

    fn look_for_gaps(&mut self, expected: &[Schedule], table: &BTreeMap<String, BTreeMap<Fault, (usize, usize)>>) {
        for Strike { point, fault, .. } in expected.iter().flat_map(|schedule| &schedule.0) {
            let struck = table.get(point.step.name()).is_some_and(|cells| cells.contains_key(fault));
            let gap = format!("{fault} never struck at {}", point.step);
            if !struck && !self.vacuous.contains(&gap) {
                self.vacuous.push(gap);
            }
        }
        if expected.iter().any(|schedule| schedule.0[0].fault.is_crash()) {
            if self.old == 0 {
                self.vacuous.push("what was under way at a crash was always there afterwards".to_string());
            }
            if self.new == 0 {
                self.vacuous.push("what was under way at a crash was never there afterwards".to_string());
            }
        }
    }

    pub(super) fn tell(&mut self, replay: Replay, played: &Played) {
        if let Some(divergence) = played.divergence.clone() {
            self.failures.push(Failure { divergence, replay: Some(replay), story: played.story.clone() });
        }
    }

    /// As [`tell`](Self::tell), of a run that did not diverge when it was played again.
    pub(super) fn tell_unrepeated(&mut self, replay: Replay, played: &Played) {
        self.tell(replay, played);
        if let Some(failure) = self.failures.last_mut() {
            failure.story.push("played again, it did not diverge".to_string());
        }
    }

    /// Whether nothing diverged, and the sweep shows what it should.
    #[must_use]
    pub fn survived(&self) -> bool {
        self.failures.is_empty() && self.untold == 0 && self.vacuous.is_empty()
    }

    /// The oracles that found something.
    #[must_use]
    pub fn oracles(&self) -> Vec<Oracle> {
        let mut oracles: Vec<Oracle> = self.failures.iter().map(|failure| failure.divergence.oracle).collect();
        oracles.sort_unstable();
        oracles.dedup();
        oracles
    }

    /// Prints the report, and writes the replay file of each failure below `target/chaos`.
    ///
    /// # Panics
    /// When the job did not survive, or the sweep proved less than it should.
    pub fn assert_survived(&self) {
        println!("{self}");
        for replay in self.failures.iter().filter_map(|failure| failure.replay.as_ref()) {
            match replay.write_into(&replay_directory()) {
                Ok(path) => println!("play it again: {REPLAY}={} and the same test", path.display()),
                Err(error) => println!("the replay file cannot be written: {error}"),
            }
        }
        assert!(
            self.survived(),
            "{} did not survive: {} failures, see above",
            self.sweep,
            self.failures.len() + self.untold
        );
    }

    /// The report as JSON.
    ///
    /// # Panics
    /// Never: a report has nothing that JSON cannot hold.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data") + "\n"
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let shown: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| self.rows.iter().flat_map(|row| &row.cells).any(|cell| cell.fault == fault.name()))
            .collect();
        let first = self.rows.iter().map(|row| row.step.len()).max().unwrap_or_default().max("step".len());
        let head: Vec<String> = shown.iter().map(|fault| format!("{:>6}", short(*fault))).collect();
        writeln!(text, "{:first$} {}", "step", head.join(" ")).expect("text can be written to");
        for row in &self.rows {
            let cell = |fault: &Fault| match row.cells.iter().find(|cell| cell.fault == fault.name()) {
                None => format!("{:>6}", "."),
                Some(cell) if cell.failures > 0 => format!("{:>6}", format!("{}!{}", cell.runs, cell.failures)),
                Some(cell) => format!("{:>6}", cell.runs),
            };
            let cells: Vec<String> = shown.iter().map(cell).collect();
            writeln!(text, "{:first$} {}", row.step, cells.join(" ")).expect("text can be written to");
        }
        text
    }
}

/// Where replay files go.
fn replay_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Path::new(&target).join("chaos")
}

/// The head of a column.
fn short(fault: Fault) -> &'static str {
    match fault {
        Fault::CrashBefore => "before",
        Fault::CrashAfter => "after",
        Fault::Torn512 => "torn½K",
        Fault::Torn4096 => "torn4K",
        Fault::LostBytes => "bytes",
        Fault::LostNames => "names",
        Fault::PowerCut => "power",
        Fault::Reordered => "reord",
        Fault::IoError => "eio",
        Fault::DiskFull => "full",
        Fault::LostAck => "ack",
        Fault::SlowIo => "slow",
        Fault::Zombie => "zombie",
        Fault::ClockBack => "clock-",
        Fault::ClockForward => "clock+",
        Fault::ListLag => "lag",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sweep, seed, batches, records, points, lives, runs, nested, recoveries, .. } = self;
        writeln!(
            f,
            "{sweep}: {batches} batches, {records} records, {lives} lives, {points} durable steps; seed {seed}"
        )?;
        writeln!(
            f,
            "{runs} runs, {nested} of them with two faults; {recoveries} recoveries; after a crash, what was under way was gone {} \
             times and there {} times; {} faults did not strike",
            self.old, self.new, self.idle
        )?;
        write!(f, "{}", self.table())?;
        for gap in &self.vacuous {
            writeln!(f, "vacuous: {gap}")?;
        }
        for failure in &self.failures {
            writeln!(f, "\n{failure}")?;
        }
        if self.untold > 0 {
            writeln!(f, "and {} failures more", self.untold)?;
        }
        let failures = self.failures.len() + self.untold;
        match self.survived() {
            true => write!(f, "survived"),
            false => write!(f, "NOT survived: {failures} failures, {} gaps", self.vacuous.len()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.divergence)?;
        if let Some(replay) = &self.replay {
            write!(f, "  schedule {} with seed {}", replay.schedule, replay.seed)?;
            if let Some(batches) = replay.shrunk.batches {
                write!(f, ", {batches} batches are enough")?;
            }
            if let Some(every) = replay.shrunk.every {
                write!(f, ", every {every}th record is enough")?;
            }
            writeln!(f)?;
        }
        for line in &self.story {
            for part in line.lines() {
                writeln!(f, "  {part}")?;
            }
        }
        Ok(())
    }
}
