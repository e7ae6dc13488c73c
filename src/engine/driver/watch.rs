//! The watch over the user code that runs on the driver's thread: outputs, direct sources, loaders.
//!
//! While such code runs, the driver does nothing else, and a stop is not heard. A thread cannot be ended from outside. So the watch, on a
//! thread of its own, reports code that has run for longer than the grace period, and where a hard stop has waited as long, it ends the
//! job without the driver's thread. That thread keeps the lock on the job's directory: nobody else can write while it still could.
//!
//! | after the job was given up | what was under way | the next start |
//! |---|---|---|
//! | the process ends | as after a crash in the same place | recovers |
//! | the code returns | the driver begins no other durable step, closes the log and releases the lock | recovers, as after a hard stop |
//! | neither | the lock is held | is refused as `Owned` |

use std::fmt::Display;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::status::Shared;
use crate::listener::events::UserCodeOverdue;
use floodmark_base::clock::Clock;
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::user_code::{self, Observer};

/// What the watch and the driver know of each other; clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    grace: Duration,
}

#[derive(Default)]
struct State {
    /// The user code that runs on the driver's thread.
    call: Option<Call>,
    /// The job has recovered, and receives.
    is_live: bool,
    /// When the job was first asked to stop at once.
    stopped: Option<Instant>,
    has_given_up: bool,
    has_ended: bool,
}

struct Call {
    code: String,
    since: Instant,
    since_ms: u64,
    is_reported: bool,
}

/// What the watch has to do.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Until something changes, or until this moment at the latest.
    Wait(Option<Instant>),
    Report,
    GiveUp,
    End,
}

impl State {
    fn unless_stopped_in_start(&self) -> Result<()> {
        if self.is_live || self.stopped.is_none() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Stopped, "the job was stopped while it started; the next start recovers"))
    }

    fn next(&self, now: Instant, grace: Duration) -> Next {
        if self.has_ended {
            return Next::End;
        }
        let Some(call) = &self.call else { return Next::Wait(None) };
        let give_up = self.stopped.map(|stopped| stopped.max(call.since) + grace);
        let report = (!call.is_reported).then_some(call.since + grace);
        if report.is_some_and(|report| report <= now) {
            return Next::Report;
        }
        if give_up.is_some_and(|give_up| give_up <= now) {
            return Next::GiveUp;
        }
        Next::Wait(report.into_iter().chain(give_up).min())
    }
}

impl Watch {
    pub fn new(shared: Arc<Shared>, clock: Arc<dyn Clock>, grace: Duration) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), changed: Condvar::new(), shared, clock, grace }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches this thread from here on: it is the driver's.
    pub fn watch_this_thread(&self) {
        user_code::observe_this_thread(self.clone());
    }

    /// Notes that the job was asked to stop. Says whether it stops at once: it does where it is asked to, and where it only starts,
    /// since nothing was received in this life that could be finished.
    pub fn stop(&self, graceful: bool) -> bool {
        let mut state = self.lock();
        let at_once = !graceful || !state.is_live;
        if at_once {
            state.stopped.get_or_insert_with(Instant::now);
            self.0.changed.notify_all();
        }
        at_once
    }

    /// Notes that the start is over.
    ///
    /// # Errors
    /// `Stopped` when the job was asked to stop before.
    pub fn go_live(&self) -> Result<()> {
        let mut state = self.lock();
        state.unless_stopped_in_start()?;
        state.is_live = true;
        Ok(())
    }

    /// # Errors
    /// `Stopped` when a start was asked to stop.
    pub fn unless_stopped_in_start(&self) -> Result<()> {
        self.lock().unless_stopped_in_start()
    }

    /// Waits; not longer than until the job is asked to stop at once.
    pub fn pause(&self, wait: Duration) {
        let waits = |state: &mut State| state.stopped.is_none();
        drop(self.0.changed.wait_timeout_while(self.lock(), wait, waits).unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether the job has ended without the driver's thread, which must begin nothing any more.
    pub fn has_given_up(&self) -> bool {
        self.lock().has_given_up
    }

    /// Whether the driver has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Ends the watch. Says whether the end of the job is still to be told.
    pub fn end(&self) -> bool {
        let mut state = self.lock();
        state.has_ended = true;
        self.0.changed.notify_all();
        !state.has_given_up
    }

    /// Watches until the driver has ended, or until it is given up: then the error that ends the job without it.
    pub fn serve(&self, tell: impl Fn(&UserCodeOverdue)) -> Option<Error> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.next(now, self.0.grace) {
                Next::End => return None,
                Next::Wait(until) => state = self.wait(state, until.map(|until| until - now)),
                Next::Report => self.report(&mut state, &tell),
                Next::GiveUp => return Some(self.give_up(&mut state)),
            }
        }
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, patience: Option<Duration>) -> MutexGuard<'s, State> {
        match patience {
            None => self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => self.0.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    fn report(&self, state: &mut State, tell: impl Fn(&UserCodeOverdue)) {
        let Some(call) = &mut state.call else { return };
        call.is_reported = true;
        let overdue = UserCodeOverdue { code: call.code.clone(), since_ms: call.since_ms };
        let (code, ms) = (&overdue.code, self.0.grace.as_millis());
        tracing::warn!(code, "user code has not returned for {ms} ms: the job waits for it");
        // Under the lock, so that the code cannot return in between.
        self.0.shared.update(|status| status.overdue = Some(overdue.clone()));
        tell(&overdue);
    }

    fn give_up(&self, state: &mut State) -> Error {
        state.has_given_up = true;
        let call = state.call.as_ref().expect("only code that runs is given up");
        let (code, ms) = (&call.code, call.since.elapsed().as_millis());
        self.0.shared.leave_behind([format!("driver, in {code}")]);
        let message = format!(
            "the job was stopped, but {code} has not returned for {ms} ms, and its thread cannot be ended: it keeps the job's lock, so \
             that nobody else writes while it may. End the process, or wait until the code returns; the next start recovers"
        );
        Error::new(ErrorKind::UserCode, message)
    }
}

impl Observer for Watch {
    // Code within other user code counts as a part of that.
    fn enter(&self, code: &dyn Display) -> bool {
        let mut state = self.lock();
        if state.call.is_some() {
            return false;
        }
        let since_ms = self.0.clock.epoch_ms();
        state.call = Some(Call { code: code.to_string(), since: Instant::now(), since_ms, is_reported: false });
        self.0.changed.notify_all();
        true
    }

    fn leave(&self) {
        let mut state = self.lock();
        let Some(call) = state.call.take() else { return };
        if call.is_reported {
            tracing::info!(code = call.code, "user code has returned after {} ms", call.since.elapsed().as_millis());
            self.0.shared.update(|status| status.overdue = None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn state(since: Instant, is_reported: bool, stopped: Option<Instant>) -> State {
        let call = Call { code: "output \"table\"".to_string(), since, since_ms: 0, is_reported };
        State { call: Some(call), stopped, ..State::default() }
    }

    #[test]
    fn code_is_reported_after_the_grace_period_and_given_up_as_long_after_a_hard_stop() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let idle = State { stopped: Some(began), ..State::default() };
        assert_eq!(idle.next(at(100), GRACE), Next::Wait(None), "the driver hears the stop itself");
        assert_eq!(state(began, false, None).next(at(9), GRACE), Next::Wait(Some(at(10))));
        assert_eq!(state(began, false, None).next(at(10), GRACE), Next::Report);
        assert_eq!(state(began, true, None).next(at(1_000), GRACE), Next::Wait(None), "reported once");
        assert_eq!(state(began, true, Some(at(100))).next(at(109), GRACE), Next::Wait(Some(at(110))));
        assert_eq!(state(began, true, Some(at(100))).next(at(110), GRACE), Next::GiveUp);
        // Stopped before the code began: it has the whole grace period.
        assert_eq!(state(at(5), false, Some(began)).next(at(14), GRACE), Next::Wait(Some(at(15))));
        assert_eq!(
            state(at(5), false, Some(began)).next(at(15), GRACE),
            Next::Report,
            "it is named before it is given up"
        );
        let ended = State { has_ended: true, ..state(began, true, Some(began)) };
        assert_eq!(ended.next(at(1_000), GRACE), Next::End);
    }
}
