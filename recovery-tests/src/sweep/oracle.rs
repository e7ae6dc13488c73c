//! What must hold in every run, whatever strikes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The oracles that need no code of the user's, and the user's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oracle {
    /// Two runs without faults are equal.
    Deterministic,
    /// The job starts again, and fails only where something struck.
    Survives,
    /// What was recovered is the state after some batch between the last one that was seen published and the last one begun.
    Prefix,
    /// Nothing that was acknowledged or seen published disappears.
    Monotone,
    /// Final state and published output equal those of a run without faults.
    ExactlyOnce,
    /// Recovering twice equals recovering once.
    Idempotent,
    /// The job gets on once faults stop.
    Liveness,
    /// A driver that was overtaken publishes nothing.
    Fencing,
    /// An error of the disk is not passed over.
    Heard,
    /// A batch is published only when the log knows its plan and its commit durably.
    Order,
    /// Everything that a usable manifest refers to is there.
    Retention,
    /// The inspection of a stopped job says what its recovery then does.
    Verify,
    /// A check of the user's.
    Check,
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Deterministic => "deterministic",
            Self::Survives => "survives",
            Self::Prefix => "prefix",
            Self::Monotone => "monotone",
            Self::ExactlyOnce => "exactly-once",
            Self::Idempotent => "idempotent",
            Self::Liveness => "liveness",
            Self::Fencing => "fencing",
            Self::Heard => "heard",
            Self::Order => "order",
            Self::Retention => "retention",
            Self::Verify => "verify",
            Self::Check => "check",
        })
    }
}

/// What an oracle found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    pub oracle: Oracle,
    /// Expected and found, in words.
    pub what: String,
}

impl Divergence {
    pub(super) fn new(oracle: Oracle, what: impl Into<String>) -> Self {
        Self { oracle, what: what.into() }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.what)
    }
}

/// The state of every operator: uid, entries, digest.
pub(super) type Fingerprints = Vec<(String, u64, u64)>;
/// What is visible outside, by name.
pub(super) type Outputs = BTreeMap<String, Vec<String>>;
/// Visible files, by path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Compares states and names the first operator that differs.
pub(super) fn same_state(
    oracle: Oracle,
    when: &str,
    expected: &Fingerprints,
    found: &Fingerprints,
) -> Result<(), Divergence> {
    for ((uid, entries, digest), (other, found_entries, found_digest)) in expected.iter().zip(found) {
        if (uid, entries, digest) != (other, found_entries, found_digest) {
            return Err(Divergence::new(
                oracle,
                format!(
                    "{when}, the state of \"{uid}\" differs: expected {entries} entries with digest {digest:016x}, found \
                     {found_entries} with {found_digest:016x}"
                ),
            ));
        }
    }
    if expected.len() != found.len() {
        let what = format!("{when}, expected {} operators with state, found {}", expected.len(), found.len());
        return Err(Divergence::new(oracle, what));
    }
    Ok(())
}

/// Whether outputs are what they should be: all of it, or, with `prefix`, the beginning.
pub(super) fn same_outputs(
    oracle: Oracle,
    when: &str,
    expected: &Outputs,
    found: &Outputs,
    prefix: bool,
) -> Result<(), Divergence> {
    for (name, lines) in found {
        let expected = expected.get(name).map(Vec::as_slice).unwrap_or_default();
        let differs = lines.iter().zip(expected).position(|(found, expected)| found != expected);
        let at = differs.or_else(|| {
            let ends_wrongly = lines.len() > expected.len() || (!prefix && lines.len() < expected.len());
            ends_wrongly.then_some(lines.len().min(expected.len()))
        });
        if let Some(at) = at {
            let line = |lines: &[String]| lines.get(at).map_or("nothing more".to_string(), |line| shortened(line));
            let what = format!("{when}, entry {at} of \"{name}\": expected {}, found {}", line(expected), line(lines));
            return Err(Divergence::new(oracle, what));
        }
    }
    Ok(())
}

pub(super) fn same_files(oracle: Oracle, when: &str, expected: &Files, found: &Files) -> Result<(), Divergence> {
    for (path, bytes) in expected {
        match found.get(path) {
            Some(found) if found == bytes => {}
            Some(found) => {
                let what = format!("{when}, {path} differs: expected {}, found {}", text(bytes), text(found));
                return Err(Divergence::new(oracle, what));
            }
            None => return Err(Divergence::new(oracle, format!("{when}, {path} is missing"))),
        }
    }
    match found.keys().find(|path| !expected.contains_key(*path)) {
        Some(path) => Err(Divergence::new(oracle, format!("{when}, {path} is there, and should not"))),
        None => Ok(()),
    }
}

fn text(bytes: &[u8]) -> String {
    shortened(&format!("{:?}", String::from_utf8_lossy(bytes)))
}

fn shortened(line: &str) -> String {
    const MOST: usize = 240;
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} bytes)", &line[..end], line.len()),
        None => line.to_string(),
    }
}
