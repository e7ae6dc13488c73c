//! Judges one case: looks, starts where it is to be started, compares.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use floodmark::{Error, ErrorKind};

use super::Recovered;
use super::case::{Case, Change};
use super::kind::FileKind;
use super::look::{GoesOn, Look, look};
use super::store::{Store, lasting_files};
use super::tail::{End, NewestSegment};
use super::verdict::{Failure, Verdict};

/// What all cases of one store are judged by.
pub(super) struct Judge<'a, O> {
    pub store: &'a Store,
    pub foreign: Option<&'a Store>,
    pub recover: &'a (dyn Fn(&Path) -> Result<Recovered<O>, Error> + Sync),
    /// What the undamaged store comes to.
    pub sound: O,
    /// What the engine says to the undamaged store.
    pub sound_look: Look,
    pub newest: Option<NewestSegment>,
    /// What the store comes to whose log ends at a byte of its newest segment.
    pub cut_at: Mutex<HashMap<usize, Arc<Result<O, String>>>>,
}

/// A place on disk for the copies of one thread.
pub(super) struct Bench {
    root: PathBuf,
    /// Whether the copy at `root` is as the store is.
    is_sound: bool,
}

/// A job that was started on a copy.
enum Started<O> {
    Recovered(Recovered<O>),
    Refused(Error),
    Panicked(String),
}

impl Bench {
    pub fn new(root: PathBuf) -> Self {
        Self { root, is_sound: false }
    }
}

impl<O: PartialEq + Debug> Judge<'_, O> {
    /// What the engine says to a case. The copy is mended again, so that the next case costs no new one.
    pub fn look(&self, case: &Case, bench: &mut Bench) -> Result<Look, Verdict> {
        self.damage(case, bench).map_err(harness)?;
        let job = self.store.job_in(&bench.root);
        let look = catch_unwind(AssertUnwindSafe(|| look(&job)));
        // A file that was removed or replaced would come back without its links: only bytes are put back.
        if case.change.is_in_place() {
            case.undo(self.store, &bench.root).map_err(harness)?;
            bench.is_sound = true;
        }
        look.map_err(|panic| Verdict::Failed(Failure::Panicked, panic_text(&*panic)))
    }

    /// What can be said of a refusal without a start.
    pub fn refused(&self, case: &Case, kind: ErrorKind, message: &str) -> Verdict {
        let failed = |failure| Verdict::Failed(failure, message.to_string());
        let end = self.newest.as_ref().map_or(End::NotConcerned, |newest| newest.end_after(case));
        if matches!(end, End::Ambiguous { .. }) && !tells_a_lost_end(message) {
            return failed(Failure::RefusedWithoutProof);
        }
        if kind != ErrorKind::Damaged {
            return failed(Failure::WrongKind);
        }
        if !names(case, message) {
            return failed(Failure::Unnamed);
        }
        Verdict::Refused(kind)
    }

    /// Starts the job on a damaged copy, and judges what comes of it.
    pub fn start(&self, case: &Case, look: &Look, bench: &mut Bench) -> Verdict {
        self.try_start(case, look, bench).unwrap_or_else(harness)
    }

    fn try_start(&self, case: &Case, look: &Look, bench: &mut Bench) -> io::Result<Verdict> {
        self.damage(case, bench)?;
        let job = self.store.job_in(&bench.root);
        let before = lasting_files(&job)?;
        bench.is_sound = false;
        match self.run(&bench.root) {
            Started::Panicked(text) => Ok(Verdict::Failed(Failure::Panicked, text)),
            Started::Recovered(recovered) => Ok(self.recovered(case, look, &recovered, bench)),
            // Beyond what is inspected only a sink knows something: a batch that the log has lost.
            Started::Refused(error) if matches!(look, Look::GoesOn(_)) && !tells_a_lost_end(&error.to_string()) => {
                let detail = format!("inspection goes on: {}; the start refuses: {error}", look.words());
                Ok(Verdict::Failed(Failure::InspectionDiffers, detail))
            }
            Started::Refused(error) => {
                let verdict = self.refused(case, error.kind(), &error.to_string());
                if verdict.is_failure() {
                    return Ok(verdict);
                }
                let after = lasting_files(&job)?;
                let changed = before.iter().find(|(path, bytes)| after.get(*path) != Some(*bytes));
                if let Some((path, _)) = changed {
                    let detail = format!("{} is not what it was after: {error}", path.display());
                    return Ok(Verdict::Failed(Failure::RefusalChangedFiles, detail));
                }
                case.undo(self.store, &bench.root)?;
                Ok(match self.run(&bench.root) {
                    Started::Recovered(healed) if healed.outcome == self.sound => verdict,
                    Started::Recovered(healed) => not_healed(&error, &difference(&self.sound, &healed.outcome)),
                    Started::Refused(again) => not_healed(&error, &again.to_string()),
                    Started::Panicked(text) => not_healed(&error, &text),
                })
            }
        }
    }

    /// The job went on.
    fn recovered(&self, case: &Case, look: &Look, recovered: &Recovered<O>, bench: &mut Bench) -> Verdict {
        let silently_wrong = || {
            let detail = format!("{}; {}", recovered.report, difference(&self.sound, &recovered.outcome));
            Verdict::Failed(Failure::SilentlyWrong, detail)
        };
        let is_sound = recovered.outcome == self.sound;
        let look = match look {
            Look::GoesOn(look) => look,
            Look::Refuses { .. } if !is_sound => return silently_wrong(),
            Look::Refuses { message, .. } => {
                let detail = format!("inspection refuses: {message}; the start goes on: {}", recovered.report);
                return Verdict::Failed(Failure::InspectionDiffers, detail);
            }
        };
        if let Some(verdict) = self.check_tail(case, look, recovered, bench) {
            return verdict;
        }
        if !is_sound {
            return silently_wrong();
        }
        // Damage that only the start itself finds stands in its report, not in that of the inspection.
        let is_noticed = look.words != self.sound_look.words() || recovered.report.contains("rejected");
        if is_noticed { Verdict::Repaired } else { Verdict::Unneeded }
    }

    /// Whether what was cut may be cut, was told, and cost nothing that was acknowledged.
    fn check_tail(&self, case: &Case, look: &GoesOn, recovered: &Recovered<O>, bench: &mut Bench) -> Option<Verdict> {
        let end = self.newest.as_ref().map_or(End::NotConcerned, |newest| newest.end_after(case));
        let failed = |failure, detail: String| Some(Verdict::Failed(failure, detail));
        let sound_tail = match &self.sound_look {
            Look::GoesOn(sound) => sound.tail,
            Look::Refuses { .. } => None,
        };
        match end {
            End::NotConcerned if look.tail == sound_tail => None,
            End::NotConcerned if case.kind == FileKind::NewestSegment && case.change == Change::Remove => None,
            End::NotConcerned | End::Proven => failed(Failure::CutTooWide, recovered.report.clone()),
            End::Ambiguous { offset, is_silent } => {
                match look.tail {
                    Some((cut, _)) if cut != offset as u64 => {
                        return failed(Failure::CutTooWide, format!("byte {offset}: {}", recovered.report));
                    }
                    None if !is_silent => return failed(Failure::CutUnreported, recovered.report.clone()),
                    Some((_, bytes)) if !tells_the_cut(&recovered.report, bytes) => {
                        return failed(Failure::CutUnreported, recovered.report.clone());
                    }
                    _ => {}
                }
                match &*self.outcome_of_a_log_cut_at(offset, bench) {
                    Ok(expected) if *expected == recovered.outcome => Some(Verdict::AmbiguousTail),
                    Ok(expected) => failed(Failure::SilentlyWrong, difference(expected, &recovered.outcome)),
                    Err(reason) => failed(Failure::Harness, format!("the log cut at byte {offset}: {reason}")),
                }
            }
        }
    }

    /// What the store comes to whose log ends at this byte of the newest segment: that end was never acknowledged there.
    fn outcome_of_a_log_cut_at(&self, len: usize, bench: &mut Bench) -> Arc<Result<O, String>> {
        let known = self.cut_at.lock().unwrap_or_else(PoisonError::into_inner).get(&len).cloned();
        known.unwrap_or_else(|| {
            let target = self.newest.as_ref().map_or("", NewestSegment::name).to_string();
            let case = Case { target, kind: FileKind::NewestSegment, change: Change::Cut { len } };
            bench.is_sound = false;
            let outcome = match self.damage(&case, bench).map(|()| self.run(&bench.root)) {
                Ok(Started::Recovered(recovered)) => Ok(recovered.outcome),
                Ok(Started::Refused(error)) => Err(error.to_string()),
                Ok(Started::Panicked(text)) => Err(text),
                Err(error) => Err(error.to_string()),
            };
            bench.is_sound = false;
            let outcome = Arc::new(outcome);
            self.cut_at.lock().unwrap_or_else(PoisonError::into_inner).insert(len, outcome.clone());
            outcome
        })
    }

    /// Brings the copy into the damaged state.
    fn damage(&self, case: &Case, bench: &mut Bench) -> io::Result<()> {
        if !bench.is_sound {
            self.store.write_to(&bench.root)?;
        }
        bench.is_sound = false;
        case.apply(self.store, self.foreign, &bench.root)
    }

    fn run(&self, root: &Path) -> Started<O> {
        match catch_unwind(AssertUnwindSafe(|| (self.recover)(root))) {
            Ok(Ok(recovered)) => Started::Recovered(recovered),
            Ok(Err(error)) => Started::Refused(error),
            Err(panic) => Started::Panicked(panic_text(&*panic)),
        }
    }
}

/// Whether a refusal says what is damaged: by its name, or in the words for what has no name any more.
fn names(case: &Case, message: &str) -> bool {
    let by_name = case.names().into_iter().any(|name| message.contains(name));
    let of_log = matches!(case.kind, FileKind::Segment | FileKind::NewestSegment);
    let is = |name: &str| case.kind == FileKind::Directory && case.target == name;
    let mixed = ["two logs are mixed", "two chains are mixed", "two jobs are mixed"];
    by_name
        || (of_log && (tells_a_lost_end(message) || message.contains(mixed[0]) || message.contains(mixed[2])))
        || (case.kind == FileKind::Manifest
            && (message.contains(mixed[1]) || message.contains("one after them, the newest")))
        // The only segment is the log.
        || ((is("wal") || (of_log && case.change == Change::Remove)) && message.contains("the log is gone"))
        || (is("manifests") && message.contains("no manifest in"))
}

/// Whether a refusal says that the log has lost its end.
fn tells_a_lost_end(message: &str) -> bool {
    message.contains("its newest segment is missing or cut")
}

/// Whether a report tells of so many bytes that were cut.
fn tells_the_cut(report: &str, bytes: u64) -> bool {
    report.contains(&format!(
        "; {bytes} bytes of an interrupted append cut, never acknowledged as far as anything proves: segment "
    ))
}

fn harness(error: io::Error) -> Verdict {
    Verdict::Failed(Failure::Harness, error.to_string())
}

fn not_healed(refusal: &Error, what: &str) -> Verdict {
    Verdict::Failed(Failure::NotHealed, format!("refused: {refusal}; then: {what}"))
}

fn difference<O: Debug>(expected: &O, found: &O) -> String {
    let text = |outcome: &O| format!("{outcome:?}").chars().take(2_000).collect::<String>();
    format!("expected {}, found {}", text(expected), text(found))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_string()
}
