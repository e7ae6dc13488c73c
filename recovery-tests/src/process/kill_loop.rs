//! Kills a job at random moments, again and again, and compares what it counted each time it was allowed to finish.
//!
//! A run consists of rounds. Each brings new input and a few lives that end in SIGKILL while the input arrives; one more
//! life takes what is left, stops gracefully and dumps its counts, which must equal the plain count of all input so far. The
//! next round goes on from there, on the same state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Counts, Job, Line, Pace, ProcessError, Sender, Text, example, generated};

/// A kill comes at most so late in a life, and it may come before the job has even recovered.
const LONGEST_LIFE: Duration = Duration::from_millis(600);
const MOST_KILLS_A_ROUND: u32 = 5;

/// How much to kill.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Lives that end in SIGKILL.
    pub kills: u32,
    /// Decides the input and the moments. Where in the job a moment falls is still the machine's choice.
    pub seed: u64,
}

/// What was survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survived {
    pub kills: u32,
    /// How often the counts were compared, and were equal.
    pub comparisons: u32,
    /// Words in the last comparison.
    pub words: u64,
}

/// A job that can be killed: where its input comes from, and how it is started.
trait Victim {
    /// Brings input that keeps arriving for this long.
    fn feed(&mut self, random: &mut StdRng, lasting: Duration) -> Result<(), ProcessError>;

    /// The command of a life that is to be killed.
    fn life(&self) -> Command;

    /// Lets the rest of the input arrive. The command of a life that ends when the input is used up, and dumps to this file.
    fn last_life(&mut self, dump: &Path) -> Result<Command, ProcessError>;

    /// The plain count of all input so far; asked when such a life has ended.
    fn expected(&mut self) -> Result<Counts, ProcessError>;

    /// What the job has published so far, added up, if it publishes.
    fn published(&self) -> Result<Option<Counts>, ProcessError> {
        Ok(None)
    }
}

/// Kills `file_word_count`, while files are moved into its input directory. Its output must be exact, too.
///
/// # Errors
/// When the counts differ, or the job fails; the message names the seed or the job's last words.
pub fn files(plan: Plan, directory: &Path, tell: impl FnMut(&str)) -> Result<Survived, ProcessError> {
    let input = directory.join("input");
    fs::create_dir_all(&input).map_err(ProcessError::file("create", &input))?;
    let program = example("file_word_count")?;
    let (output, state) = (directory.join("output"), directory.join("state"));
    let victim = Files { program, input, output, state, expected: Counts::default(), files: 0, feeder: None };
    survive(plan, victim, directory, tell)
}

/// Kills `network_word_count` with the acknowledging receiver, while text arrives through a socket.
///
/// # Errors
/// As [`files`]; also when the receiver lost what it had acknowledged.
pub fn acknowledged(plan: Plan, directory: &Path, tell: impl FnMut(&str)) -> Result<Survived, ProcessError> {
    let text = Text::new(generated(plan.seed, 4 << 20)).repeated_to(1 << 40);
    let sender = Sender::start(text.clone(), Pace::Unlimited)?;
    sender.set_limit(0);
    let program = example("network_word_count")?;
    survive(plan, Acknowledged { program, state: directory.join("state"), text, sender, limit: 0 }, directory, tell)
}

fn survive(
    plan: Plan,
    mut victim: impl Victim,
    directory: &Path,
    mut tell: impl FnMut(&str),
) -> Result<Survived, ProcessError> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut survived = Survived { kills: 0, comparisons: 0, words: 0 };
    while survived.kills < plan.kills {
        let kills = random.random_range(1..=MOST_KILLS_A_ROUND).min(plan.kills - survived.kills);
        victim.feed(&mut random, LONGEST_LIFE * (kills + 1))?;
        for _ in 0..kills {
            let moment = random.random_range(Duration::from_millis(5)..LONGEST_LIFE);
            let recovered = killed_life(victim.life(), moment)?;
            survived.kills += 1;
            tell(&format!("kill {:2} after {:3} ms: {recovered}", survived.kills, moment.as_millis()));
        }
        let dump = directory.join(format!("dump-{}", survived.comparisons + 1));
        let recovered = last_life(victim.last_life(&dump)?)?;
        let expected = victim.expected()?;
        expected.compare(&Counts::read(&dump)?, plan.seed)?;
        if let Some(published) = victim.published()? {
            expected.compare(&published, plan.seed)?;
        }
        survived.comparisons += 1;
        survived.words = expected.total();
        tell(&format!("     to the end: {recovered}"));
        tell(&format!("     {} words, {} distinct: equal to the plain count", expected.total(), expected.distinct()));
    }
    Ok(survived)
}

/// Says what the life told of its recovery, if it came so far.
fn killed_life(command: Command, moment: Duration) -> Result<String, ProcessError> {
    let mut recovered = "killed before it had recovered".to_string();
    let mut job = Job::start(command)?;
    let mut see = |line: &Line| note_recovery(line, &mut recovered);
    job.watch(Instant::now() + moment, &mut see);
    if job.kill(&mut see)? { Ok(recovered) } else { Err(ProcessError::EndedByItself { last: recovered }) }
}

fn last_life(command: Command) -> Result<String, ProcessError> {
    let mut recovered = "no word of its recovery".to_string();
    Job::start(command)?.finish(|line| note_recovery(line, &mut recovered))?;
    Ok(recovered)
}

fn note_recovery(line: &Line, recovered: &mut String) {
    if let Line::Out(text) = line
        && (text.starts_with("recovered:") || text.starts_with("started fresh"))
    {
        recovered.clone_from(text);
    }
}

/// Small intervals, so that much can be interrupted in a short life.
fn with_small_intervals(command: &mut Command, state: &Path) {
    command.arg("--checkpoint").arg(state);
    command.args(["--workers", "2", "--batch-interval", "20ms", "--checkpoint-every", "5"]);
}

struct Files {
    program: PathBuf,
    input: PathBuf,
    output: PathBuf,
    state: PathBuf,
    expected: Counts,
    files: u32,
    feeder: Option<JoinHandle<Result<(), ProcessError>>>,
}

impl Victim for Files {
    fn feed(&mut self, random: &mut StdRng, lasting: Duration) -> Result<(), ProcessError> {
        let mut moves = Vec::new();
        for _ in 0..random.random_range(20..60) {
            let text = generated(random.random(), random.random_range(0..200_000));
            self.files += 1;
            self.expected.add(&Counts::of(&text), 1);
            // Hidden until it is whole, then moved in as one.
            let hidden = self.input.join(format!(".text-{:05}", self.files));
            fs::write(&hidden, text).map_err(ProcessError::file("write", &hidden))?;
            moves.push((hidden, self.input.join(format!("text-{:05}", self.files))));
        }
        let pause = lasting / moves.len() as u32;
        let feed = move || {
            for (hidden, visible) in moves {
                fs::rename(&hidden, &visible).map_err(ProcessError::file("move in", &visible))?;
                thread::sleep(pause);
            }
            Ok(())
        };
        let feeder = thread::Builder::new().name("feeder".to_string()).spawn(feed);
        self.feeder = Some(feeder.map_err(ProcessError::file("start", Path::new("a thread")))?);
        Ok(())
    }

    fn life(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--input").arg(&self.input).args(["--max-files-per-batch", "3"]);
        command.arg("--output").arg(&self.output);
        with_small_intervals(&mut command, &self.state);
        command
    }

    fn last_life(&mut self, dump: &Path) -> Result<Command, ProcessError> {
        if let Some(feeder) = self.feeder.take() {
            feeder.join().expect("the feeder does not panic")?;
        }
        let mut command = self.life();
        command.arg("--until-idle").arg("--dump").arg(dump);
        Ok(command)
    }

    fn expected(&mut self) -> Result<Counts, ProcessError> {
        Ok(self.expected.clone())
    }

    fn published(&self) -> Result<Option<Counts>, ProcessError> {
        Counts::sum_of_output(&self.output).map(Some)
    }
}

struct Acknowledged {
    program: PathBuf,
    state: PathBuf,
    text: Text,
    sender: Sender,
    limit: u64,
}

impl Victim for Acknowledged {
    fn feed(&mut self, random: &mut StdRng, lasting: Duration) -> Result<(), ProcessError> {
        let rate = random.random_range(1_000_000.0..8_000_000.0);
        self.limit = self.text.line_end(self.limit + (rate * lasting.as_secs_f64()) as u64);
        self.sender.set_limit(self.limit);
        self.sender.set_pace(Pace::BytesPerSecond(rate));
        Ok(())
    }

    fn life(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--connect").arg(self.sender.address().to_string()).arg("--acknowledged");
        with_small_intervals(&mut command, &self.state);
        command
    }

    fn last_life(&mut self, dump: &Path) -> Result<Command, ProcessError> {
        self.sender.set_pace(Pace::Unlimited);
        let mut command = self.life();
        command.arg("--stop-at-eof").arg("--dump").arg(dump);
        Ok(command)
    }

    fn expected(&mut self) -> Result<Counts, ProcessError> {
        let acknowledged = self.sender.settled()?;
        if acknowledged == self.limit {
            Ok(self.text.count_to(self.limit))
        } else {
            Err(ProcessError::NotAcknowledged { acknowledged, sent: self.limit })
        }
    }
}
