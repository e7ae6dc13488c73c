//! Kills at random moments.
//!
//! Every victim has a directory of its own and is killed a number of times; in its last life it takes what is left, stops, and
//! is compared. Half of them run in real time, half in lockstep. A kill is aimed: at a time after the start of the process, of
//! the recovery, of live input, of a graceful stop, or of a batch, or at the beginning of a rare durable step. The seed decides the aims;
//! where in the job they fall is the machine's choice.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use floodmark::testing::disk::Step;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::report::{Divergence, KillReport, Progress, Recoveries};
use super::{Ending, Life, Sight, Witness, in_parallel, scratch, victims_at_once};
use crate::process::victim::{Options, Pace, Place, Word};
use crate::process::{ProcessError, Watched, program};

/// Kills of one victim, before it may finish.
const KILLS_A_VICTIM: u32 = 20;
/// A life that has to wait longer for what it is aimed at is killed all the same.
const AIM_PATIENCE: Duration = Duration::from_secs(3);

/// How much to kill, and where.
#[derive(Clone, Debug)]
pub struct Kills {
    /// Lives that end in SIGKILL, of all victims together.
    pub kills: u32,
    pub seed: u64,
    /// Victims at once.
    pub at_once: usize,
    /// Where the victims' directories are made.
    pub directory: PathBuf,
    /// The victim's program.
    pub program: PathBuf,
}

impl Kills {
    /// So many kills, in the directory for temporary files, as many victims at once as the processors can bear.
    ///
    /// # Errors
    /// When the victim's program is not built.
    pub fn new(kills: u32, seed: u64) -> Result<Self, ProcessError> {
        let (directory, program) = (std::env::temp_dir(), program("victim")?);
        Ok(Self { kills, seed, at_once: victims_at_once(), directory, program })
    }
}

/// Kills victims at random moments, lets each finish, and compares what it left. `progress` is called after every life.
///
/// # Errors
/// When something could not be played: a directory, a program. What a victim did wrong is in the report.
///
/// ```no_run
/// use floodmark_chaos::process::parent::{Kills, kills};
///
/// let report = kills(&Kills::new(500, 7)?, &|progress| eprint!("\r{} of {}", progress.kills, progress.of))?;
/// println!("{report}");
/// assert!(report.survived());
/// # Ok::<(), floodmark_chaos::process::ProcessError>(())
/// ```
pub fn kills(plan: &Kills, progress: &(dyn Fn(&Progress) + Sync)) -> Result<KillReport, ProcessError> {
    let started = Instant::now();
    let victims = plan.kills.div_ceil(KILLS_A_VICTIM).max(2);
    let share = |number: u32| plan.kills / victims + u32::from(number < plan.kills % victims);
    let victims: Vec<Assignment> = (0..victims)
        .map(|number| Assignment {
            number,
            kills: share(number),
            pace: if number.is_multiple_of(2) { Pace::Real } else { Pace::Lockstep },
        })
        .collect();
    let shared = Shared { report: Mutex::new(empty_report(plan, victims.len())), unplayed: Mutex::new(None), progress };
    in_parallel(&victims, plan.at_once, |assignment| {
        if let Err(error) = hunt(plan, *assignment, &shared) {
            shared.unplayed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    });
    if let Some(error) = shared.unplayed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut report = shared.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn empty_report(plan: &Kills, victims: usize) -> KillReport {
    KillReport {
        seed: plan.seed,
        kills: 0,
        lives: 0,
        victims: victims as u32,
        by_phase: BTreeMap::new(),
        by_step: BTreeMap::new(),
        batches: 0,
        records: 0,
        recoveries: Recoveries::default(),
        divergences: Vec::new(),
        seconds: 0.0,
    }
}

/// One victim.
#[derive(Clone, Copy)]
struct Assignment {
    number: u32,
    kills: u32,
    pace: Pace,
}

/// What the hunts on all victims share.
struct Shared<'p> {
    report: Mutex<KillReport>,
    /// The first error that is none of a victim.
    unplayed: Mutex<Option<ProcessError>>,
    progress: &'p (dyn Fn(&Progress) + Sync),
}

impl Shared<'_> {
    fn report(&self) -> MutexGuard<'_, KillReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life_ended(&self, plan: &Kills, sight: &Sight, killed: bool) {
        let progress = {
            let mut report = self.report();
            report.lives += 1;
            if killed {
                report.kills += 1;
                *report.by_phase.entry(sight.phase()).or_default() += 1;
                for step in sight.steps_under_way() {
                    *report.by_step.entry(step.to_string()).or_default() += 1;
                }
            }
            let divergences = report.divergences.len() as u32;
            Progress { kills: report.kills, of: plan.kills, lives: report.lives, divergences }
        };
        (self.progress)(&progress);
    }
}

/// How a life is to end.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// So long after the process was started.
    Start(Duration),
    /// So long after the job began to recover.
    Recovery(Duration),
    /// So long after it took live input.
    Live(Duration),
    /// A graceful stop after so long, and a kill so long after that.
    Stop(Duration, Duration),
    /// So long after the n-th batch was given to the dataflow.
    Batch(u64, Duration),
    /// So long after an operation of this step was begun for the n-th time.
    Step(Step, u64, Duration),
}

/// Steps that are rare, or short, and are aimed at.
const RARE: [Step; 9] = [
    Step::WalRoll,
    Step::WalTruncate,
    Step::ManifestCreate,
    Step::ManifestRemove,
    Step::CheckpointFiles,
    Step::CheckpointRemove,
    Step::SinkFence,
    Step::SinkPublish,
    Step::LiveBuild,
];

impl Aim {
    fn draw(random: &mut StdRng, pace: Pace) -> Self {
        let mut within = |ms: u64| Duration::from_micros(random.random_range(0..ms * 1_000));
        match within(100).as_millis() {
            0..10 => Self::Start(within(30)),
            10..30 => Self::Recovery(within(50)),
            // A batch that a graceful stop adds has no block: in lockstep that may come only at the end.
            30..40 if pace == Pace::Real => Self::Stop(within(150), within(50)),
            40..65 => {
                let then = within(1);
                Self::Step(RARE[random.random_range(0..RARE.len())], random.random_range(1..8), then)
            }
            65..80 => {
                let then = within(4);
                Self::Batch(random.random_range(1..12), then)
            }
            _ => Self::Live(within(250)),
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(then) => write!(f, "killed {then:?} after the start"),
            Self::Recovery(then) => write!(f, "killed {then:?} after recovery began"),
            Self::Live(then) => write!(f, "killed {then:?} after live input began"),
            Self::Stop(after, then) => write!(f, "stopped after {after:?}, killed {then:?} later"),
            Self::Batch(nth, then) => write!(f, "killed {then:?} after batch {nth} of the life began"),
            Self::Step(step, nth, then) => write!(f, "killed {then:?} after operation {nth} of {step} began"),
        }
    }
}

/// Kills one victim as often as it is to be killed, lets it finish, and compares.
fn hunt(plan: &Kills, assignment: Assignment, shared: &Shared<'_>) -> Result<(), ProcessError> {
    let directory = scratch(&plan.directory)?;
    let mut witness = Witness::new(&plan.program, &Place::new(directory.path()), assignment.pace);
    let played = play(plan, assignment, &mut witness, shared);
    let mut report = shared.report();
    report.recoveries.add(&witness.recoveries());
    match played {
        Ok(ending) => {
            report.batches += ending.batches;
            report.records += ending.records;
        }
        Err(error) => report.divergences.push(Divergence {
            story: error.to_string(),
            victim: format!("victim {} of seed {}", assignment.number, plan.seed),
            pace: assignment.pace,
            lives: witness.lives().to_vec(),
            left: directory.keep(),
        }),
    }
    Ok(())
}

fn play(
    plan: &Kills,
    assignment: Assignment,
    witness: &mut Witness,
    shared: &Shared<'_>,
) -> Result<Ending, ProcessError> {
    let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(assignment.number));
    let mut random = StdRng::seed_from_u64(seed);
    let mut killed = 0;
    while killed < assignment.kills {
        let aim = Aim::draw(&mut random, assignment.pace);
        killed += u32::from(killed_life(plan, aim, witness, &mut random, shared)?);
    }
    let (ending, sight) = witness.finish(witness.a_little_further()?)?;
    shared.life_ended(plan, &sight, false);
    Ok(ending)
}

/// Says whether it was the kill that ended the life.
fn killed_life(
    plan: &Kills,
    aim: Aim,
    witness: &mut Witness,
    random: &mut StdRng,
    shared: &Shared<'_>,
) -> Result<bool, ProcessError> {
    let mut options = Options { seed: random.random(), workers: random.random_range(1..=3), ..witness.options() };
    if let Aim::Stop(after, _) = aim {
        options.stop_after = Some(after);
    }
    let mut life = witness.start(&options)?;
    wait(&mut life, aim);
    let killed = life.kill();
    let noted = witness.note(aim.to_string(), life.sight());
    let killed = killed?;
    shared.life_ended(plan, life.sight(), killed);
    noted.map(|()| killed)
}

/// Listens to a life until the moment at which it is to be killed.
fn wait(life: &mut Life, aim: Aim) {
    let mut seen = 0;
    let mut nth_word = |nth: u64, counts: &dyn Fn(&Word) -> bool| {
        life.watch_for(AIM_PATIENCE, |word| {
            seen += u64::from(counts(word));
            seen == nth
        })
    };
    let (came, then) = match aim {
        Aim::Start(then) => (Watched::Seen, then),
        Aim::Recovery(then) => (nth_word(1, &|word| *word == Word::Recovering), then),
        Aim::Live(then) => (nth_word(1, &|word| matches!(word, Word::Recovered { .. })), then),
        Aim::Stop(_, then) => (nth_word(1, &|word| *word == Word::Stopping), then),
        Aim::Batch(nth, then) => (nth_word(nth, &|word| matches!(word, Word::Batch(_))), then),
        Aim::Step(step, nth, then) => {
            (nth_word(nth, &|word| matches!(word, Word::Begin { step: begun, .. } if *begun == step)), then)
        }
    };
    if came == Watched::Seen {
        life.watch(then);
    }
}
