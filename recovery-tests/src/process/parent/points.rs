//! Kills at named points.
//!
//! A plain run in lockstep tells what must come out, and which operations of which durable steps a life consists of. Then every
//! kind of operation (the stage of the life, the step, the operation) is interrupted at its first, a middle and its last
//! occurrence, before it, after it, and where it appends bytes in the midst of it: the victim stops there for ever and is killed.
//! The same in the recoveries of victims that were killed before, at points of all kinds. Sometimes the other threads of the
//! victim run on for a while. The last life finishes, and everything must be as in the plain run, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use floodmark::testing::disk::Step;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::output::{PublishedBatch, read_batches};
use super::report::{Divergence, PointReport, Progress, Recoveries};
use super::witness::PATIENCE;
use super::{Ending, Witness, in_parallel, scratch, victims_at_once};
use crate::process::victim::{Moment, Options, Pace, Place, Planted, Point, Stage, Until, Word};
use crate::process::{ProcessError, Watched, program};

/// Batches of a whole run.
const BATCHES: u64 = 14;
/// Victims that are killed once in the plain run's course, and then while they recover.
const SCARS: usize = 6;
/// How long the other threads may run on while one is held.
const OTHERS_RUN_ON: Duration = Duration::from_millis(20);

/// Which points to go through, and where.
#[derive(Clone, Debug)]
pub struct Points {
    pub seed: u64,
    /// At most so many points, drawn by the seed; all of them, if it is not said.
    pub most: Option<usize>,
    /// Only points of first lives at this step, if one is given.
    pub only: Option<Step>,
    /// What the victims do wrong on purpose, to see that it is found.
    pub planted: Option<Planted>,
    /// Victims at once.
    pub at_once: usize,
    /// Where the victims' directories are made.
    pub directory: PathBuf,
    /// The victim's program.
    pub program: PathBuf,
}

impl Points {
    /// All points, in the directory for temporary files, as many victims at once as the processors can bear.
    ///
    /// # Errors
    /// When the victim's program is not built.
    pub fn new(seed: u64) -> Result<Self, ProcessError> {
        let (directory, program) = (std::env::temp_dir(), program("victim")?);
        Ok(Self { seed, most: None, only: None, planted: None, at_once: victims_at_once(), directory, program })
    }
}

/// Kills a victim at every named point, lets it finish, and compares with a plain run. `progress` is called after every victim.
///
/// # Errors
/// When something could not be played: a directory, a program, the plain run. What a victim did wrong is in the report.
///
/// ```no_run
/// use floodmark_chaos::process::parent::{Points, points};
///
/// let report = points(&Points::new(7)?, &|progress| eprint!("\r{} of {}", progress.kills, progress.of))?;
/// println!("{report}");
/// assert!(report.survived());
/// # Ok::<(), floodmark_chaos::process::ProcessError>(())
/// ```
pub fn points(plan: &Points, progress: &(dyn Fn(&Progress) + Sync)) -> Result<PointReport, ProcessError> {
    let started = Instant::now();
    let mut random = StdRng::seed_from_u64(plan.seed);
    let plain = plain_run(plan)?;
    let mut diverged = Vec::new();
    let mut cases = cases(plan, &plain, &mut random, &mut diverged)?;
    if let Some(most) = plan.most {
        cases.shuffle(&mut random);
        cases.truncate(most);
    }
    let report = Mutex::new(PointReport { divergences: diverged, ..empty_report(plan, cases.len()) });
    let unplayed = Mutex::new(None);
    in_parallel(&cases, plan.at_once, |case| {
        let played = play(plan, case, &plain);
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        match played {
            Ok(played) => report.take(case, played),
            Err(error) => drop(unplayed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error)),
        }
        let of = cases.iter().map(|case| 1 + u32::from(case.scar.is_some())).sum();
        let divergences = report.divergences.len() as u32;
        progress(&Progress { kills: report.kills, of, lives: report.lives, divergences });
    });
    if let Some(error) = unplayed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.never_struck = never_struck(&cases, &report);
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Begun operations of a life, by their kinds.
type Operations = BTreeMap<(Stage, Step, String), u64>;

/// A whole run without a kill.
struct Plain {
    results: Vec<PublishedBatch>,
    windows: Vec<PublishedBatch>,
    operations: Operations,
}

/// A victim: killed at the scar, if it has one, then at the point.
#[derive(Clone, Debug)]
struct Case {
    scar: Option<Point>,
    point: Point,
    /// How long the other threads run on.
    run_on: Duration,
    /// Whether it recovers once more in the end, which must change nothing.
    twice: bool,
}

impl Case {
    /// Under which name its strikes are counted.
    fn kind(&self) -> (String, String) {
        let Point { stage, step, .. } = &self.point;
        let stage = match (stage, &self.scar) {
            (Some(Stage::Recovering), None) => "starting fresh",
            (Some(stage), _) => stage.name(),
            (None, _) => "any stage",
        };
        (format!("{stage}, {step}"), self.point.moment.name().to_string())
    }
}

fn plain_run(plan: &Points) -> Result<Plain, ProcessError> {
    let directory = scratch(&plan.directory)?;
    let place = Place::new(directory.path());
    let (_, sight) = Witness::new(&plan.program, &place, Pace::Lockstep).finish(Until::Batches(BATCHES))?;
    let (results, windows) = (read_batches(&place.results())?, read_batches(&place.windows())?);
    Ok(Plain { results, windows, operations: sight.operations })
}

/// All points: of first lives, and of recoveries after a kill.
fn cases(
    plan: &Points,
    plain: &Plain,
    random: &mut StdRng,
    diverged: &mut Vec<Divergence>,
) -> Result<Vec<Case>, ProcessError> {
    let mut found: Vec<(Option<Point>, Point)> =
        points_of(&plain.operations).into_iter().map(|point| (None, point)).collect();
    if let Some(only) = plan.only {
        found.retain(|(_, point)| point.step == only);
    }
    let mut scars: Vec<Point> = found.iter().map(|(_, point)| point.clone()).collect();
    scars.retain(|point| point.stage == Some(Stage::Running));
    scars.shuffle(random);
    scars.truncate(if plan.only.is_none() { SCARS } else { 0 });
    for scar in scars {
        let operations = recovery_after(plan, &scar, diverged)?;
        found.extend(points_of(&operations).into_iter().map(|point| (Some(scar.clone()), point)));
    }
    let case = |(number, (scar, point)): (usize, (Option<Point>, Point))| {
        let run_on =
            if random.random_bool(0.4) { random.random_range(Duration::ZERO..OTHERS_RUN_ON) } else { Duration::ZERO };
        Case { scar, point, run_on, twice: number.is_multiple_of(5) }
    };
    Ok(found.into_iter().enumerate().map(case).collect())
}

/// The operations of the recovery after this kill: none when the life did not come to the point, or when something diverged.
fn recovery_after(plan: &Points, scar: &Point, diverged: &mut Vec<Divergence>) -> Result<Operations, ProcessError> {
    let directory = scratch(&plan.directory)?;
    let mut witness = Witness::new(&plan.program, &Place::new(directory.path()), Pace::Lockstep);
    let mut killed_and_recovered = || match held_life(plan, &mut witness, scar, Duration::ZERO)? {
        true => witness.finish(Until::Batches(BATCHES)).map(|(_, sight)| sight.operations),
        false => Ok(Operations::new()),
    };
    match killed_and_recovered() {
        Ok(mut operations) => {
            operations.retain(|(stage, ..), _| *stage == Stage::Recovering);
            Ok(operations)
        }
        Err(error) => {
            diverged.push(divergence(format!("killed at {scar}"), error.to_string(), &witness, directory.keep()));
            Ok(Operations::new())
        }
    }
}

fn divergence(victim: String, story: String, witness: &Witness, left: PathBuf) -> Divergence {
    Divergence { story, victim, pace: Pace::Lockstep, lives: witness.lives().to_vec(), left }
}

/// Of every kind of operation the first, a middle and the last one, at every moment that it has.
fn points_of(operations: &Operations) -> Vec<Point> {
    let mut points = Vec::new();
    for ((stage, step, operation), count) in operations {
        for nth in BTreeSet::from([1, count.div_ceil(2), *count]) {
            for moment in Moment::ALL.into_iter().filter(|moment| *moment != Moment::Within || operation == "append") {
                let (stage, operation) = (Some(*stage), Some(operation.clone()));
                points.push(Point { stage, step: *step, operation, nth, moment });
            }
        }
    }
    points
}

/// A life that is killed when it holds at a point. Says whether it did; if not, it went to its end.
fn held_life(plan: &Points, witness: &mut Witness, point: &Point, run_on: Duration) -> Result<bool, ProcessError> {
    let until = Some(Until::Batches(BATCHES));
    let options = Options { stop_at: Some(point.clone()), until, planted: plan.planted, ..witness.options() };
    let mut life = witness.start(&options)?;
    match life.watch_for(PATIENCE, |word| *word == Word::Holding) {
        Watched::Seen => {
            life.watch(run_on);
            life.kill()?;
            witness.note(format!("held at {point} for {run_on:?}"), life.sight())?;
            Ok(true)
        }
        Watched::Ended => {
            let sight = life.finish(PATIENCE)?;
            witness.note(format!("never came to {point}"), &sight)?;
            Ok(false)
        }
        Watched::TimedOut => {
            let at = life.sight().published;
            Err(ProcessError::Diverged(format!("a life neither came to {point} nor to its end; it is at batch {at}")))
        }
    }
}

/// What became of a case.
struct Played {
    held: bool,
    kills: u32,
    witness: Witness,
    /// The comparison in the end, or what was wrong, and where it can be seen.
    outcome: Result<Ending, (String, PathBuf)>,
}

fn play(plan: &Points, case: &Case, plain: &Plain) -> Result<Played, ProcessError> {
    let directory = scratch(&plan.directory)?;
    let place = Place::new(directory.path());
    let mut witness = Witness::new(&plan.program, &place, Pace::Lockstep);
    let (mut held, mut kills) = (false, 0);
    let mut to_the_end = || {
        if let Some(scar) = &case.scar {
            kills += u32::from(held_life(plan, &mut witness, scar, Duration::ZERO)?);
        }
        held = held_life(plan, &mut witness, &case.point, case.run_on)?;
        kills += u32::from(held);
        let mut ending = Ending::default();
        for _ in 0..=u32::from(case.twice) {
            ending = witness.finish(Until::Batches(BATCHES))?.0;
            compare(&plain.results, &read_batches(&place.results())?, "results")?;
            compare(&plain.windows, &read_batches(&place.windows())?, "windows")?;
        }
        Ok(ending)
    };
    let outcome = to_the_end().map_err(|error: ProcessError| (error.to_string(), directory.keep()));
    Ok(Played { held, kills, witness, outcome })
}

/// Every batch of the whole run has the bytes of the plain one. What graceful stops add behind it is empty, and may be more here.
fn compare(plain: &[PublishedBatch], found: &[PublishedBatch], output: &str) -> Result<(), ProcessError> {
    let whole = |batches: &[PublishedBatch]| batches.iter().filter(|batch| batch.number <= BATCHES).cloned().collect();
    let (plain, found): (Vec<_>, Vec<_>) = (whole(plain), whole(found));
    for (plain, found) in plain.iter().zip(&found) {
        if plain != found {
            let story = format!("{output} of batch {} are not those of the plain run, byte for byte", plain.number);
            return Err(ProcessError::Diverged(story));
        }
    }
    if plain.len() == found.len() {
        return Ok(());
    }
    Err(ProcessError::Diverged(format!("{} batches of {output}: expected {}", found.len(), plain.len())))
}

fn empty_report(plan: &Points, points: usize) -> PointReport {
    PointReport {
        seed: plan.seed,
        points: points as u32,
        struck: BTreeMap::new(),
        missed: 0,
        never_struck: Vec::new(),
        kills: 0,
        lives: 0,
        batches: 0,
        recoveries: Recoveries::default(),
        divergences: Vec::new(),
        seconds: 0.0,
    }
}

impl PointReport {
    fn take(&mut self, case: &Case, played: Played) {
        let Played { held, kills, witness, outcome } = played;
        self.kills += kills;
        self.lives += witness.lives().len() as u32;
        self.recoveries.add(&witness.recoveries());
        if held {
            let (step, moment) = case.kind();
            *self.struck.entry(step).or_default().entry(moment).or_default() += 1;
        } else {
            self.missed += 1;
        }
        match outcome {
            Ok(ending) => self.batches += ending.batches,
            Err((story, left)) => {
                let victim = match &case.scar {
                    None => format!("killed at {}", case.point),
                    Some(scar) => format!("killed at {scar}, then at {}", case.point),
                };
                self.divergences.push(divergence(victim, story, &witness, left));
            }
        }
    }
}

/// Kinds of points that were aimed at in vain, every time.
fn never_struck(cases: &[Case], report: &PointReport) -> Vec<String> {
    let kinds: BTreeSet<(String, String)> = cases.iter().map(Case::kind).collect();
    let struck = |(step, moment): &(String, String)| report.struck.get(step).is_some_and(|at| at.contains_key(moment));
    let never = kinds.iter().filter(|kind| !struck(kind));
    never.map(|(step, moment)| format!("{step}, {moment}")).collect()
}
