//! Who watches a victim through all its lives, and compares what it leaves in the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{Ending, check};
use super::ledger::Ledger;
use super::life::Life;
use super::report::{LifeRecord, Recoveries};
use super::sight::Sight;
use crate::process::ProcessError;
use crate::process::victim::{Options, Pace, Place, Until};

/// A life that takes longer to come to its end hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A victim, by all that is known of it.
///
/// ```no_run
/// use floodmark_chaos::process::program;
/// use floodmark_chaos::process::parent::Witness;
/// use floodmark_chaos::process::victim::{Options, Pace, Place, Until, Word};
/// use std::time::Duration;
///
/// let directory = tempfile::tempdir().unwrap();
/// let mut witness = Witness::new(&program("victim")?, &Place::new(directory.path()), Pace::Lockstep);
/// let mut life = witness.start(&Options { stop_at: Some("running/wal.sync:9:after".parse()?), ..witness.options() })?;
/// life.watch_for(Duration::from_secs(60), |word| *word == Word::Holding);
/// life.kill()?;
/// witness.note("killed behind a sync", life.sight())?;
/// witness.finish(Until::Batches(12))?; // and everything is as it must be
/// # Ok::<(), floodmark_chaos::process::ProcessError>(())
/// ```
#[derive(Debug)]
pub struct Witness {
    program: PathBuf,
    place: Place,
    pace: Pace,
    ledger: Ledger,
    lives: Vec<LifeRecord>,
    recoveries: Recoveries,
}

impl Witness {
    /// Of a victim that has not lived yet, in an empty place.
    #[must_use]
    pub fn new(program: &Path, place: &Place, pace: Pace) -> Self {
        let (program, place, ledger) = (program.to_path_buf(), place.clone(), Ledger::new(place));
        Self { program, place, pace, ledger, lives: Vec::new(), recoveries: Recoveries::default() }
    }

    /// The options of the next life: one that does not end, and sends again what is not known to be stored.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { known_stored: self.ledger.stored, ..Options::new(&self.place, self.pace) }
    }

    /// Starts a life.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&self, options: &Options) -> Result<Life, ProcessError> {
        Life::start(&self.program, options)
    }

    /// A life has ended: takes down what it promised, and compares with what earlier ones did. `aim` says how it was to end.
    ///
    /// # Errors
    /// When a promise was broken.
    pub fn note(&mut self, aim: impl Into<String>, sight: &Sight) -> Result<(), ProcessError> {
        self.lives.push(LifeRecord::new(aim.into(), sight));
        self.recoveries.note(sight, self.ledger.stored);
        self.ledger.after(sight)
    }

    /// A last life to this end, and the comparison with everything that is known. Also says what was seen of that life.
    ///
    /// # Errors
    /// When it fails or hangs, or anything is not as it must be.
    pub fn finish(&mut self, until: Until) -> Result<(Ending, Sight), ProcessError> {
        let dump = self.place.directory().join("dump");
        let options = Options { until: Some(until), dump: Some(dump.clone()), ..self.options() };
        let sight = self.start(&options)?.finish(PATIENCE)?;
        self.note("to the end", &sight)?;
        Ok((check(&self.place, self.pace, &self.ledger, &dump)?, sight))
    }

    /// An end that is a little further than what was reached.
    ///
    /// # Errors
    /// When the place cannot be looked at.
    pub fn a_little_further(&self) -> Result<Until, ProcessError> {
        Ok(match self.pace {
            Pace::Real => Until::Input { blocks: self.ledger.stored + 9, files: self.place.files()? + 5 },
            Pace::Lockstep => Until::Batches(self.ledger.published + 5),
        })
    }

    /// What the lives recovered.
    #[must_use]
    pub fn recoveries(&self) -> Recoveries {
        self.recoveries
    }

    /// All lives so far.
    #[must_use]
    pub fn lives(&self) -> &[LifeRecord] {
        &self.lives
    }
}
