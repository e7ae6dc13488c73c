//! One life of a victim, as its parent sees it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::sight::Sight;
use crate::process::victim::{Options, Word};
use crate::process::{Job, Line, ProcessError, Watched};

/// A victim that runs. It is killed when this is dropped.
pub struct Life {
    job: Job,
    sight: Sight,
}

impl Life {
    /// Starts a victim.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(program: &Path, options: &Options) -> Result<Self, ProcessError> {
        let mut command = Command::new(program);
        command.args(options.arguments());
        Ok(Self { job: Job::start(command)?, sight: Sight::default() })
    }

    /// What is known of it so far.
    #[must_use]
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// The system's number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.job.id()
    }

    /// Listens for so long, or until it ends.
    pub fn watch(&mut self, lasting: Duration) {
        let sight = &mut self.sight;
        self.job.watch(Instant::now() + lasting, |line| {
            hear(sight, line);
        });
    }

    /// Listens until a word comes, for so long at the most.
    pub fn watch_for(&mut self, patience: Duration, mut wanted: impl FnMut(&Word) -> bool) -> Watched {
        let sight = &mut self.sight;
        self.job.watch_for(Instant::now() + patience, |line| hear(sight, line).is_some_and(|word| wanted(&word)))
    }

    /// SIGKILL. Says whether it ended the victim, which else had ended by itself.
    ///
    /// # Errors
    /// When it had ended with an error before.
    pub fn kill(&mut self) -> Result<bool, ProcessError> {
        let sight = &mut self.sight;
        let killed = self.job.kill(|line| {
            hear(sight, line);
        });
        killed.map_err(without_steps)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it ends with an error, or does not end in time.
    pub fn finish(mut self, patience: Duration) -> Result<Sight, ProcessError> {
        if self.watch_for(patience, |_| false) == Watched::TimedOut {
            let phase = self.sight.phase().name();
            let hangs =
                format!("a life has not ended after {patience:?}; it is {phase}, at batch {}", self.sight.published);
            return Err(ProcessError::Diverged(hangs));
        }
        self.job.finish(|_| ()).map_err(without_steps)?;
        Ok(self.sight)
    }
}

/// The last words of a victim that has died, without the many that tell of steps.
fn without_steps(error: ProcessError) -> ProcessError {
    let ProcessError::Died { program, status, last_words } = error else { return error };
    let of_a_step = |line: &str| matches!(line.trim().parse(), Ok(Word::Begin { .. } | Word::End { .. }));
    let last_words = last_words.lines().filter(|line| !of_a_step(line)).collect::<Vec<_>>().join("\n");
    ProcessError::Died { program, status, last_words }
}

fn hear(sight: &mut Sight, line: &Line) -> Option<Word> {
    let Line::Out(text) = line else { return None };
    // A kill may leave half a line behind.
    let word = text.parse().ok()?;
    sight.hear(&word);
    Some(word)
}
