//! One driver (I-8): a second victim in the same directory is refused and changes nothing, whether the first one runs, is stopped
//! for a while, or starts at the same time; when it is dead, the next one may start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use floodmark_chaos::process::Watched;
use floodmark_chaos::process::parent::{Life, Witness};
use floodmark_chaos::process::victim::{OWNED, Pace, Place, Until, Word};

const PATIENCE: Duration = Duration::from_secs(60);

struct Test {
    directory: tempfile::TempDir,
    witness: Witness,
}

impl Test {
    fn new(pace: Pace) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        Self { witness: Witness::new(Path::new(env!("CARGO_BIN_EXE_victim")), &place, pace), directory }
    }

    fn start(&self) -> Life {
        self.witness.start(&self.witness.options()).unwrap()
    }

    fn kill(&mut self, mut life: Life) {
        assert!(life.kill().unwrap(), "it ran until then");
        self.witness.note("killed", life.sight()).unwrap_or_else(|error| panic!("{error}"));
    }

    fn finish(mut self) {
        let until = self.witness.a_little_further().unwrap();
        self.witness.finish(until).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Every file, with its bytes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.directory.path(), &mut files);
        files
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn run_to(life: &mut Life, batch: u64) {
    let came = life.watch_for(PATIENCE, |word| matches!(word, Word::Published(number) if *number >= batch));
    assert_eq!(came, Watched::Seen, "batch {batch}");
}

/// A victim that is refused, because `owner` is there.
fn refused(life: Life, owner: u32) {
    let error = life.finish(PATIENCE).unwrap_err().to_string();
    assert!(error.contains(&format!("exit status: {OWNED};")), "{error}");
    assert!(
        error.contains(&format!("is owned by process {owner}\n")) || error.ends_with(&format!("process {owner}")),
        "{error}"
    );
}

fn signal(life: &Life, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), life.id().to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name}");
}

fn is_stopped(life: &Life) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", life.id())).unwrap();
    let stopped = status.lines().any(|line| line.starts_with("State:\tT"));
    // Every thread by itself: one may be in the middle of a call to the disk.
    let mut threads = fs::read_dir(format!("/proc/{}/task", life.id())).unwrap();
    stopped
        && threads.all(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            status.lines().any(|line| line.starts_with("State:\tT"))
        })
}

#[test]
fn a_second_victim_is_refused_while_the_first_goes_on_and_may_start_when_it_is_dead() {
    let mut test = Test::new(Pace::Real);
    let mut first = test.start();
    run_to(&mut first, 3);
    for round in 1..=3 {
        refused(test.start(), first.id());
        run_to(&mut first, 3 + 5 * round);
    }
    test.kill(first);
    let mut second = test.start();
    assert_eq!(second.watch_for(PATIENCE, |word| matches!(word, Word::Recovered { .. })), Watched::Seen);
    assert!(second.sight().recovered.is_some_and(|recovery| recovery.checkpoint.is_some()), "not a fresh start");
    test.kill(second);
    test.finish();
}

#[test]
fn a_driver_that_is_stopped_for_a_while_is_still_the_owner_and_goes_on_where_it_was() {
    let mut test = Test::new(Pace::Real);
    let mut first = test.start();
    for round in 1..=3 {
        run_to(&mut first, 4 * round);
        signal(&first, "STOP");
        while !is_stopped(&first) {
            std::thread::yield_now();
        }
        let before = test.files();
        refused(test.start(), first.id());
        assert!(before == test.files(), "who was refused has changed something");
        signal(&first, "CONT");
    }
    run_to(&mut first, 20);
    test.kill(first);
    test.finish();
}

#[test]
fn of_victims_that_start_at_once_one_is_let_in_and_the_others_are_refused() {
    let mut test = Test::new(Pace::Lockstep);
    for round in 1..=4 {
        let mut lives: Vec<Life> = (0..4).map(|_| test.start()).collect();
        let recovered = |life: &mut Life| life.watch_for(PATIENCE, |word| matches!(word, Word::Recovered { .. }));
        let (mut let_in, others): (Vec<Life>, Vec<Life>) = lives
            .drain(..)
            .map(|mut life| (recovered(&mut life), life))
            .fold((vec![], vec![]), |mut sides, (came, life)| {
                match came {
                    Watched::Seen => sides.0.push(life),
                    Watched::Ended => sides.1.push(life),
                    Watched::TimedOut => panic!("a victim is neither let in nor refused"),
                }
                sides
            });
        assert_eq!((let_in.len(), others.len()), (1, 3), "round {round}");
        let mut owner = let_in.remove(0);
        for other in others {
            let error = other.finish(PATIENCE).unwrap_err().to_string();
            assert!(error.contains(&format!("exit status: {OWNED};")), "{error}");
        }
        run_to(&mut owner, 5 * round);
        test.kill(owner);
    }
    let until = Until::Batches(25);
    test.witness.finish(until).unwrap_or_else(|error| panic!("{error}"));
}
