//! The positions of one source: which block may be stored, which was stored before, and which must be refused.
//!
//! A position says that everything before it has been taken. So a block is stored only if every block with a lower position
//! that was called for before it is durable, or stands before it in the log. A block that was called for and did not reach the log
//! (its call was dropped, or failed) is *missing*: nothing above it is stored until the missing block comes, or until the caller
//! has asked for the stored position again and so knows where to begin.
//!
//! Pure: no lock and no I/O.

use std::collections::{BTreeMap, VecDeque};

use floodmark_base::id::Position;

/// Missing positions that are remembered. A caller that loses more has to ask for the stored position.
const MOST_MISSING: usize = 1_024;

/// What becomes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the log.
    New,
    /// A durable block covers its position.
    Known,
    /// A block with this position is on its way to the log.
    Repeated,
    /// A block with a higher position is on its way to the log, and none with this one.
    OutOfOrder { newest: Position },
    /// A block with a lower position is missing.
    Gap { missing: Position },
}

/// The positions of one source that are not durable.
#[derive(Debug, Default)]
pub struct Positions {
    /// On their way to the log, rising.
    under_way: VecDeque<Position>,
    /// Missing, each with the number of its loss; all above those that are under way.
    missing: BTreeMap<Position, u64>,
    /// The lowest position and the last loss of those that are missing and not remembered.
    forgotten: Option<(Position, u64)>,
    /// How often a block was lost.
    losses: u64,
}

impl Positions {
    /// How many losses there were. Whoever knows of all of them has asked for the stored position since the last one.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// Decides about the next block in order. `durable` is how far the source is durable, `known_losses` the number of losses when
    /// the caller last asked for that.
    pub fn next(&mut self, position: Position, known_losses: u64, durable: Option<Position>) -> Verdict {
        self.prune(durable);
        let verdict = self.judge(position, known_losses, durable);
        if verdict == Verdict::New {
            self.under_way.push_back(position);
            self.remove_missing_through(position);
        }
        verdict
    }

    /// What [`next`](Self::next) would decide now.
    pub fn judge(&self, position: Position, known_losses: u64, durable: Option<Position>) -> Verdict {
        if durable.is_some_and(|durable| position <= durable) {
            return Verdict::Known;
        }
        if let Some(&newest) = self.under_way.back()
            && position <= newest
        {
            let is_under_way = self.under_way.binary_search(&position).is_ok();
            return if is_under_way { Verdict::Repeated } else { Verdict::OutOfOrder { newest } };
        }
        match self.missing_below(position, known_losses) {
            Some(missing) => Verdict::Gap { missing },
            None => Verdict::New,
        }
    }

    /// Notes that a block was called for and does not reach the log. Nothing is missing that another block covers.
    pub fn lose(&mut self, position: Position, durable: Option<Position>) {
        self.prune(durable);
        let covered = self.under_way.back().copied().max(durable);
        if covered.is_some_and(|covered| position <= covered) {
            return;
        }
        self.losses += 1;
        self.missing.insert(position, self.losses);
        if self.missing.len() > MOST_MISSING
            && let Some((highest, _)) = self.missing.pop_last()
        {
            let lowest = self.forgotten.map_or(highest, |(lowest, _)| lowest.min(highest));
            self.forgotten = Some((lowest, self.losses));
        }
    }

    fn prune(&mut self, durable: Option<Position>) {
        let Some(durable) = durable else { return };
        while self.under_way.front().is_some_and(|position| *position <= durable) {
            self.under_way.pop_front();
        }
        self.remove_missing_through(durable);
    }

    fn remove_missing_through(&mut self, position: Position) {
        while self.missing.first_key_value().is_some_and(|(missing, _)| *missing <= position) {
            self.missing.pop_first();
        }
    }

    /// The lowest missing position below this one that the caller does not know of.
    fn missing_below(&self, position: Position, known_losses: u64) -> Option<Position> {
        let mut below = self.missing.range(..position);
        let remembered = below.find(|(_, loss)| **loss > known_losses).map(|(missing, _)| *missing);
        let is_below = |(missing, loss): &(Position, u64)| *missing < position && *loss > known_losses;
        remembered.or(self.forgotten.filter(is_below).map(|(missing, _)| missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOTHING: Option<Position> = None;

    fn next(positions: &mut Positions, position: u64, durable: u64) -> Verdict {
        positions.next(Position(position), 0, Some(Position(durable)))
    }

    #[test]
    fn rising_positions_are_new_and_what_comes_again_is_recognized() {
        let mut positions = Positions::default();
        assert_eq!(next(&mut positions, 10, 0), Verdict::New);
        assert_eq!(next(&mut positions, 20, 0), Verdict::New);
        assert_eq!(next(&mut positions, 10, 0), Verdict::Repeated);
        assert_eq!(next(&mut positions, 20, 10), Verdict::Repeated);
        assert_eq!(next(&mut positions, 20, 20), Verdict::Known);
        assert_eq!(next(&mut positions, 5, 20), Verdict::Known, "recut below what is durable");
    }

    #[test]
    fn a_position_below_the_newest_one_under_way_that_nothing_covers_is_refused() {
        let mut positions = Positions::default();
        assert_eq!(positions.next(Position(20), 0, NOTHING), Verdict::New);
        assert_eq!(positions.next(Position(10), 0, NOTHING), Verdict::OutOfOrder { newest: Position(20) });
    }

    #[test]
    fn behind_a_lost_block_everything_is_refused_until_it_comes_again() {
        let mut positions = Positions::default();
        positions.lose(Position(10), NOTHING);
        for position in [20, 30] {
            assert_eq!(next(&mut positions, position, 0), Verdict::Gap { missing: Position(10) });
            positions.lose(Position(position), NOTHING);
        }
        assert_eq!(next(&mut positions, 10, 0), Verdict::New);
        assert_eq!(
            next(&mut positions, 30, 0),
            Verdict::Gap { missing: Position(20) },
            "refused before, so missing, too"
        );
        assert_eq!(next(&mut positions, 20, 0), Verdict::New);
        assert_eq!(next(&mut positions, 30, 0), Verdict::New);
    }

    #[test]
    fn whoever_has_asked_for_the_stored_position_since_begins_there_with_blocks_cut_as_it_likes() {
        let mut positions = Positions::default();
        positions.lose(Position(10), NOTHING);
        let known = positions.losses();
        assert_eq!(positions.next(Position(12), 0, NOTHING), Verdict::Gap { missing: Position(10) });
        assert_eq!(positions.next(Position(15), known, NOTHING), Verdict::New);
        assert_eq!(positions.next(Position(20), 0, NOTHING), Verdict::New, "15 covers what was missing");
    }

    #[test]
    fn a_loss_that_another_block_covers_is_none() {
        let mut positions = Positions::default();
        assert_eq!(positions.next(Position(10), 0, NOTHING), Verdict::New);
        positions.lose(Position(10), NOTHING);
        positions.lose(Position(7), NOTHING);
        positions.lose(Position(20), Some(Position(20)));
        assert_eq!(positions.losses(), 0);
    }

    #[test]
    fn more_losses_than_are_remembered_are_not_forgotten() {
        let mut positions = Positions::default();
        let last = MOST_MISSING as u64 + 10;
        (1..=last).for_each(|position| positions.lose(Position(position), NOTHING));
        assert_eq!(positions.missing.len(), MOST_MISSING);
        for position in 1..=MOST_MISSING as u64 {
            assert_eq!(positions.next(Position(position), 0, NOTHING), Verdict::New);
        }
        let forgotten = Position(MOST_MISSING as u64 + 1);
        assert_eq!(positions.next(forgotten, 0, NOTHING), Verdict::New);
        assert_eq!(positions.next(Position(last), 0, NOTHING), Verdict::Gap { missing: forgotten });
        assert_eq!(positions.next(Position(last), positions.losses(), NOTHING), Verdict::New);
    }

    /// What a caller does next.
    #[derive(Clone, Debug)]
    enum Action {
        /// Stores so many of its records, from where it stands, and goes on behind them whatever comes of it.
        Store { caller: usize, records: u64 },
        /// The same, but the call is lost.
        Lose { caller: usize, records: u64 },
        /// Goes back to where an earlier call began.
        GoBack { caller: usize, calls: usize },
        /// Begins at the stored position.
        Ask { caller: usize },
        /// The log makes its oldest block durable.
        Sync,
    }

    fn action() -> impl Strategy<Value = Action> {
        let (caller, records) = (0_usize..3, 1_u64..6);
        prop_oneof![
            4 => (caller.clone(), records.clone()).prop_map(|(caller, records)| Action::Store { caller, records }),
            2 => (caller.clone(), records).prop_map(|(caller, records)| Action::Lose { caller, records }),
            1 => (caller.clone(), 1_usize..4).prop_map(|(caller, calls)| Action::GoBack { caller, calls }),
            1 => caller.prop_map(|caller| Action::Ask { caller }),
            2 => Just(Action::Sync),
        ]
    }

    #[derive(Clone, Default)]
    struct Caller {
        at: u64,
        began: Vec<u64>,
        known_losses: u64,
    }

    proptest! {
        /// Careless callers, who go on whatever they are told: still no record below a stored position is missing in the log.
        #[test]
        fn what_is_stored_has_no_hole(actions in prop::collection::vec(action(), 0..80)) {
            let mut positions = Positions::default();
            let mut callers = vec![Caller::default(); 3];
            let (mut log, mut synced): (Vec<(u64, u64)>, usize) = (Vec::new(), 0);
            for action in actions {
                let durable = log[..synced].iter().map(|(_, end)| Position(*end)).max();
                match action {
                    Action::Store { caller, records } | Action::Lose { caller, records } => {
                        let caller = &mut callers[caller];
                        let (from, to) = (caller.at, caller.at + records);
                        caller.began.push(from);
                        caller.at = to;
                        if matches!(action, Action::Lose { .. }) {
                            positions.lose(Position(to), durable);
                            continue;
                        }
                        match positions.next(Position(to), caller.known_losses, durable) {
                            Verdict::New => log.push((from, to)),
                            Verdict::Gap { .. } | Verdict::OutOfOrder { .. } => positions.lose(Position(to), durable),
                            Verdict::Known | Verdict::Repeated => {}
                        }
                    }
                    Action::GoBack { caller, calls } => {
                        let caller = &mut callers[caller];
                        let back = caller.began.len().saturating_sub(calls);
                        if let Some(began) = caller.began.get(back) {
                            caller.at = *began;
                            caller.began.truncate(back);
                        }
                    }
                    Action::Ask { caller } => {
                        let at = durable.map_or(0, |Position(at)| at);
                        callers[caller] = Caller { at, began: Vec::new(), known_losses: positions.losses() };
                    }
                    Action::Sync => synced = log.len().min(synced + 1),
                }
                let mut end = 0;
                for (from, to) in &log {
                    prop_assert!(*from <= end, "records {end} to {from} are missing in {log:?}");
                    end = end.max(*to);
                }
            }
        }
    }
}
