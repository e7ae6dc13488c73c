//! The sweep: a job is interrupted at every durable step of its life, by every fault, and must come to the same end.
//!
//! 1. A probe run without faults, twice: a job whose two runs differ is not deterministic, and is reported as such.
//! 2. Every durable step of the probe is a point. For each point and each fault that fits, the job runs until the fault strikes,
//!    the disk is made what it could be then, a fresh driver starts on it, and the input is finished.
//! 3. Pairs: a second fault strikes while the first one is recovered from.
//! 4. Oracles watch all of it ([`Oracle`]); a run that diverges is shrunk and told with the command that plays it again.
//! 5. A sweep that proves nothing fails, too: a fault that never struck, or one side of a crash that was never seen.
//!
//! The job runs in lockstep: between two batches nothing is under way. So a run has the same durable steps, in the same order, each
//! time, and a report is the same byte for byte. What runs side by side in a real job (a checkpoint and the batches after it) is
//! tried by slow steps, which are held while the job goes on.

mod env;
mod fault;
mod gate;
mod input;
mod life;
mod oracle;
mod play;
mod probe;
mod replay;
mod report;
mod run;
mod schedule;
mod script;
mod shrink;
mod stored;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use floodmark::testing::disk::{Disk, Step, TracedStep};
use floodmark::{Record, StreamingContext};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

pub use env::{Env, Output};
pub use fault::Fault;
pub use oracle::{Divergence, Oracle};
pub use play::Side;
pub use replay::{REPLAY, Replay};
pub use report::{Cell, Failure, Outcome, Report, Row};
pub use run::Run;
pub use schedule::{Schedule, Strike};
pub use script::Restart;

use play::{Played, play};
use probe::Probe;
use script::Script;

type Build = Arc<dyn Fn(&Env) -> floodmark::Result<StreamingContext> + Send + Sync>;
type Check = Arc<dyn Fn(&Run<'_>) -> bool + Send + Sync>;
type Planter = Arc<dyn Fn(Arc<dyn Disk>) -> Arc<dyn Disk> + Send + Sync>;
type Progress = Arc<dyn Fn(usize, usize) + Send + Sync>;

/// What all runs of a sweep share.
#[derive(Clone)]
struct Setup {
    build: Build,
    script: Arc<Script>,
    seed: u64,
    checks: Vec<(String, Check)>,
    planter: Option<Planter>,
    /// The job's directory is a working copy of what is in an object store: by itself it says nothing.
    is_working_copy: bool,
    beginning: Option<Beginning>,
}

/// What the job's directory holds before the first life.
#[derive(Clone)]
struct Beginning {
    store: PathBuf,
    /// Batches of the script that the job has been through there.
    batches: u64,
}

impl Setup {
    /// Batches of the script that are done before the first life.
    fn done_before(&self) -> u64 {
        self.beginning.as_ref().map_or(0, |beginning| beginning.batches)
    }

    fn planted(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        match &self.planter {
            Some(planter) => planter(disk),
            None => disk,
        }
    }

    fn check(&self, run: &Run<'_>) -> Result<(), Divergence> {
        for (name, check) in &self.checks {
            let what = match catch_unwind(AssertUnwindSafe(|| check(run))) {
                Ok(true) => continue,
                Ok(false) => format!("\"{name}\" does not hold"),
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                    format!("\"{name}\": {}", text.unwrap_or("it panicked"))
                }
            };
            return Err(Divergence::new(Oracle::Check, what));
        }
        Ok(())
    }

    /// The run without faults, twice.
    fn probe(&self) -> Result<(Probe, Played), Divergence> {
        let (played, probe) = play(self, &Schedule::default(), None);
        let (again, second) = play(self, &Schedule::default(), None);
        for played in [&played, &again] {
            if let Some(divergence) = &played.divergence {
                return Err(divergence.clone());
            }
        }
        probe.same_as(&second)?;
        Ok((probe, played))
    }
}

/// Interrupts a job at every durable step of its life and compares what comes of it with a plain run.
///
/// ```
/// use floodmark::StreamingContext;
/// use floodmark_chaos::sweep::{Env, Fault, Sweep};
///
/// fn totals(env: &Env) -> floodmark::Result<StreamingContext> {
///     let context = env.builder("totals").build()?;
///     env.input::<(String, u64)>(&context, "payments")
///         .update_state_by_key("totals", |new: &[u64], old: Option<u64>| Some(old.unwrap_or(0) + new.iter().sum::<u64>()))
///         .sink("out", env.sink("totals"));
///     Ok(context)
/// }
///
/// Sweep::new("totals", totals)
///     .input("payments", (1..=6_u64).map(|n| vec![("ann".to_string(), n), ("bob".to_string(), 2 * n)]))
///     .faults([Fault::CrashBefore, Fault::PowerCut])
///     .sample(12)
///     .check("nothing is lost", |run| run.state::<String, u64>("totals").values().sum::<u64>() == 63)
///     .run()
///     .assert_survived();
/// ```
#[must_use]
pub struct Sweep {
    name: String,
    setup: Setup,
    faults: Vec<Fault>,
    /// The kinds of steps at which faults strike; all of them, unless said.
    steps: Option<Vec<Step>>,
    sample: Option<usize>,
    nested: usize,
    threads: usize,
    shrinks: bool,
    stops: bool,
    progress: Option<Progress>,
}

impl Sweep {
    /// A sweep over the job that `build` declares; it is called for every life of the driver, and must not start the job. All
    /// faults, all points, no pairs, unless told otherwise.
    pub fn new(
        name: &str,
        build: impl Fn(&Env) -> floodmark::Result<StreamingContext> + Send + Sync + 'static,
    ) -> Self {
        let setup = Setup {
            build: Arc::new(build),
            script: Arc::default(),
            seed: 1,
            checks: Vec::new(),
            planter: None,
            is_working_copy: false,
            beginning: None,
        };
        Self {
            name: name.to_string(),
            setup,
            faults: Fault::ALL.to_vec(),
            steps: None,
            sample: None,
            nested: 0,
            threads: 3,
            shrinks: true,
            stops: false,
            progress: None,
        }
    }

    /// The name under which replay files know it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The records of an input, batch by batch. Unless [`restarts`](Self::restarts) are given, the job is restarted twice on the
    /// way: stopped gracefully after about a third of the batches, killed after two.
    pub fn input<T: Record>(mut self, uid: &str, batches: impl IntoIterator<Item = Vec<T>>) -> Self {
        Arc::make_mut(&mut self.setup.script).add(uid, batches.into_iter().collect());
        let script = Arc::make_mut(&mut self.setup.script);
        let batches = script.batches();
        // A multiple of 4: a checkpoint covers it.
        let (third, two_thirds) = (batches / 3 / 4 * 4, batches * 2 / 3);
        script.restarts =
            if third > 0 { vec![Restart::Graceful(third), Restart::Kill(two_thirds)] } else { Vec::new() };
        self
    }

    /// As [`input`](Self::input), with batches that a proptest strategy makes from the seed.
    pub fn random_input<T: Record + std::fmt::Debug>(
        self,
        uid: &str,
        batches: impl proptest::strategy::Strategy<Value = Vec<Vec<T>>>,
    ) -> Self {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.setup.seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let tree = batches.new_tree(&mut runner);
        let tree = tree.unwrap_or_else(|reason| panic!("the strategy of \"{uid}\" makes no value: {reason}"));
        self.input(uid, tree.current())
    }

    /// When the job is restarted without a fault; in rising order of batches.
    pub fn restarts(mut self, restarts: impl IntoIterator<Item = Restart>) -> Self {
        Arc::make_mut(&mut self.setup.script).restarts = restarts.into_iter().collect();
        self
    }

    /// The faults that strike; [all](Fault::ALL) by default.
    pub fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.faults = faults.into_iter().collect();
        self
    }

    /// Only at steps of these kinds does a first fault strike; at all of them by default.
    pub fn at(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps = Some(steps.into_iter().collect());
        self
    }

    /// Only so many pairs of a point and a fault, chosen by the seed.
    pub fn sample(mut self, count: usize) -> Self {
        self.sample = Some(count);
        self
    }

    /// So many runs more in which a second fault strikes during the recovery from the first, chosen by the seed.
    pub fn nested(mut self, count: usize) -> Self {
        self.nested = count;
        self
    }

    /// The seed of all choices and coins; 1 by default. To be given before [`random_input`](Self::random_input).
    pub fn seed(mut self, seed: u64) -> Self {
        self.setup.seed = seed;
        self
    }

    /// What must hold at the end of every run; a panic in it tells more than `false`.
    pub fn check(mut self, name: &str, holds: impl Fn(&Run<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.setup.checks.push((name.to_string(), Arc::new(holds)));
        self
    }

    /// Puts something between the job and its disk that is not as it should be, to see whether the sweep notices.
    pub fn planted(mut self, planter: impl Fn(Arc<dyn Disk>) -> Arc<dyn Disk> + Send + Sync + 'static) -> Self {
        self.setup.planter = Some(Arc::new(planter));
        self
    }

    /// The job's directory is a working copy of what is in an object store: a start fetches what counts, so the directory alone is not
    /// inspected.
    pub fn on_a_working_copy(mut self) -> Self {
        self.setup.is_working_copy = true;
        self
    }

    /// Every run begins with a copy of this store, which is what such a job has left in its directory: an earlier format, for
    /// example. It has computed `batches` batches of the script, and died; what it has published is elsewhere.
    pub fn begins_with(mut self, store: impl Into<PathBuf>, batches: u64) -> Self {
        self.setup.beginning = Some(Beginning { store: store.into(), batches });
        self
    }

    /// Runs at the same time; 3 by default. The report does not depend on it.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Whether runs that diverge are made as short as possible; they are by default.
    pub fn shrinks(mut self, shrinks: bool) -> Self {
        self.shrinks = shrinks;
        self
    }

    /// Whether the sweep is over when a run has diverged: to see whether anything is found at all.
    pub fn stops_at_first_failure(mut self) -> Self {
        self.stops = true;
        self
    }

    /// Is called after every run, with how many are through and how many there are.
    pub fn progress(mut self, progress: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Runs the sweep; or, when the environment variable [`REPLAY`] names a replay file of this sweep, that one run.
    ///
    /// # Panics
    /// When a replay file cannot be read.
    #[must_use]
    pub fn run(self) -> Report {
        if let Some(replay) = Replay::from_environment(&self.name) {
            return self.replay(&replay);
        }
        let (probe, plain) = match self.setup.probe() {
            Ok(probed) => probed,
            Err(divergence) => return Report::without_probe(&self.name, self.setup.seed, divergence),
        };
        let singles = self.singles(&probe);
        let mut performed = self.perform(&probe, &singles, 0);
        let is_over = self.stops && performed.iter().any(|played| played.divergence.is_some());
        let pairs = if is_over { Vec::new() } else { self.pairs(&probe, &singles, &performed) };
        performed.extend(self.perform(&probe, &pairs, singles.len()));
        let mut report = Report::new(&self.name, self.setup.seed, &self.setup.script, &probe, &plain);
        let expected = self.sample.is_none().then_some(singles.as_slice());
        report.add(singles.iter().chain(&pairs), &performed, expected);
        self.tell_failures(&mut report, &probe, singles.iter().chain(&pairs), &performed);
        report
    }

    /// Plays one run again.
    #[must_use]
    pub fn replay(self, replay: &Replay) -> Report {
        let setup = Setup { script: Arc::new(replay.shrunk.apply(&self.setup.script)), ..self.setup.clone() };
        let setup = Setup { seed: replay.seed, ..setup };
        let (probe, plain) = match setup.probe() {
            Ok(probed) => probed,
            Err(divergence) => return Report::without_probe(&self.name, setup.seed, divergence),
        };
        let (played, _) = play(&setup, &replay.schedule, Some(&probe));
        let mut report = Report::new(&self.name, setup.seed, &setup.script, &probe, &plain);
        report.add([&replay.schedule].into_iter(), std::slice::from_ref(&played), None);
        report.tell(replay.clone(), &played);
        report
    }

    /// Every point with every fault that fits, or a sample of them.
    fn singles(&self, probe: &Probe) -> Vec<Schedule> {
        let mut schedules = Vec::new();
        let is_meant = |step: &&TracedStep| self.steps.as_ref().is_none_or(|steps| steps.contains(&step.step));
        for (life, steps) in probe.steps.iter().enumerate() {
            for step in steps.iter().filter(is_meant) {
                for fault in self.faults.iter().copied().filter(|fault| fault.fits(step)) {
                    schedules.push(Schedule(vec![Strike { life: life + 1, point: step.point(), fault }]));
                }
            }
        }
        if let Some(count) = self.sample {
            let mut random = StdRng::seed_from_u64(self.setup.seed);
            schedules = schedules.choose_multiple(&mut random, count).cloned().collect();
            schedules.sort_unstable();
        }
        schedules
    }

    /// First faults that end a life, and another one in the recovery from each.
    fn pairs(&self, probe: &Probe, singles: &[Schedule], performed: &[Played]) -> Vec<Schedule> {
        // A fault that fits nowhere is not drawn, so that a job's pairs do not depend on faults that are none of its business.
        let fits = |fault: &Fault| probe.steps.iter().flatten().any(|step| fault.fits(step));
        let faults: Vec<Fault> = self.faults.iter().copied().filter(fits).collect();
        let mut random = StdRng::seed_from_u64(self.setup.seed ^ 0x9e37);
        let firsts = singles.iter().zip(performed).filter(|(_, played)| !played.steps_of_recovery.is_empty());
        let firsts: Vec<_> = firsts.filter(|(schedule, _)| schedule.0[0].fault.is_crash()).collect();
        let mut pairs = Vec::new();
        let Some(_) = firsts.first() else { return pairs };
        while pairs.len() < self.nested {
            let (first, played) = firsts[random.random_range(0..firsts.len())];
            let step = &played.steps_of_recovery[random.random_range(0..played.steps_of_recovery.len())];
            let fault = faults[random.random_range(0..faults.len())];
            if fault.fits(step) && !fault.changes_time() {
                let second = Strike { life: first.0[0].life + 1, point: step.point(), fault };
                pairs.push(Schedule(vec![first.0[0], second]));
            }
        }
        pairs
    }

    /// Plays all schedules on a few threads; what comes of them, in their order.
    fn perform(&self, probe: &Probe, schedules: &[Schedule], before: usize) -> Vec<Played> {
        let (next, through, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let total = if before == 0 { schedules.len() + self.nested } else { before + schedules.len() };
        let played = Mutex::new(Vec::with_capacity(schedules.len()));
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    loop {
                        if self.stops && failed.load(Ordering::Relaxed) {
                            return;
                        }
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(schedule) = schedules.get(index) else { return };
                        let (one, _) = play(&self.setup, schedule, Some(probe));
                        failed.fetch_or(one.divergence.is_some(), Ordering::Relaxed);
                        played.lock().unwrap_or_else(PoisonError::into_inner).push((index, one));
                        let through = through.fetch_add(1, Ordering::Relaxed) + 1;
                        if let Some(progress) = &self.progress {
                            progress(before + through, total);
                        }
                    }
                });
            }
        });
        let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
        played.sort_unstable_by_key(|(index, _)| *index);
        played.into_iter().map(|(_, played)| played).collect()
    }

    /// Makes the first failures short, and tells their stories.
    fn tell_failures<'a>(
        &self,
        report: &mut Report,
        probe: &Probe,
        schedules: impl Iterator<Item = &'a Schedule>,
        performed: &[Played],
    ) {
        const TOLD: usize = 3;
        for (schedule, played) in schedules.zip(performed) {
            let Some(divergence) = &played.divergence else { continue };
            if report.failures.len() >= TOLD {
                report.untold += 1;
                continue;
            }
            let replay = Replay::new(&self.name, self.setup.seed, schedule);
            if self.shrinks {
                let (shrunk, again) = shrink::shrink(&self.setup, probe, replay.clone(), divergence.oracle);
                match again.divergence {
                    Some(_) => report.tell(shrunk, &again),
                    // A failure all the same: something in it is not decided by the seed.
                    None => report.tell_unrepeated(replay, played),
                }
            } else {
                report.tell(replay, played);
            }
        }
    }
}
