//! One life of an example program.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::ProcessError;

/// How many lines of a life are kept, to show them if it dies.
const LAST_WORDS: usize = 30;

/// A line that a job wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Out(String),
    Error(String),
}

/// Why [`Job::watch_for`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The line came.
    Seen,
    /// The time was over first.
    TimedOut,
    /// The job has ended, or closed its outputs.
    Ended,
}

/// A running process. It is killed when this is dropped, so that nothing outlives a failed test.
pub struct Job {
    program: String,
    child: Child,
    lines: Receiver<Line>,
    last_words: VecDeque<String>,
    started: Instant,
}

/// Where cargo puts this example, beside the program or the test that runs.
///
/// # Errors
/// When it is not built.
pub fn example(name: &str) -> Result<PathBuf, ProcessError> {
    built(&format!("examples/{name}"))
}

/// Where cargo puts this program of the package, beside the program or the test that runs.
///
/// # Errors
/// When it is not built.
pub fn program(name: &str) -> Result<PathBuf, ProcessError> {
    built(name)
}

fn built(name: &str) -> Result<PathBuf, ProcessError> {
    let this = std::env::current_exe().map_err(ProcessError::file("find", Path::new("this program")))?;
    // target/release/demo, or target/release/deps/some_test-0123.
    let directory = this.ancestors().skip(1).find(|directory| !directory.ends_with("deps")).unwrap_or(&this);
    let path = directory.join(name);
    if path.is_file() { Ok(path) } else { Err(ProcessError::NotBuilt { path }) }
}

impl Job {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self, ProcessError> {
        let path = PathBuf::from(command.get_program());
        let program = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(ProcessError::file("start", &path))?;
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take(), sender.clone(), Line::Out);
        forward(child.stderr.take(), sender, Line::Error);
        Ok(Self { program, child, lines, last_words: VecDeque::new(), started: Instant::now() })
    }

    /// Hands over each line until `until`, or until the job ends by itself. Says whether it still runs.
    pub fn watch(&mut self, until: Instant, mut see: impl FnMut(&Line)) -> bool {
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    see(&line);
                    self.remember(line);
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Hands over each line until `see` says that this is the one, until `until`, or until the job ends by itself.
    pub fn watch_for(&mut self, until: Instant, mut see: impl FnMut(&Line) -> bool) -> Watched {
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let seen = see(&line);
                    self.remember(line);
                    if seen {
                        return Watched::Seen;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Watched::TimedOut,
                Err(RecvTimeoutError::Disconnected) => return Watched::Ended,
            }
        }
    }

    /// The system's number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long this life has lasted.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// SIGKILL: no handler runs, nothing is flushed. Lines that it wrote before are still handed over. Says whether the kill
    /// ended the job; if not, it had already ended by itself.
    ///
    /// # Errors
    /// When it had ended with an error before, or the system refuses.
    pub fn kill(&mut self, see: impl FnMut(&Line)) -> Result<bool, ProcessError> {
        self.child.kill().map_err(ProcessError::file("kill", Path::new(&self.program)))?;
        let status = self.end(see)?;
        // No code: ended by a signal. An error that came first is the job's own.
        match status.code() {
            None => Ok(true),
            Some(0) => Ok(false),
            Some(_) => Err(self.died(status)),
        }
    }

    /// Waits until the job ends by itself.
    ///
    /// # Errors
    /// When it ends with anything but success.
    pub fn finish(mut self, see: impl FnMut(&Line)) -> Result<(), ProcessError> {
        let status = self.end(see)?;
        if status.success() { Ok(()) } else { Err(self.died(status)) }
    }

    fn end(&mut self, mut see: impl FnMut(&Line)) -> Result<ExitStatus, ProcessError> {
        while let Ok(line) = self.lines.recv() {
            see(&line);
            self.remember(line);
        }
        self.child.wait().map_err(ProcessError::file("wait for", Path::new(&self.program)))
    }

    fn remember(&mut self, line: Line) {
        let (Line::Out(text) | Line::Error(text)) = line;
        if self.last_words.len() == LAST_WORDS {
            self.last_words.pop_front();
        }
        self.last_words.push_back(text);
    }

    fn died(&self, status: ExitStatus) -> ProcessError {
        let last_words = self.last_words.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
        ProcessError::Died { program: self.program.clone(), status, last_words }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("{} could not be waited for", self.program);
        }
    }
}

/// Reads lines on a thread of its own, so that the job never waits for its reader.
fn forward(stream: Option<impl Read + Send + 'static>, to: mpsc::Sender<Line>, kind: fn(String) -> Line) {
    let Some(stream) = stream else { return };
    let read = move || {
        // Ends with the stream; a killed process may leave half a character.
        for bytes in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if to.send(kind(String::from_utf8_lossy(&bytes).into_owned())).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("job-lines".to_string()).spawn(read).expect("a thread starts");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job::start(command).unwrap()
    }

    #[test]
    fn a_killed_job_gives_its_lines_and_is_known_to_have_been_killed() {
        let mut job = shell("echo one; echo two >&2; exec sleep 60");
        let mut seen = Vec::new();
        while seen.len() < 2 {
            assert!(job.watch(Instant::now() + Duration::from_millis(10), |line| seen.push(line.clone())));
        }
        assert!(job.kill(|_| ()).unwrap());
        assert!(seen.contains(&Line::Out("one".to_string())) && seen.contains(&Line::Error("two".to_string())));
    }

    #[test]
    fn a_line_is_waited_for_until_it_comes_the_time_is_over_or_the_job_ends() {
        let far = Instant::now() + Duration::from_secs(60);
        let mut job = shell("echo one; echo two; exec sleep 60");
        let mut seen = Vec::new();
        let two = |line: &Line| *line == Line::Out("two".to_string());
        assert_eq!(
            job.watch_for(far, |line| {
                seen.push(line.clone());
                two(line)
            }),
            Watched::Seen
        );
        assert_eq!(seen.len(), 2);
        assert_eq!(job.watch_for(Instant::now(), two), Watched::TimedOut);
        assert_eq!(shell("echo one").watch_for(far, two), Watched::Ended);
    }

    #[test]
    fn a_job_that_fails_is_an_error_with_its_last_words() {
        let error = shell("echo it is broken >&2; exit 3").finish(|_| ()).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("  it is broken"), "{error}");
        let mut job = shell("exit 3");
        assert!(!job.watch(Instant::now() + Duration::from_secs(60), |_| ()));
        assert!(job.kill(|_| ()).is_err());
        shell("exit 0").finish(|_| ()).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        assert!(example("no_such_example").unwrap_err().to_string().contains("examples/no_such_example is not there"));
        let error = Job::start(Command::new("/no/such/program")).err().unwrap().to_string();
        assert!(error.starts_with("start /no/such/program"), "{error}");
    }
}
