//! One life of the driver, driven batch by batch so that nothing is under way between two of them.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use floodmark::{Clock, Error, Running, Status};

use super::Build;
use super::env::Env;
use super::fault::Fault;
use super::gate::Gate;
use super::input::{Feed, Given, OverlappingFeed};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a held step is looked for.
const GLANCE: Duration = Duration::from_millis(1);
/// By how much the clock goes on at once for calls that wait for the rate.
const TOKEN: Duration = Duration::from_millis(10);
/// For how long a slow step is left alone.
const SLOW: Duration = Duration::from_millis(3);

/// Why a life goes no further.
#[derive(Debug)]
pub(super) enum Ended {
    /// The job has failed, at its start or later.
    Failed(Error),
    /// A thread is paused in its step.
    Held,
    /// The job lives, but takes no more input.
    Refused,
    /// Nothing happens any more.
    Hangs(String),
}

/// A call that may be held.
pub(super) struct Task<T>(mpsc::Receiver<T>);

impl<T: Send + 'static> Task<T> {
    pub fn spawn(call: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, answer) = mpsc::channel();
        std::thread::spawn(move || done.send(call()));
        Self(answer)
    }

    /// Waits for the end of the call, or until a step is held; a slow step is released.
    pub fn wait(&self, gate: &Gate, what: &str) -> Result<T, Ended> {
        let started = Instant::now();
        loop {
            match self.0.recv_timeout(patience(gate)) {
                Ok(done) => return Ok(done),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Ended::Hangs(format!("{what} panicked"))),
                Err(mpsc::RecvTimeoutError::Timeout) => watch(gate, started, what)?,
            }
        }
    }
}

/// For how long to wait before the gate is looked at.
fn patience(gate: &Gate) -> Duration {
    match gate.fault() {
        Some(Fault::SlowIo | Fault::Zombie) => GLANCE,
        _ => PATIENCE,
    }
}

fn watch(gate: &Gate, started: Instant, what: &str) -> Result<(), Ended> {
    if gate.is_held() {
        if gate.fault() == Some(Fault::Zombie) {
            return Err(Ended::Held);
        }
        if started.elapsed() > SLOW {
            gate.release();
        }
    }
    if started.elapsed() > PATIENCE {
        return Err(Ended::Hangs(format!("{what}, and nothing has happened for {PATIENCE:?}")));
    }
    Ok(())
}

/// A job that runs.
pub(super) struct Life {
    pub running: Arc<Running>,
    pub env: Arc<Env>,
    pub gate: Arc<Gate>,
    feeds: Vec<Feed>,
}

/// A job that is starting.
pub(super) struct Birth {
    pub env: Arc<Env>,
    pub gate: Arc<Gate>,
    start: Task<Result<Running, Error>>,
}

impl Birth {
    pub fn begin(build: &Build, env: Env, gate: Arc<Gate>) -> Self {
        let env = Arc::new(env);
        let (build, inside) = (build.clone(), env.clone());
        let start = Task::spawn(move || build(&inside).and_then(floodmark::StreamingContext::start));
        Self { env, gate, start }
    }

    /// Waits until the job has recovered. When a step is held, the birth can be waited for again.
    pub fn wait(&self) -> Result<Life, Ended> {
        let running = self.start.wait(&self.gate, "the job starts")?.map_err(Ended::Failed)?;
        let feeds = self.env.take_feeds();
        Ok(Life { running: Arc::new(running), env: self.env.clone(), gate: self.gate.clone(), feeds })
    }
}

impl Life {
    /// Gives the job batch `number` of the script, as far as it was not acknowledged, or once more with what came before it, and
    /// ticks. Returns when it is published and no checkpoint is under way.
    pub fn run_batch(&self, number: u64, acknowledged: &mut [u64], resends: bool) -> Result<Status, Ended> {
        for (feed, acknowledged) in self.feeds.iter().zip(acknowledged) {
            let first = match feed {
                Feed::Direct(_) => number, // it acknowledges nothing
                Feed::Receiver(_) | Feed::Overlapping(_) if resends => number.saturating_sub(2).max(1),
                Feed::Receiver(_) | Feed::Overlapping(_) => *acknowledged + 1,
            };
            for number in first..=number {
                self.give(feed, number)?;
                *acknowledged = number.max(*acknowledged);
            }
        }
        let before = self.running.status().planned;
        let interval = Env::INTERVAL.as_millis() as u64;
        self.env.clock.advance_to(self.env.clock.epoch_ms() / interval * interval + interval);
        self.settle(before.0)
    }

    /// Waits until no checkpoint is under way: one may be when the job has recovered.
    pub fn rest(&self) -> Result<(), Ended> {
        let started = Instant::now();
        loop {
            let rests = self.running.wait_until_timeout(|status| !status.checkpointing, patience(&self.gate));
            if rests.map_err(Ended::Failed)?.is_some() {
                return Ok(());
            }
            watch(&self.gate, started, "a checkpoint is under way after the recovery")?;
        }
    }

    /// How many inputs the job has.
    pub fn inputs(&self) -> usize {
        self.feeds.len()
    }

    fn give(&self, feed: &Feed, number: u64) -> Result<(), Ended> {
        let started = Instant::now();
        if let Feed::Overlapping(feed) = feed {
            return self.give_overlapping(feed, number);
        }
        let pending = feed.give(number);
        loop {
            match pending.wait(patience(&self.gate)) {
                Given::Taken => return Ok(()),
                Given::Refused => return Err(self.refused()),
                Given::Waiting => watch(&self.gate, started, &format!("block {number} waits for its acknowledgement"))?,
            }
        }
    }

    /// Drives the clock, for the rate, until all calls are answered; never while a block is on its way to the log, so that every block
    /// is a group of its own in every run.
    fn give_overlapping(&self, feed: &OverlappingFeed, number: u64) -> Result<(), Ended> {
        let started = Instant::now();
        let handed_in = || {
            let counts = self.running.receivers().into_iter().map(|receiver| receiver.counts);
            counts.map(|counts| counts.records + counts.repeated).sum::<u64>()
        };
        let before = handed_in();
        for (answer, records) in feed.give(number) {
            loop {
                match answer.wait(Duration::from_micros(100)) {
                    Given::Taken => break,
                    Given::Refused => return Err(self.refused()),
                    // In this order: whoever waits for the rate has counted what it has handed in.
                    Given::Waiting if self.waits_for_rate() && handed_in() - before < records => {
                        self.env.clock.advance(TOKEN);
                    }
                    Given::Waiting => {}
                }
                watch(&self.gate, started, &format!("a call for batch {number} waits for its acknowledgement"))?;
            }
        }
        Ok(())
    }

    /// Whether a call waits for the rate: beside it only the end of the block interval is waited for.
    fn waits_for_rate(&self) -> bool {
        self.env.clock.sleeps() == 2
    }

    /// The log has failed, or the job has ended: its own error says more than the receiver's. Or it has no room.
    fn refused(&self) -> Ended {
        let patience = if self.gate.fault() == Some(Fault::DiskFull) { SLOW } else { PATIENCE };
        match self.running.await_termination_timeout(patience) {
            Err(error) => Ended::Failed(error),
            Ok(_) => Ended::Refused,
        }
    }

    fn settle(&self, before: u64) -> Result<Status, Ended> {
        let started = Instant::now();
        let published = |status: &Status| status.planned.0 > before && status.published == status.planned;
        let settled = |status: &Status| published(status) && !status.checkpointing;
        loop {
            let reached = self.running.wait_until_timeout(settled, patience(&self.gate)).map_err(Ended::Failed)?;
            if let Some(status) = reached {
                return Ok(status);
            }
            let status = self.running.status();
            let slow = self.gate.fault() == Some(Fault::SlowIo) && self.gate.is_held();
            if slow && published(&status) && started.elapsed() > SLOW {
                return Ok(status); // a slow checkpoint, during which the next batches run
            }
            watch(&self.gate, started, &format!("batch {} is to be published: {status:?}", before + 1))?;
        }
    }

    /// Stops the job gracefully.
    pub fn stop(&self) -> Result<(), Ended> {
        let running = self.running.clone();
        let stop = Task::spawn(move || running.stop(true));
        stop.wait(&self.gate, "the job stops gracefully")?.map_err(Ended::Failed)
    }

    /// Kills the process: nothing of it touches the disk any more.
    pub fn kill(self) {
        self.env.disk.kill();
        self.gate.release();
        drop(self.running);
    }
}
