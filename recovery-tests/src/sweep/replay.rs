//! A run that can be played again: its schedule, its seed, and how its input was shrunk.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::script::Script;

/// The environment variable that names a replay file.
pub const REPLAY: &str = "FLOODMARK_REPLAY";
const SCHEMA: &str = "floodmark.replay/1";

/// One run of a sweep, as a replay file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub(super) schema: String,
    /// The name of the sweep.
    pub sweep: String,
    pub seed: u64,
    pub schedule: Schedule,
    pub shrunk: Shrunk,
}

/// What was left out of the script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// Only the first so many batches.
    pub batches: Option<u64>,
    /// Without the planned restarts.
    pub without_restarts: bool,
    /// Only every so-manieth record of a batch.
    pub every: Option<usize>,
}

impl Shrunk {
    pub(super) fn apply(&self, script: &Script) -> Script {
        let mut script = script.clone();
        if let Some(batches) = self.batches {
            script = script.first(batches);
        }
        if self.without_restarts {
            script = script.without_restarts();
        }
        if let Some(every) = self.every.filter(|every| *every > 0) {
            script = script.thinned(&|_, _, index| index % every == 0);
        }
        script
    }
}

impl Replay {
    pub(super) fn new(sweep: &str, seed: u64, schedule: &Schedule) -> Self {
        Self {
            schema: SCHEMA.to_string(),
            sweep: sweep.to_string(),
            seed,
            schedule: schedule.clone(),
            shrunk: Shrunk::default(),
        }
    }

    /// Reads a replay file.
    ///
    /// # Errors
    /// When it cannot be read, or is none, in words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        let replay: Self = serde_json::from_str(&text).map_err(|error| named(&error))?;
        if replay.schema != SCHEMA {
            return Err(named(&format!("expected the schema {SCHEMA}, found {}", replay.schema)));
        }
        Ok(replay)
    }

    /// Writes the replay file into a directory, which is made where it is missing; returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_into(&self, directory: &Path) -> std::io::Result<std::path::PathBuf> {
        std::fs::create_dir_all(directory)?;
        let schedule: String = self
            .schedule
            .to_string()
            .chars()
            .map(|letter| if letter.is_alphanumeric() { letter } else { '-' })
            .collect();
        let path = directory.join(format!("{}-{}-{schedule}.json", self.sweep, self.seed));
        std::fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }

    /// The replay that the environment asks for, if it is one of this sweep.
    ///
    /// # Panics
    /// When the file cannot be read.
    #[must_use]
    pub fn from_environment(sweep: &str) -> Option<Self> {
        let path = std::env::var_os(REPLAY)?;
        let replay = Self::read(Path::new(&path)).unwrap_or_else(|error| panic!("{REPLAY}: {error}"));
        (replay.sweep == sweep).then_some(replay)
    }
}
