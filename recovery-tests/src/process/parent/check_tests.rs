//! Forgeries: what a victim would leave that lost something, did something twice, or computed something else.

use std::path::PathBuf;

use super::super::sight::Sight;
use super::*;
use crate::process::victim::data::INTERVAL;

const BATCHES: u64 = 9;

/// A history in lockstep, written as the file sinks would.
struct Forgery {
    _directory: tempfile::TempDir,
    place: Place,
    ledger: Ledger,
}

impl Forgery {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        fs::create_dir(place.input()).unwrap();
        let batch = |number: u64| {
            let time_ms = 1_000_000 + number * INTERVAL.as_millis() as u64;
            Batch { time_ms, received: data::block(number), read: data::file(number) }
        };
        let batches: Vec<Batch> = (1..=BATCHES).map(batch).collect();
        let expected = model::expected(&batches);
        for ((number, batch), expected) in (1..).zip(&batches).zip(&expected) {
            place.move_in(number).unwrap();
            // The input stands first, in its order; the check sorts what follows.
            let input: Vec<String> =
                batch.received.iter().chain(&batch.read).map(|pair| data::line::input(*pair)).collect();
            let others = expected.results.iter().filter(|line| !line.starts_with("in ")).cloned();
            publish(&place.results(), number, batch.time_ms, &[input, others.rev().collect()].concat());
            if let Some((time_ms, lines)) = &expected.windows {
                publish(&place.windows(), number, *time_ms, lines);
            }
        }
        let last = expected.last().unwrap();
        let dump =
            format!("totals {BATCHES}\n{}\nsessions {BATCHES}\n{}\n", last.totals.join("\n"), last.sessions.join("\n"));
        fs::write(place.directory().join("dump"), dump).unwrap();
        let ledger = Ledger::new(&place);
        Self { _directory: directory, place, ledger }
    }

    fn check(&self) -> Result<Ending, String> {
        let dump = self.place.directory().join("dump");
        check(&self.place, Pace::Lockstep, &self.ledger, &dump).map_err(|error| error.to_string())
    }

    fn part(&self, number: u64) -> PathBuf {
        self.place.results().join(format!("batch-{number:020}/part-00000"))
    }

    /// Changes the lines of a file, and says what the check says.
    fn changed(self, path: PathBuf, change: impl FnOnce(&mut Vec<String>)) -> String {
        let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(String::from).collect();
        change(&mut lines);
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        self.check().unwrap_err()
    }
}

fn publish(output: &Path, number: u64, time_ms: u64, lines: &[String]) {
    let batch = output.join(format!("batch-{number:020}"));
    fs::create_dir_all(&batch).unwrap();
    fs::write(batch.join("_batch"), format!("floodmark batch 1\nbatch {number}\ntime {time_ms}\n")).unwrap();
    fs::write(batch.join("part-00000"), lines.join("\n") + "\n").unwrap();
}

#[test]
fn what_is_as_it_must_be_is_found_so() {
    let forgery = Forgery::new();
    let ending = forgery.check().unwrap();
    assert_eq!(ending.batches, BATCHES);
    let records: usize = (1..=BATCHES).map(|number| data::block(number).len() + data::file(number).len()).sum();
    assert_eq!(ending.records, records as u64);
}

#[test]
fn a_record_that_is_lost_or_comes_twice_is_found() {
    let forgery = Forgery::new();
    let path = forgery.part(4);
    let lost = forgery.changed(path, |lines| drop(lines.remove(0)));
    assert!(lost.starts_with("record 0 of block 4: expected "), "{lost}");

    let forgery = Forgery::new();
    let path = forgery.part(4);
    let twice = forgery.changed(path, |lines| lines.insert(0, lines[0].clone()));
    assert!(twice.starts_with("record 1 of block 4: expected ") || twice.starts_with("record 0 of block 5"), "{twice}");
}

#[test]
fn a_block_that_was_acknowledged_and_a_file_that_was_moved_in_are_missed() {
    let mut forgery = Forgery::new();
    forgery.ledger.after(&Sight { stored: BATCHES + 1, ..Sight::default() }).unwrap();
    assert_eq!(forgery.check().unwrap_err(), "block 10 was acknowledged, but only 9 are in batches");

    let forgery = Forgery::new();
    let more = (BATCHES + 1..).find(|number| !data::file(*number).is_empty()).unwrap();
    (BATCHES + 1..=more).for_each(|number| forgery.place.move_in(number).unwrap());
    let missed = forgery.check().unwrap_err();
    assert!(missed.starts_with(&format!("record 0 of file {more}: expected ")), "{missed}");
}

#[test]
fn a_result_that_differs_is_named_with_its_batch() {
    let forgery = Forgery::new();
    let path = forgery.part(6);
    let line = |lines: &Vec<String>| lines.iter().position(|line| line.starts_with("total ")).unwrap();
    let wrong = forgery.changed(path, |lines| {
        let index = line(lines);
        lines[index] = "total 1 2 3".to_string();
    });
    assert!(wrong.starts_with("batch 6 of the results lacks \"total ") && wrong.contains("\"total 1 2 3\""), "{wrong}");

    let forgery = Forgery::new();
    let path = forgery.place.windows().join("batch-00000000000000000004/part-00000");
    let wrong = forgery.changed(path, |lines| drop(lines.pop()));
    assert!(wrong.starts_with("batch 4 of the windows lacks \"windows "), "{wrong}");
}

#[test]
fn a_batch_that_is_missing_is_found_in_both_outputs() {
    let forgery = Forgery::new();
    fs::remove_dir_all(forgery.part(3).parent().unwrap()).unwrap();
    assert_eq!(forgery.check().unwrap_err(), "batch 4 is number 3 of those published");

    let forgery = Forgery::new();
    fs::remove_dir_all(forgery.place.windows().join("batch-00000000000000000004")).unwrap();
    let missing = forgery.check().unwrap_err();
    assert!(missing.starts_with("windows: expected those of batch 4 "), "{missing}");
    fs::remove_dir_all(forgery.place.windows()).unwrap();
    assert_eq!(forgery.check().unwrap_err(), "the windows of batch 2 were not published");
}

#[test]
fn a_state_that_differs_is_named_with_its_operator_and_batch() {
    for (uid, operator) in [("total ", "totals"), ("session ", "sessions")] {
        let forgery = Forgery::new();
        let path = forgery.place.directory().join("dump");
        let wrong = forgery.changed(path, |lines| {
            let index = lines.iter().rposition(|line| line.starts_with(uid)).unwrap();
            lines[index] += "1";
        });
        assert!(wrong.starts_with(&format!("{operator} after batch {BATCHES}: expected ")), "{wrong}");
    }
    let forgery = Forgery::new();
    let path = forgery.place.directory().join("dump");
    let wrong = forgery.changed(path, |lines| lines[0] = "totals 10".to_string());
    assert_eq!(wrong, "the dump has totals after batch \"10\", which was not published");
}

#[test]
fn in_lockstep_a_batch_is_its_block_and_its_file() {
    let mut forgery = Forgery::new();
    // The records of block 5 move into batch 4: nothing is lost, and yet it is not what was planned.
    let (four, five) = (forgery.part(4), forgery.part(5));
    let moved = data::block(5).into_iter().map(data::line::input).collect::<Vec<_>>();
    let mut lines: Vec<String> = fs::read_to_string(&four).unwrap().lines().map(String::from).collect();
    let behind = data::block(4).len();
    lines.splice(behind..behind, moved.iter().cloned());
    fs::write(&four, lines.join("\n") + "\n").unwrap();
    forgery.ledger = Ledger::new(&forgery.place);
    let wrong = forgery.changed(five, |lines| lines.retain(|line| !moved.contains(line)));
    assert!(wrong.starts_with("batch 4 is not block 4 and file 4"), "{wrong}");
}
