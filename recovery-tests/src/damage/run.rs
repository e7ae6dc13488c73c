//! Runs cases on several threads: looks at all, starts those that are to be started.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use floodmark::Error;
use floodmark::testing::inspect;
use floodmark::testing::wal::Sequence;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::case::Case;
use super::judge::{Bench, Judge};
use super::look::{Look, look};
use super::report::{DamageReport, Judged};
use super::store::Store;
use super::tail::{End, NewestSegment};
use super::verdict::Verdict;
use super::{DamageError, Progress, Recovered};

/// How a run goes.
pub(super) struct Plan<'p> {
    pub seed: u64,
    /// Of the damages that are decided alike so many are started.
    pub samples: usize,
    /// Of those that the decision does not notice.
    pub most_starts: Option<usize>,
    pub start_all: bool,
    pub threads: usize,
    pub progress: &'p (dyn Fn(Progress) + Send + Sync),
}

/// What a manifest of the job knows to come next in the log.
pub(super) fn known_next(job: &Path) -> Option<Sequence> {
    inspect(job).ok().and_then(|inspection| inspection.known_next_sequence())
}

/// Runs the cases.
pub(super) fn run<O: PartialEq + Debug + Send + Sync>(
    store: &Store,
    foreign: Option<&Store>,
    cases: &[Case],
    recover: &(dyn Fn(&Path) -> Result<Recovered<O>, Error> + Sync),
    plan: &Plan<'_>,
) -> Result<DamageReport, DamageError> {
    let scratch = crate::scratch::directory()?;
    let judge = judge_of(store, foreign, recover, scratch.path())?;
    let all: Vec<usize> = (0..cases.len()).collect();
    let looks = each(plan, "looking", &all, scratch.path(), |index, bench| judge.look(&cases[index], bench));
    let mut verdicts: Vec<Option<Verdict>> = vec![None; cases.len()];
    let mut started = vec![false; cases.len()];
    let mut groups = Groups::default();
    for (index, look) in looks.iter().enumerate() {
        match look {
            Ok(look) => groups.add(index, &cases[index], look, &judge),
            Err(verdict) => verdicts[index] = Some(verdict.clone()),
        }
    }
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut start = |which: &[usize], verdicts: &mut Vec<Option<Verdict>>| {
        let starts = each(plan, "starting", which, scratch.path(), |index, bench| match &looks[index] {
            Ok(look) => judge.start(&cases[index], look, bench),
            Err(verdict) => verdict.clone(),
        });
        for (index, verdict) in which.iter().zip(starts) {
            (verdicts[*index], started[*index]) = (Some(verdict), true);
        }
    };
    if plan.start_all {
        start(&all, &mut verdicts);
    }
    let chosen = groups.choose(plan, &mut rng);
    let chosen: Vec<usize> = chosen.into_iter().filter(|index| verdicts[*index].is_none()).collect();
    start(&chosen, &mut verdicts);
    let others = groups.settle(&mut verdicts, |index| match &looks[index] {
        Ok(Look::Refuses { kind, message }) => Some(judge.refused(&cases[index], *kind, message)),
        _ => None,
    });
    start(&others, &mut verdicts);
    let judged = cases.iter().zip(&verdicts).zip(&started);
    let judged = judged.filter_map(|((case, verdict), started)| {
        verdict.clone().map(|verdict| Judged { case, verdict, started: *started })
    });
    Ok(DamageReport::of(plan.seed, &judged.collect::<Vec<_>>()))
}

/// Runs the undamaged store, twice.
fn judge_of<'a, O: PartialEq + Debug>(
    store: &'a Store,
    foreign: Option<&'a Store>,
    recover: &'a (dyn Fn(&Path) -> Result<Recovered<O>, Error> + Sync),
    scratch: &Path,
) -> Result<Judge<'a, O>, DamageError> {
    let root = scratch.join("sound");
    store.write_to(&root)?;
    let job = store.job_in(&root);
    let (sound_look, known_next) = (look(&job), known_next(&job));
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        store.write_to(&root)?;
        outcomes.push(recover(&root).map_err(|error| DamageError::Unsound(error.to_string()))?.outcome);
    }
    let (again, sound) = (outcomes.pop(), outcomes.pop());
    match (sound, again) {
        (Some(sound), Some(again)) if sound == again => Ok(Judge {
            store,
            foreign,
            recover,
            sound,
            sound_look,
            newest: NewestSegment::of(store, known_next),
            cut_at: Mutex::new(HashMap::new()),
        }),
        (sound, again) => Err(DamageError::NotDeterministic(format!("{sound:?}, {again:?}"))),
    }
}

/// Cases by what is decided on them.
#[derive(Default)]
struct Groups {
    alike: BTreeMap<String, Vec<usize>>,
    /// Those on which is decided what is decided on the undamaged store.
    unnoticed: Vec<usize>,
}

impl Groups {
    fn add<O: PartialEq + Debug>(&mut self, index: usize, case: &Case, look: &Look, judge: &Judge<'_, O>) {
        let end = judge.newest.as_ref().map_or(End::NotConcerned, |newest| newest.end_after(case));
        if *look == judge.sound_look && end == End::NotConcerned {
            return self.unnoticed.push(index);
        }
        let key = format!("{} {} {end:?} {}", case.target, case.change.kind(), look.decision());
        self.alike.entry(key).or_default().push(index);
    }

    /// Which cases to start: some of each group, and those that went unnoticed, up to a number. The rest of these is left out.
    fn choose(&mut self, plan: &Plan<'_>, rng: &mut StdRng) -> Vec<usize> {
        let mut chosen = Vec::new();
        for group in self.alike.values_mut() {
            group.shuffle(rng);
            chosen.extend(group.iter().take(plan.samples));
        }
        self.unnoticed.shuffle(rng);
        chosen.extend(self.unnoticed.iter().take(plan.most_starts.unwrap_or(usize::MAX)));
        chosen.sort_unstable();
        chosen
    }

    /// Gives those that were not started the verdict of their like, or the one that their refusal has earned by itself; gives back
    /// those whose like do not agree.
    fn settle(&self, verdicts: &mut [Option<Verdict>], refusal: impl Fn(usize) -> Option<Verdict>) -> Vec<usize> {
        let mut others = Vec::new();
        for group in self.alike.values() {
            let started: Vec<Verdict> = group.iter().filter_map(|index| verdicts[*index].clone()).collect();
            let agree = started.windows(2).all(|pair| pair[0] == pair[1]);
            let agreed = started.first().filter(|first| agree && !first.is_failure()).cloned();
            for index in group.iter().copied() {
                match (&verdicts[index], refusal(index), &agreed) {
                    (Some(_), ..) => {}
                    (None, Some(own), Some(_)) => verdicts[index] = Some(own),
                    (None, None, Some(agreed)) => verdicts[index] = Some(agreed.clone()),
                    (None, _, None) => others.push(index),
                }
            }
        }
        others
    }
}

/// Does something with each case, on several threads, each with a place of its own for copies; the answers are in order.
fn each<T: Send>(
    plan: &Plan<'_>,
    doing: &'static str,
    which: &[usize],
    scratch: &Path,
    work: impl Fn(usize, &mut Bench) -> T + Sync,
) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = |root: PathBuf| {
        let (mut bench, mut answers) = (Bench::new(root), Vec::new());
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(index) = which.get(place) else { return answers };
            answers.push((place, work(*index, &mut bench)));
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            (plan.progress)(Progress { doing, done, of: which.len() });
        }
    };
    let mut answers: Vec<(usize, T)> = thread::scope(|scope| {
        let worker = &worker;
        let roots = (0..plan.threads).map(|thread| scratch.join(format!("copy-{thread}")));
        let threads: Vec<_> = roots.map(|root| scope.spawn(move || worker(root))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread that judges does not panic")).collect()
    });
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
