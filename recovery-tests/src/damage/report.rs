//! The report: a table of kinds of files, damages and what came of them, and every case that failed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::case::{Case, ChangeKind};
use super::kind::FileKind;
use super::verdict::{Failure, Verdict};

/// What came of all cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DamageReport {
    pub seed: u64,
    /// Sorted by kind of file, then by kind of damage.
    pub rows: Vec<Row>,
    /// In the order of the cases.
    pub findings: Vec<Finding>,
}

/// One kind of damage on one kind of file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub file: FileKind,
    pub damage: ChangeKind,
    pub counts: Counts,
}

/// How many cases came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub cases: u64,
    pub unneeded: u64,
    pub repaired: u64,
    pub refused: u64,
    pub ambiguous_tail: u64,
    pub failed: u64,
    /// Of all these, in how many the job was started on the damaged store.
    pub started: u64,
}

/// A case that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// By this name it can be run again.
    pub case: String,
    pub failure: Failure,
    pub detail: String,
}

/// A case with what came of it.
#[derive(Clone, Debug)]
pub(super) struct Judged<'c> {
    pub case: &'c Case,
    pub verdict: Verdict,
    pub started: bool,
}

impl DamageReport {
    pub(super) fn of(seed: u64, judged: &[Judged<'_>]) -> Self {
        let mut rows: BTreeMap<(FileKind, ChangeKind), Counts> = BTreeMap::new();
        let mut findings = Vec::new();
        for Judged { case, verdict, started } in judged {
            rows.entry((case.kind, case.change.kind())).or_default().add(verdict, *started);
            if let Verdict::Failed(failure, detail) = verdict {
                findings.push(Finding { case: case.to_string(), failure: *failure, detail: detail.clone() });
            }
        }
        let rows = rows.into_iter().map(|((file, damage), counts)| Row { file, damage, counts }).collect();
        Self { seed, rows, findings }
    }

    /// The counts of all rows together.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.rows.iter().fold(Counts::default(), |total, row| total.and(&row.counts))
    }

    /// The counts of one kind of damage on one kind of file.
    #[must_use]
    pub fn counts(&self, file: FileKind, damage: ChangeKind) -> Counts {
        let row = self.rows.iter().find(|row| (row.file, row.damage) == (file, damage));
        row.map(|row| row.counts).unwrap_or_default()
    }

    /// Fails a test, with the table and the first findings, unless every damage was survived.
    ///
    /// # Panics
    /// When one was not, or when there was nothing to damage.
    pub fn assert_survived(&self) {
        assert!(self.total().cases > 0, "nothing was damaged");
        assert!(self.findings.is_empty(), "{self}");
    }
}

impl Counts {
    fn add(&mut self, verdict: &Verdict, started: bool) {
        self.cases += 1;
        self.started += u64::from(started);
        *match verdict {
            Verdict::Unneeded => &mut self.unneeded,
            Verdict::Repaired => &mut self.repaired,
            Verdict::Refused(_) => &mut self.refused,
            Verdict::AmbiguousTail => &mut self.ambiguous_tail,
            Verdict::Failed(..) => &mut self.failed,
        } += 1;
    }

    fn and(self, other: &Self) -> Self {
        Self {
            cases: self.cases + other.cases,
            unneeded: self.unneeded + other.unneeded,
            repaired: self.repaired + other.repaired,
            refused: self.refused + other.refused,
            ambiguous_tail: self.ambiguous_tail + other.ambiguous_tail,
            failed: self.failed + other.failed,
            started: self.started + other.started,
        }
    }
}

/// Findings that are printed in full.
const SHOWN: usize = 12;

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["cases", "unneeded", "repaired", "refused", "tail", "failed", "started"];
        write!(f, "{:<16}{:<11}", "file", "damage")?;
        heads.iter().try_for_each(|head| write!(f, "{head:>10}"))?;
        writeln!(f)?;
        let line = |f: &mut fmt::Formatter<'_>, counts: &Counts| {
            let Counts { cases, unneeded, repaired, refused, ambiguous_tail, failed, started } = counts;
            let figures = [cases, unneeded, repaired, refused, ambiguous_tail, failed, started];
            figures.iter().try_for_each(|figure| write!(f, "{figure:>10}"))?;
            writeln!(f)
        };
        for row in &self.rows {
            write!(f, "{:<16}{:<11}", row.file, row.damage)?;
            line(f, &row.counts)?;
        }
        write!(f, "{:<16}{:<11}", "all", "")?;
        line(f, &self.total())?;
        writeln!(f, "seed {}", self.seed)?;
        for Finding { case, failure, detail } in self.findings.iter().take(SHOWN) {
            writeln!(f, "\n{case}\n  {failure}: {detail}")?;
        }
        match self.findings.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "\nand {more} more"),
        }
    }
}
