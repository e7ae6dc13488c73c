//! Makes a run that diverges short: fewer faults, fewer batches, no restarts, fewer records, an earlier step.

use std::sync::Arc;

use super::Setup;
use super::oracle::Oracle;
use super::play::{Played, play};
use super::probe::Probe;
use super::replay::{Replay, Shrunk};
use super::schedule::{Schedule, Strike};

/// Runs that are spent on one failure.
const MOST: usize = 60;

struct Search<'s> {
    setup: &'s Setup,
    oracle: Oracle,
    best: Replay,
    played: Played,
    left: usize,
}

/// The shortest run found that diverges in the same way.
pub(super) fn shrink(setup: &Setup, probe: &Probe, replay: Replay, oracle: Oracle) -> (Replay, Played) {
    let (played, _) = play(setup, &replay.schedule, Some(probe));
    let mut search = Search { setup, oracle, best: replay, played, left: MOST };
    search.fewer_strikes();
    search.without_restarts();
    search.fewer_batches();
    search.fewer_records();
    search.an_earlier_step();
    (search.best, search.played)
}

impl Search<'_> {
    /// Plays a candidate; it is the best one from now on when it diverges in the same way.
    fn accept(&mut self, candidate: Replay) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let setup = Setup { script: Arc::new(candidate.shrunk.apply(&self.setup.script)), ..self.setup.clone() };
        let Ok((probe, _)) = setup.probe() else { return false };
        let (played, _) = play(&setup, &candidate.schedule, Some(&probe));
        let same = played.divergence.as_ref().is_some_and(|divergence| divergence.oracle == self.oracle);
        if same {
            (self.best, self.played) = (candidate, played);
        }
        same
    }

    fn with(&self, change: impl FnOnce(&mut Shrunk)) -> Replay {
        let mut candidate = self.best.clone();
        change(&mut candidate.shrunk);
        candidate
    }

    fn fewer_strikes(&mut self) {
        let strikes = self.best.schedule.0.clone();
        if strikes.len() > 1 {
            for strike in strikes {
                if self.accept(Replay { schedule: Schedule(vec![strike]), ..self.best.clone() }) {
                    return;
                }
            }
        }
    }

    fn without_restarts(&mut self) {
        if !self.setup.script.restarts.is_empty() {
            // In the first life, since there is no other before the fault.
            let first = self.best.schedule.0.first().map_or(1, |strike| strike.life);
            let earlier = |strike: &Strike| Strike { life: strike.life + 1 - first, ..*strike };
            let schedule = Schedule(self.best.schedule.0.iter().map(earlier).collect());
            let candidate = self.with(|shrunk| shrunk.without_restarts = true);
            self.accept(Replay { schedule, ..candidate });
        }
    }

    fn fewer_batches(&mut self) {
        let most = self.setup.script.batches();
        let mut batches = 1;
        while batches < most {
            if self.accept(self.with(|shrunk| shrunk.batches = Some(batches))) {
                return;
            }
            batches += (batches / 2).max(1);
        }
    }

    fn fewer_records(&mut self) {
        for every in [64, 16, 4, 2] {
            if self.accept(self.with(|shrunk| shrunk.every = Some(every))) {
                return;
            }
        }
    }

    fn an_earlier_step(&mut self) {
        let Some(strike) = self.best.schedule.0.first().copied() else { return };
        for nth in (1..strike.point.nth).take(12) {
            let mut schedule = self.best.schedule.clone();
            schedule.0[0].point.nth = nth;
            if self.accept(Replay { schedule, ..self.best.clone() }) {
                return;
            }
        }
    }
}
