//! Plays one schedule: life after life, until the input is used up, with the oracles asked on the way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floodmark::testing::Inspection;
use floodmark::testing::disk::{FaultyDisk, Image, Loss, SimulatedDisk, Step, TracedStep};
use floodmark::{BatchId, Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::Setup;
use super::env::{Env, OUT, World, visible_files};
use super::fault::Fault;
use super::gate::Gate;
use super::life::{Birth, Ended, Life};
use super::oracle::{Divergence, Files, Fingerprints, Oracle, Outputs, same_files, same_outputs, same_state};
use super::probe::Probe;
use super::run::Run;
use super::schedule::Schedule;
use super::script::Restart;
use super::stored;

/// The directory of a run: a name that is the same in every run, for the trace.
const RUN: &str = "run";
/// The job's directory.
const STATE: &str = "state";

/// Which side of a fault's step the recovery has come down on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// What was under way is not there.
    Old,
    /// It is.
    New,
}

/// What has come of a run.
#[derive(Default)]
pub(super) struct Played {
    /// Lives of drivers.
    pub lives: usize,
    /// For each strike of the schedule, where it struck.
    pub struck: Vec<TracedStep>,
    pub sides: Vec<Side>,
    /// What happened, line by line.
    pub story: Vec<String>,
    /// The durable steps of the life after the first strike, up to live input: where nested crashes strike.
    pub steps_of_recovery: Vec<TracedStep>,
    pub divergence: Option<Divergence>,
}

/// Plays a schedule and compares it with the probe; without one it is the probe.
pub(super) fn play(setup: &Setup, schedule: &Schedule, probe: Option<&Probe>) -> (Played, Probe) {
    let mut player = match Player::new(setup, schedule, probe) {
        Ok(player) => player,
        Err(error) => panic!("there is no place to play in: {error}"),
    };
    let outcome = player.play();
    player.played.divergence = outcome.err();
    (player.played, player.own)
}

type Checked<T> = Result<T, Divergence>;

/// What the harness has seen of the job from outside.
#[derive(Default)]
struct Seen {
    /// The newest batch that was seen published.
    published: u64,
    /// The newest one that was begun.
    begun: u64,
    /// For each input, the newest batch that was acknowledged.
    acknowledged: Vec<u64>,
    /// Batches of the script that are through.
    done: u64,
}

struct Player<'s> {
    setup: &'s Setup,
    schedule: &'s Schedule,
    probe: Option<&'s Probe>,
    seed: u64,
    world: World,
    base: tempfile::TempDir,
    place: PathBuf,
    /// The name of the job's directory: another one after another machine has taken over.
    state: String,
    disk: SimulatedDisk,
    seen: Seen,
    /// As `seen.begun`, for other threads.
    begun: Arc<AtomicU64>,
    /// What was stored before the life that begins.
    inspection: Option<Inspection>,
    /// The life that follows recovers from a strike.
    recovers: bool,
    time_changed: bool,
    played: Played,
    own: Probe,
}

impl<'s> Player<'s> {
    fn new(setup: &'s Setup, schedule: &'s Schedule, probe: Option<&'s Probe>) -> std::io::Result<Self> {
        let base = crate::scratch::directory()?;
        let place = base.path().join(RUN).join("1");
        std::fs::create_dir_all(&place)?;
        std::fs::create_dir(place.join(OUT))?;
        if let Some(beginning) = &setup.beginning {
            Image::of(&beginning.store)?.write_to(&place.join(STATE))?;
        }
        // What is there is durable.
        let disk = SimulatedDisk::new(&place)?;
        let done = setup.done_before();
        Ok(Self {
            setup,
            schedule,
            probe,
            seed: schedule.seed(setup.seed),
            world: World::default(),
            base,
            place,
            state: STATE.to_string(),
            disk,
            seen: Seen { published: done, begun: done, acknowledged: Vec::new(), done },
            begun: Arc::new(AtomicU64::new(done)),
            inspection: None,
            recovers: false,
            time_changed: false,
            played: Played::default(),
            own: Probe::default(),
        })
    }

    fn play(&mut self) -> Checked<()> {
        if self.probe.is_none() {
            self.declare()?;
        }
        let last = self.setup.script.batches();
        loop {
            let Some(life) = self.start()? else { continue };
            let restart = self.setup.script.restarts.iter().copied().find(|restart| restart.after() > self.seen.done);
            let target = restart.map_or(last, Restart::after);
            let Some(life) = self.go_on(life, target)? else { continue };
            match restart {
                None => return self.finish(life),
                Some(restart) => self.restart(life, restart)?,
            }
        }
    }

    /// Declares the job once on this thread, so that a mistake in it, or a panic, is told as it is.
    fn declare(&self) -> Checked<()> {
        let clock = floodmark::ManualClock::at(super::env::START_MS);
        let door = FaultyDisk::new(Arc::new(self.disk.clone()));
        let shown = Arc::new(door.clone());
        // Its outputs are looked at by nobody.
        let (world, script) = (World::default(), self.setup.script.clone());
        let env = Env::new(world, script, self.place.clone(), &self.state, door, shown, clock);
        match (self.setup.build)(&env) {
            Ok(_) => Ok(()),
            Err(error) => Err(Divergence::new(Oracle::Survives, format!("the job cannot be declared: {error}"))),
        }
    }

    /// What the job's directory says, where it is all that a start stands on.
    fn inspect(&self) -> Checked<Option<Inspection>> {
        match self.setup.is_working_copy {
            true => Ok(None),
            false => stored::check(&self.place.join(&self.state)),
        }
    }

    /// Starts the next life and looks at what it has recovered; nothing, when the life has ended over it.
    fn start(&mut self) -> Checked<Option<Life>> {
        self.inspection = self.inspect()?;
        let birth = self.begin();
        self.attend(birth)
    }

    /// Begins the next life, with what the schedule has for it.
    fn begin(&mut self) -> Birth {
        self.played.lives += 1;
        assert!(self.played.lives < 50, "the schedule {} does not end", self.schedule);
        let strike = self.schedule.in_life(self.played.lives);
        let fault = strike.map(|strike| strike.fault);
        let loss = fault.map_or(Loss::Nothing, |fault| fault.loss(self.seed));
        let loss = if fault == Some(Fault::IoError) { Loss::Nothing } else { loss };
        let clock = floodmark::ManualClock::at(super::env::START_MS);
        let mut gate = Gate::new(fault, loss, self.disk.clone(), clock.clone());
        if self.probe.is_none() {
            gate.look_at_publications(self.state.clone(), self.begun.clone());
        }
        let gate = Arc::new(gate);
        let door = FaultyDisk::watched(Arc::new(self.disk.clone()), gate.clone());
        if let Some(strike) = strike {
            door.arm_at(strike.point, strike.fault.at_the_disk());
        }
        let shown = self.setup.planted(Arc::new(door.clone()));
        let env = Env::new(
            self.world.clone(),
            self.setup.script.clone(),
            self.place.clone(),
            &self.state,
            door,
            shown,
            clock,
        );
        Birth::begin(&self.setup.build, env, gate)
    }

    fn attend(&mut self, birth: Birth) -> Checked<Option<Life>> {
        match birth.wait() {
            Ok(life) => self.recovered(life),
            Err(Ended::Held) if !has_claimed(&birth) => {
                // Nothing is claimed yet: to others it has not started, and it finds out who has when it goes on.
                birth.gate.release();
                self.attend(birth)
            }
            Err(Ended::Held) => self.take_over(&birth.env, &birth.gate, &mut || birth.wait().ok()),
            Err(ended) => {
                self.bury(&birth.env, &birth.gate, ended)?;
                Ok(None)
            }
        }
    }

    /// A life has come to live input; nothing, when it ends over what it does besides.
    fn recovered(&mut self, life: Life) -> Checked<Option<Life>> {
        let recovery = life.running.recovery().to_string();
        self.note(format!("life {}: {recovery}", self.played.lives));
        if let Some(said) = self.inspection.take() {
            stored::compare(&said, &recovery)?;
        }
        match life.rest() {
            Ok(()) => {
                self.note_steps(&life);
                self.check_recovered(&life)?;
                Ok(Some(life))
            }
            Err(Ended::Held) => {
                let (env, gate) = (life.env.clone(), life.gate.clone());
                let mut zombie = Some(life);
                self.take_over(&env, &gate, &mut || zombie.take())
            }
            Err(ended) => {
                let (env, gate) = (life.env.clone(), life.gate.clone());
                life.kill();
                self.bury(&env, &gate, ended)?;
                Ok(None)
            }
        }
    }

    /// Goes on until batch `target` of the script is through; nothing, when the life has ended before.
    fn go_on(&mut self, mut life: Life, target: u64) -> Checked<Option<Life>> {
        while self.seen.done < target {
            let number = self.seen.done + 1;
            self.seen.begun = self.seen.begun.max(number);
            self.begun.store(self.seen.begun, Ordering::SeqCst);
            self.seen.acknowledged.resize(life.inputs(), self.setup.done_before());
            let resends = !self.played.struck.is_empty() && self.seed.is_multiple_of(2);
            let mut acknowledged = std::mem::take(&mut self.seen.acknowledged);
            let ended = life.run_batch(number, &mut acknowledged, resends);
            self.seen.acknowledged = acknowledged;
            match ended {
                Ok(status) => {
                    self.seen.done = number;
                    self.seen.published = self.seen.published.max(status.published.0);
                    self.after_batch(&life, status.published)?;
                }
                Err(Ended::Held) => {
                    let (env, gate) = (life.env.clone(), life.gate.clone());
                    let mut zombie = Some(life);
                    match self.take_over(&env, &gate, &mut || zombie.take())? {
                        Some(next) => life = next,
                        None => return Ok(None),
                    }
                }
                Err(ended) => {
                    let (env, gate) = (life.env.clone(), life.gate.clone());
                    life.kill();
                    self.bury(&env, &gate, ended)?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(life))
    }

    /// After each batch of the probe its state is kept; in other runs a clock that has jumped is noticed.
    fn after_batch(&mut self, life: &Life, published: BatchId) -> Checked<()> {
        self.note_strike(&life.gate);
        heard(&life.gate)?;
        if self.probe.is_some() {
            return Ok(());
        }
        if let Some(disorder) = life.gate.disorder() {
            return Err(disorder);
        }
        if published.0 != self.seen.done {
            let what = format!("batch {} of the script has become batch {published} of the job", self.seen.done);
            return Err(Divergence::new(Oracle::Deterministic, what));
        }
        let state = self.state_of(life)?;
        self.own.states.insert(published.0, state);
        Ok(())
    }

    /// Ends a life as the script wants it.
    fn restart(&mut self, life: Life, restart: Restart) -> Checked<()> {
        let (env, gate) = (life.env.clone(), life.gate.clone());
        let status = life.running.status();
        let graceful = matches!(restart, Restart::Graceful(_)) && status.checkpoint == status.published;
        let stopped = if graceful { life.stop() } else { Ok(()) };
        let struck = gate.struck().is_some();
        if let Err(Ended::Held) = stopped {
            // The machine goes to sleep while it stops: nobody takes over, and it goes on.
            gate.release();
            let ended = life.running.await_termination();
            self.note(format!("life {}: paused while it stopped gracefully, then {ended:?}", self.played.lives));
        }
        let steps = env.disk.trace();
        life.kill();
        self.note_strike(&gate);
        if self.probe.is_none() {
            self.own.steps.push(steps);
        }
        match stopped {
            Ok(()) => heard(&gate).map(|()| self.recovers |= struck),
            Err(Ended::Held) => {
                self.recovers |= struck;
                Ok(())
            }
            Err(ended) => self.bury(&env, &gate, ended),
        }
    }

    /// The input is used up: what has come of it?
    fn finish(&mut self, life: Life) -> Checked<()> {
        // The driver itself may be held in a slow step, and would not answer.
        life.rest().map_err(|ended| unprovoked(&ended))?;
        let files = self.files()?;
        self.note_strike(&life.gate);
        if self.time_changed {
            self.setup.check(&Run { running: &life.running, world: &self.world, files: &files })?;
            return self.finish_out_of_time(life);
        }
        let (state, outputs) = (self.state_of(&life)?, self.world.outputs());
        if let Some(probe) = self.probe {
            let expected = probe.states.values().next_back().expect("a probe has a first state");
            same_state(Oracle::ExactlyOnce, "at the end", expected, &state)?;
            same_outputs(Oracle::ExactlyOnce, "at the end", &probe.outputs, &outputs, false)?;
            same_files(Oracle::ExactlyOnce, "at the end", &probe.files, &files)?;
        } else {
            self.own.steps.push(life.env.disk.trace());
        }
        self.setup.check(&Run { running: &life.running, world: &self.world, files: &files })?;
        life.kill();
        self.inspect()?;
        self.recover_again("the end", &state, &outputs, &files)?;
        (self.own.outputs, self.own.files) = (outputs, files);
        Ok(())
    }

    /// A clock has jumped, so results may be others, and a tick more may be under way: what is there after a graceful stop must
    /// be there after every recovery.
    fn finish_out_of_time(&mut self, life: Life) -> Checked<()> {
        if let Err(ended) = life.stop() {
            let what = format!("after the clock has jumped the job does not stop: {}", why(&ended));
            return Err(Divergence::new(Oracle::Liveness, what));
        }
        let (outputs, files) = (self.world.outputs(), self.files()?);
        life.kill();
        self.inspect()?;
        let state = match self.begin().wait() {
            Ok(life) => {
                let state = self.state_of(&life)?;
                life.kill();
                state
            }
            Err(ended) => {
                let what = format!("after the clock has jumped the job does not start again: {}", why(&ended));
                return Err(Divergence::new(Oracle::Survives, what));
            }
        };
        self.recover_again("a jump of the clock", &state, &outputs, &files)
    }

    /// A life more, after which nothing may have changed.
    fn recover_again(&mut self, when: &str, state: &Fingerprints, outputs: &Outputs, files: &Files) -> Checked<()> {
        let birth = self.begin();
        let again = match birth.wait() {
            Ok(life) => life,
            Err(ended) => return Err(unprovoked(&ended)),
        };
        let when = format!("after recovering again from {when}");
        let found = self.state_of(&again)?;
        again.kill();
        same_state(Oracle::Idempotent, &when, state, &found)?;
        same_outputs(Oracle::Idempotent, &when, outputs, &self.world.outputs(), false)?;
        same_files(Oracle::Idempotent, &when, files, &self.files()?)
    }

    /// A life has begun: is what it has recovered what it may be?
    fn check_recovered(&mut self, life: &Life) -> Checked<()> {
        self.note_strike(&life.gate);
        let published = life.running.status().published.0;
        let state = self.state_of(life)?;
        let Some(probe) = self.probe else {
            self.own.states.entry(published).or_insert(state); // before the first batch
            return Ok(());
        };
        if self.time_changed {
            self.recovers = false;
            return Ok(());
        }
        let Seen { published: seen, begun, .. } = self.seen;
        if published < seen {
            let what = format!("batch {seen} was published, but only batch {published} was recovered");
            return Err(Divergence::new(Oracle::Monotone, what));
        }
        if published > begun {
            let what = format!("batch {begun} was the last one begun, but batch {published} was recovered");
            return Err(Divergence::new(Oracle::Prefix, what));
        }
        let when = format!("recovered as of batch {published}");
        let expected = probe.states.get(&published).expect("the probe has every batch");
        same_state(Oracle::Prefix, &when, expected, &state)?;
        same_outputs(Oracle::ExactlyOnce, &when, &probe.outputs, &self.world.outputs(), true)?;
        if std::mem::take(&mut self.recovers) {
            self.played.sides.push(if published > seen { Side::New } else { Side::Old });
        }
        self.seen.published = published;
        self.seen.done = published;
        self.seen.begun = published;
        Ok(())
    }

    /// What the machine of the life that has ended leaves to the next one.
    fn bury(&mut self, env: &Env, gate: &Gate, ended: Ended) -> Checked<()> {
        env.disk.kill();
        self.note_strike(gate);
        let Some(struck) = gate.struck() else {
            return Err(unprovoked(&ended));
        };
        if let Ended::Hangs(what) = ended {
            return Err(Divergence::new(Oracle::Liveness, format!("after {struck}: {what}")));
        }
        self.note(format!("life {}: {struck}; {}", self.played.lives, why(&ended)));
        self.recovers = true;
        let image = match gate.fault() {
            // What a failed sync should have made durable is gone with the machine.
            Some(Fault::IoError) => Some(self.disk.image(Loss::Everything)),
            _ => gate.take_image(),
        };
        match image {
            None => Ok(()),
            Some(image) => image.and_then(|image| self.move_to(&image)).map_err(unplayable),
        }
    }

    /// The next life finds this.
    fn move_to(&mut self, image: &Image) -> std::io::Result<()> {
        let place = self.base.path().join(RUN).join((self.played.lives + 1).to_string());
        image.write_to(&place)?;
        // The directory for output was there before anything else.
        if !place.join(OUT).exists() {
            std::fs::create_dir(place.join(OUT))?;
        }
        self.disk = SimulatedDisk::new(&place)?;
        self.place = place;
        Ok(())
    }

    /// A driver is paused in a step. Another one takes over on another machine, from a copy of the state, and shares the outputs;
    /// then the first one wakes up, and may publish nothing.
    fn take_over(&mut self, env: &Env, gate: &Gate, zombie: &mut dyn FnMut() -> Option<Life>) -> Checked<Option<Life>> {
        self.note_strike(gate);
        self.recovers = true;
        let old = std::mem::replace(&mut self.state, format!("{STATE}-{}", self.played.lives + 1));
        let copy = || match Image::of(&env.state_directory()) {
            Ok(image) => image.write_to(&self.place.join(&self.state)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()), // paused before it was made
            Err(error) => Err(error),
        };
        copy().map_err(unplayable)?;
        // The copy is as durable as anything that a machine finds when it starts.
        self.disk = SimulatedDisk::new(&self.place).map_err(unplayable)?;
        let birth = self.begin();
        let life = match birth.wait().and_then(|life| life.rest().map(|()| life)) {
            Ok(life) => life,
            Err(ended) => {
                env.disk.kill();
                gate.release();
                if let Some(zombie) = zombie() {
                    zombie.kill();
                }
                if birth.gate.struck().is_some() {
                    self.bury(&birth.env, &birth.gate, ended)?;
                } else {
                    // The paused driver holds the lock of an output; nobody could take over before it was gone.
                    self.note(format!("life {}: cannot take over: {}", self.played.lives, why(&ended)));
                    self.state = old;
                }
                return Ok(None);
            }
        };
        self.note(format!("life {} takes over: {}", self.played.lives, life.running.recovery()));
        self.check_recovered(&life)?;
        let before = (self.world.outputs(), self.files()?);
        gate.release();
        if let Some(zombie) = zombie() {
            let next = self.seen.done + 1;
            let mut acknowledged = vec![0; zombie.inputs()];
            let ended = zombie.run_batch(next.min(self.setup.script.batches()), &mut acknowledged, true);
            self.note(format!(
                "the one that was paused wakes up: {}",
                ended.err().map_or("it goes on".to_string(), |ended| why(&ended))
            ));
            zombie.kill();
        }
        let after = (self.world.outputs(), self.files()?);
        let when = "after the overtaken driver woke up";
        same_outputs(Oracle::Fencing, when, &before.0, &after.0, false)?;
        same_files(Oracle::Fencing, when, &before.1, &after.1)?;
        Ok(Some(life))
    }

    fn state_of(&self, life: &Life) -> Checked<Fingerprints> {
        let failed = |error: Error| Divergence::new(Oracle::Survives, format!("the state cannot be read: {error}"));
        life.running.fingerprints().map_err(failed)
    }

    fn files(&self) -> Checked<BTreeMap<String, Vec<u8>>> {
        visible_files(&self.place.join(OUT)).map_err(unplayable)
    }

    fn note_strike(&mut self, gate: &Gate) {
        if let Some(struck) = gate.struck()
            && self.played.struck.len() < self.schedule.0.len()
            && self.played.struck.last() != Some(&struck)
        {
            self.time_changed |= gate.fault().is_some_and(Fault::changes_time);
            self.played.struck.push(struck);
        }
    }

    fn note_steps(&mut self, life: &Life) {
        if self.recovers && self.played.steps_of_recovery.is_empty() {
            self.played.steps_of_recovery = life.env.disk.trace();
        }
    }

    fn note(&mut self, line: String) {
        self.played.story.push(line);
    }
}

/// A job fails, though nothing happened to it.
fn unprovoked(ended: &Ended) -> Divergence {
    let oracle = match ended {
        Ended::Hangs(_) => Oracle::Liveness,
        // A batch that was recomputed gave another result.
        Ended::Failed(error) if error.kind() == ErrorKind::UserCode => Oracle::Deterministic,
        _ => Oracle::Survives,
    };
    Divergence::new(oracle, format!("nothing happened to the job, but {}", why(ended)))
}

/// An error of the disk ends the life in which it comes: nothing may go on as if it had not been. One of an object store may be
/// tried again.
fn heard(gate: &Gate) -> Checked<()> {
    match gate.struck() {
        Some(struck) if gate.fault() == Some(Fault::IoError) && !is_of_a_store(struck.step) => {
            Err(Divergence::new(Oracle::Heard, format!("the job goes on after {struck}")))
        }
        _ => Ok(()),
    }
}

fn is_of_a_store(step: Step) -> bool {
    matches!(step, Step::StorePut | Step::StoreDelete | Step::StoreList)
}

/// Whether a driver that is paused in its start has claimed its epoch.
fn has_claimed(birth: &Birth) -> bool {
    let trace = birth.env.disk.trace();
    let before = trace.iter().take_while(|step| step.fault.is_none());
    before.filter(|step| step.step == Step::ManifestCreate).any(|step| step.what.starts_with("link"))
}

fn why(ended: &Ended) -> String {
    match ended {
        Ended::Failed(error) => format!("the job ended with: {error}"),
        Ended::Held => "it is paused".to_string(),
        Ended::Refused => "blocks are refused".to_string(),
        Ended::Hangs(what) => what.clone(),
    }
}

/// The harness's own place is gone or full.
fn unplayable(error: std::io::Error) -> Divergence {
    Divergence::new(Oracle::Survives, format!("the simulated disk cannot be used: {error}"))
}
