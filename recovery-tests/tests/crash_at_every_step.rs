//! The sweep: a job dies, tears, fails or finds the disk full at every durable step of its life; the next life goes on,
//! and nothing differs from a plain run, neither state nor output, and nothing comes twice.
//!
//! The steps of a run depend a little on how threads interleave, so the table counts the faults under the steps at which
//! they struck. A fault that strikes nowhere, or a kind of step at which none struck, fails the sweep.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::{BATCHES, Plain, World};
use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Step};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Threads of the sweep: lives wait for the disk most of the time.
const THREADS: usize = 4;
/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Which first crashes are followed by crashes during recovery.
const NESTED_SEED: u64 = 0xf100d;
const NESTED_CRASHES: usize = 6;

/// A fault, and whether the machine loses power with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    DieBefore,
    DieAfter,
    PowerBefore,
    PowerAfter,
    TearHeader,
    TearPayload,
    FailOnce,
    DiskFull,
}

impl Blow {
    const ALL: [Self; 8] = [
        Self::DieBefore,
        Self::DieAfter,
        Self::PowerBefore,
        Self::PowerAfter,
        Self::TearHeader,
        Self::TearPayload,
        Self::FailOnce,
        Self::DiskFull,
    ];

    fn fault(self) -> Fault {
        match self {
            Self::DieBefore | Self::PowerBefore => Fault::DieBefore,
            Self::DieAfter | Self::PowerAfter => Fault::DieAfter,
            Self::TearHeader => Fault::Tear { bytes: 13 },
            Self::TearPayload => Fault::Tear { bytes: 61 },
            Self::FailOnce => Fault::FailOnce,
            Self::DiskFull => Fault::DiskFull,
        }
    }

    fn disk(self) -> FaultyDisk {
        match self {
            Self::PowerBefore | Self::PowerAfter => FaultyDisk::losing_unsynced(Arc::new(LocalDisk)),
            _ => FaultyDisk::new(Arc::new(LocalDisk)),
        }
    }

    /// Only appends tear; elsewhere it would be the same as dying before.
    fn fits(self, step: Step) -> bool {
        !matches!(self, Self::TearHeader | Self::TearPayload) || step == Step::WalAppend
    }
}

/// One run of the sweep: `blow` at step `number`, and at another step of the recovery after it.
#[derive(Clone, Copy, Debug)]
struct Run {
    blow: Blow,
    number: u64,
    nested: Option<(Blow, u64)>,
}

/// Where the faults of a run struck.
#[derive(Debug, Default)]
struct Struck {
    first: Option<Step>,
    nested: Option<Step>,
}

fn struck(disk: &FaultyDisk) -> Option<Step> {
    disk.trace().into_iter().find(|step| step.fault.is_some()).map(|step| step.step)
}

/// A life that goes as far as the disk lets it: to the end and a graceful stop, unless a fault ends it.
fn live(world: &World, directory: &Path, disk: &FaultyDisk) -> Result<(), floodmark::Error> {
    let life = world.start(directory, Arc::new(disk.clone()))?;
    life.run_to(BATCHES)?;
    life.running.stop(true)
}

/// The plain run, and the durable steps of it.
fn probe() -> (Plain, Vec<Step>) {
    let (world, place) = (World::default(), tempfile::tempdir().unwrap());
    let disk = FaultyDisk::new(Arc::new(LocalDisk));
    let life = world.start(place.path(), Arc::new(disk.clone())).unwrap();
    life.run_to(BATCHES).unwrap();
    let plain = Plain { totals: life.totals().unwrap(), published: world.published(), timed: world.timed() };
    life.running.stop(true).unwrap();
    let timed: usize = plain.timed.iter().map(|(.., partitions)| partitions.iter().map(Vec::len).sum::<usize>()).sum();
    assert!(
        plain.timed.len() as u64 == BATCHES + BATCHES / 2 && timed > 300,
        "{timed} results of windows and timeouts"
    );
    (plain, disk.trace().into_iter().map(|step| step.step).collect())
}

fn perform(run: Run, plain: &Plain) -> Result<Struck, String> {
    let (world, place) = (World::default(), tempfile::tempdir().unwrap());
    let mut result = Struck::default();
    for (blow, number, result) in [
        Some((run.blow, run.number, &mut result.first)),
        run.nested.map(|(blow, number)| (blow, number, &mut result.nested)),
    ]
    .into_iter()
    .flatten()
    {
        let disk = blow.disk();
        disk.arm(number, blow.fault());
        let outcome = live(&world, place.path(), &disk);
        *result = struck(&disk);
        if disk.is_dead() && outcome.is_ok() {
            return Err("a job whose disk died has ended well".to_string());
        }
        if result.is_none()
            && let Err(error) = outcome
        {
            return Err(format!("a job that nothing happened to has failed: {error}"));
        }
    }
    let life =
        world.start(place.path(), Arc::new(LocalDisk)).map_err(|error| format!("the job does not recover: {error}"))?;
    let report = life.running.recovery().to_string();
    let failed = |what: String| format!("{what}\n  the last recovery: {report}");
    life.run_to(BATCHES).map_err(|error| failed(format!("the recovered job fails: {error}")))?;
    plain.check(&world, &life).map_err(failed)?;
    drop(life);
    if run.nested.is_some() || !run.number.is_multiple_of(4) {
        return Ok(result);
    }
    // Recovering once more changes nothing.
    let life = world
        .start(place.path(), Arc::new(LocalDisk))
        .map_err(|error| failed(format!("it does not recover twice: {error}")))?;
    plain.check(&world, &life).map_err(failed)?;
    Ok(result)
}

/// Performs all runs on a few threads; ends the process when one hangs, since nothing else can.
fn perform_all(runs: &[Run], plain: &Plain) -> Vec<(Run, Struck)> {
    let next = AtomicUsize::new(0);
    let (done, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match watched(*run, || perform(*run, plain)) {
                        Ok(struck) => done.lock().unwrap().push((*run, struck)),
                        Err(failure) => failures.lock().unwrap().push(format!("{run:?}: {failure}")),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for failure in failures.iter().take(10) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} of {} runs failed", failures.len(), runs.len());
    done.into_inner().unwrap()
}

fn watched<T>(run: Run, act: impl FnOnce() -> T) -> T {
    let (finished, watch) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{run:?} hangs");
                std::process::abort();
            }
        });
        let result = act();
        drop(finished);
        result
    })
}

type Table = BTreeMap<Step, BTreeMap<Blow, u64>>;

fn print(title: &str, table: &Table, blows: &[Blow]) {
    println!("{title}");
    let heads: Vec<String> = blows.iter().map(|blow| format!("{blow:?}")).collect();
    println!("{:<18} {}", "step", heads.join("  "));
    for (step, counts) in table {
        let count = |(blow, head): (&Blow, &String)| {
            format!("{:>width$}", counts.get(blow).map_or("-".to_string(), u64::to_string), width = head.len())
        };
        let row: Vec<String> = blows.iter().zip(&heads).map(count).collect();
        println!("{:<18} {}", step.name(), row.join("  "));
    }
}

#[test]
fn whatever_happens_at_whichever_durable_step_the_next_life_goes_on_exactly_once() {
    let (plain, steps) = probe();
    let mut runs = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        for blow in Blow::ALL.into_iter().filter(|blow| blow.fits(*step)) {
            runs.push(Run { blow, number: index as u64 + 1, nested: None });
        }
    }
    let mut table = Table::new();
    let mut idle = 0;
    for (run, struck) in perform_all(&runs, &plain) {
        match struck.first {
            Some(step) => *table.entry(step).or_default().entry(run.blow).or_default() += 1,
            None => idle += 1, // a step less than in the plain run
        }
    }
    print(&format!("{} runs over {} steps, {idle} without a fault", runs.len(), steps.len()), &table, &Blow::ALL);
    assert!(steps.iter().all(|step| table.contains_key(step)), "a step was never struck");
    assert!(idle * 20 < runs.len(), "{idle} of {} faults never struck", runs.len());
    for step in table.keys() {
        for blow in Blow::ALL.into_iter().filter(|blow| blow.fits(*step) && !table[step].contains_key(blow)) {
            // Threads interleaved otherwise than in the plain run: it is near.
            let places =
                steps.iter().enumerate().filter(|(_, other)| *other == step).map(|(index, _)| index as i64 + 1);
            let mut near = places.flat_map(|number| [0, 1, -1, 2, -2, 3, -3].map(|off| (number + off).max(1) as u64));
            let strikes = |number| perform(Run { blow, number, nested: None }, &plain).unwrap().first == Some(*step);
            assert!(near.any(strikes), "{blow:?} never struck at {step}");
        }
    }
}

#[test]
fn a_crash_during_recovery_changes_nothing_either() {
    let (plain, steps) = probe();
    println!("seed {NESTED_SEED}");
    let mut random = StdRng::seed_from_u64(NESTED_SEED);
    let blows = [Blow::DieBefore, Blow::DieAfter, Blow::PowerBefore, Blow::TearPayload, Blow::FailOnce];
    let mut runs = Vec::new();
    for _ in 0..NESTED_CRASHES {
        let first = [Blow::DieBefore, Blow::DieAfter, Blow::PowerAfter, Blow::TearHeader][random.random_range(0..4)];
        let number = random.random_range(1..=steps.len() as u64);
        for nested in 1..=steps_of_recovery(first, number) {
            for blow in blows {
                runs.push(Run { blow: first, number, nested: Some((blow, nested)) });
            }
        }
    }
    let mut table = Table::new();
    for (run, struck) in perform_all(&runs, &plain) {
        if let (Some((blow, _)), Some(step)) = (run.nested, struck.nested) {
            *table.entry(step).or_default().entry(blow).or_default() += 1;
        }
    }
    print(&format!("{} crashes during recovery", runs.len()), &table, &blows);
    for step in [Step::ManifestCreate, Step::WalRoll, Step::WalAppend, Step::WalSync, Step::LiveBuild] {
        assert!(table.contains_key(&step), "recovery was never interrupted at {step}");
    }
}

/// How many durable steps a recovery after this crash takes until live input goes on.
fn steps_of_recovery(first: Blow, number: u64) -> u64 {
    let (world, place) = (World::default(), tempfile::tempdir().unwrap());
    let disk = first.disk();
    disk.arm(number, first.fault());
    let ended = live(&world, place.path(), &disk);
    assert!(ended.is_err() || struck(&disk).is_none(), "{first:?} at {number} was not noticed");
    let disk = FaultyDisk::new(Arc::new(LocalDisk));
    let life = world.start(place.path(), Arc::new(disk.clone())).unwrap();
    let steps = disk.trace().len() as u64;
    drop(life);
    steps
}
