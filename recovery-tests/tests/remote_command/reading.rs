//! Verbs that read: on every kind of URL, beside a job at work, and where there is nothing to be read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use floodmark::testing::disk::{Fault, FaultyDisk, LocalDisk, Point, Step, TracedStep, Watcher};
use floodmark_chaos::store::{Refusal, Request, Strike, StrikingStore};
use floodmark_cli::{Outcome, run, run_on_store};

use crate::files::{Job, URL, json, ok, on, start, stored};
use crate::kit::{Machine, Sent, World};

/// Every verb that reads, with what follows the location.
const READING: [&str; 17] = [
    "status",
    "plan",
    "verify",
    "verify --quick",
    "verify --full",
    "verify --entries",
    "log",
    "batches",
    "wal",
    "wal --stats",
    "tail",
    "du",
    "operators",
    "get counts",
    "scan counts",
    "history counts",
    "export",
];

/// The verb's line for a location; `get` and `history` ask for a word that is there.
fn line(verb: &str, location: &str) -> Vec<String> {
    let mut words = verb.split(' ').map(str::to_string);
    let name = words.next().unwrap();
    let asks = name == "get" || name == "history";
    let key = asks.then(|| "second 1".to_string());
    [name, location.to_string()].into_iter().chain(words).chain(key).collect()
}

fn tree(directory: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(tree(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

/// Runs a job at this location, and gives the directory of its working copy.
fn live(location: &str) -> (Machine, Sent) {
    let (world, mut sent, machine) = (World::default(), Sent::default(), Machine::new());
    let life = world.run(world.builder(&machine).checkpoint(location)).unwrap();
    life.run_batches("second", 5, &mut sent).unwrap();
    (machine, sent)
}

fn text(outcome: &Outcome) -> String {
    assert!(outcome.code == 0 || outcome.code == 3, "{outcome:?}");
    outcome.stdout.clone()
}

#[test]
fn every_verb_that_reads_says_of_a_url_what_it_says_of_the_working_copy_and_writes_nothing() {
    let bucket = floodmark_chaos::scratch::directory().unwrap();
    for location in [format!("file://{}", bucket.path().display()), "memory://reading/jobs/counts".to_string()] {
        let (machine, _) = live(&location);
        let copy = machine.path().join("copy").display().to_string();
        let before = tree(bucket.path());
        for verb in READING {
            let (of_url, of_copy) = (run(line(verb, &location)), run(line(verb, &copy)));
            let same =
                !["status", "verify", "verify --quick", "verify --full", "verify --entries", "plan", "du", "log"]
                    .contains(&verb);
            if same {
                assert_eq!(text(&of_url).replace(&location, &copy), text(&of_copy), "{verb}");
            } else {
                assert_eq!(ok(&of_url).is_empty(), ok(&of_copy).is_empty(), "{verb}");
            }
        }
        assert_eq!(tree(bucket.path()), before, "a verb that reads has written");
    }
}

#[test]
fn a_diff_of_two_checkpoints_and_a_watch_work_on_a_url() {
    let (world, _) = stored(6);
    let (log, _) = json(&world.store, "log URL");
    let manifests = log["manifests"].as_array().unwrap();
    let batches: Vec<u64> =
        manifests.iter().filter(|row| row["checkpoint"].is_object()).filter_map(|row| row["batch"].as_u64()).collect();
    let (from, to) = (batches[batches.len() - 2], batches[batches.len() - 1]);
    let outcome = on(&world.store, &format!("diff URL {from} {to} --exit-code"));
    assert_eq!(outcome.code, 7, "{outcome:?}");
    let outcome = on(&world.store, "watch URL --count 2 --interval 0.05");
    assert_eq!(ok(&outcome).matches("in the bucket").count(), 2, "{outcome:?}");
}

#[test]
fn the_status_of_a_url_says_who_wrote_the_newest_manifest_in_which_epoch() {
    let (world, _) = stored(4);
    let (status, code) = json(&world.store, "status URL");
    assert_eq!(code, 0, "{status}");
    assert_eq!(status["store"], URL);
    assert_eq!((&status["owner"]["is"], &status["owner"]["epoch"]), (&"elsewhere".into(), &2.into()), "{status}");
    let who = status["owner"]["who"].as_str().unwrap();
    assert!(who.starts_with(&format!("process {} on ", std::process::id())), "{who}");
    assert_eq!((&status["in_bucket"], &status["batches"]["planned"]), (&true.into(), &7.into()), "{status}");
    let plan = on(&world.store, "plan URL");
    assert!(ok(&plan).contains("epoch 2 is held by process"), "{plan:?}");
    assert!(ok(&plan).contains("lost       nothing"), "{plan:?}");
}

/// A job that runs so many batches, and takes so many checkpoints, at one moment of a look at its bucket that what the look has read
/// by then is gone, and so is the manifest after the one that it took for the newest.
struct Overtakes {
    life: Job,
    sent: Mutex<Sent>,
}

impl Watcher for Overtakes {
    fn struck(&self, _: &TracedStep) {
        self.life.run_batches("overtaking", 9, &mut self.sent.lock().unwrap()).unwrap();
    }
}

#[test]
fn a_look_that_a_job_overtakes_by_many_checkpoints_at_any_moment_is_taken_again() {
    let mut struck = 0;
    for nth in 1.. {
        let (world, mut sent) = (World::default(), Sent::default());
        let life = start(&world).unwrap();
        life.run_batches("second", 5, &mut sent).unwrap();
        let job = Arc::new(Overtakes { life, sent: Mutex::new(sent) });
        let door = FaultyDisk::watched(Arc::new(LocalDisk), job.clone());
        door.arm_at(Point { step: Step::StoreList, nth }, Fault::Hold);
        let store = Arc::new(world.store.through(door.clone()));
        let outcome = run_on_store(Arc::new(LocalDisk), store, line("status", URL));
        assert_eq!(outcome.code, 0, "overtaken in list {nth}: {outcome:?}");
        if !door.fired() {
            break;
        }
        struck += 1;
        world.check(&job.life, &job.sent.lock().unwrap()).unwrap();
    }
    println!("overtaken in {struck} lists");
    assert!(struck >= 7, "{struck}");
}

#[test]
fn verbs_that_read_beside_a_job_at_work_never_disturb_it() {
    let (world, mut sent) = (World::default(), Sent::default());
    let life = start(&world).unwrap();
    life.run_batches("second", 3, &mut sent).unwrap();
    let (looked, looks) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let store = world.store.clone();
        let looking = scope.spawn(move || {
            for round in 0..3 {
                for verb in READING {
                    looked.send(()).unwrap();
                    let mut words = line(verb, URL);
                    words.push("--json".to_string());
                    let store = Arc::new(store.clone());
                    let outcome = run_on_store(Arc::new(LocalDisk), store, words);
                    // A torn tail cannot be: an object is there or not.
                    assert_eq!(outcome.code, 0, "round {round}, {verb}: {outcome:?}");
                }
            }
        });
        let mut batch = 0;
        // Some batches and checkpoints during each look.
        while looks.recv().is_ok() {
            life.run_batches(&format!("beside {batch}"), 5, &mut sent).unwrap();
            batch += 5;
        }
        looking.join().unwrap();
        println!("{batch} batches beside the verbs");
    });
    world.check(&life, &sent).unwrap();
}

#[test]
fn where_no_job_is_or_nothing_can_be_read_the_exit_code_and_the_words_say_so() {
    let place = floodmark_chaos::scratch::directory().unwrap();
    let (empty, nowhere) = (place.path().join("empty"), place.path().join("nowhere"));
    std::fs::create_dir(&empty).unwrap();
    let (_, local) = stored_in_a_directory(place.path());
    let cases = [
        (format!("file://{}", nowhere.display()), 10, "no such directory"),
        (format!("file://{}", empty.display()), 10, "no Floodmark job"),
        ("memory://nothing/here".to_string(), 10, "no Floodmark job"),
        ("ftp://somewhere/else".to_string(), 2, "expected s3://"),
        ("s3://".to_string(), 2, "the name of a bucket"),
        ("s3://user:key@bucket/x".to_string(), 2, "read from the environment"),
        ("gs://bucket/x".to_string(), 2, "cargo feature `gcp`"),
        (format!("file://{local}"), 2, "a job's own directory"),
    ];
    for (location, code, words) in cases {
        for verb in ["status", "verify", "get", "pin", "rollback"] {
            let mut line = vec![verb.to_string(), location.clone()];
            match verb {
                "get" => line.extend(["counts".to_string(), "x".to_string()]),
                "rollback" => line.extend(["--to".to_string(), "1".to_string()]),
                _ => {}
            }
            let outcome = run(line);
            assert_eq!(outcome.code, code, "{verb} {location}: {outcome:?}");
            assert!(outcome.stderr.contains(words), "{verb} {location}: {outcome:?}");
        }
    }
    assert!(!nowhere.exists(), "a verb that reads has made a directory");
    let bucket = place.path().join("bucket");
    live(&format!("file://{}", bucket.display()));
    let outcome = run(["status".to_string(), bucket.display().to_string()]);
    assert_eq!(outcome.code, 10, "{outcome:?}");
    assert!(outcome.stderr.contains("next: floodmark status file:///"), "{outcome:?}");
}

fn stored_in_a_directory(place: &Path) -> (Machine, String) {
    let (world, mut sent, machine) = (World::default(), Sent::default(), Machine::new());
    let local = place.join("local");
    let builder =
        floodmark::StreamingContext::builder("counts").checkpoint(&local).workers(1).clock(world.clock.clone());
    let life = world.run(builder.batch_interval(std::time::Duration::from_millis(100))).unwrap();
    life.run_batches("local", 1, &mut sent).unwrap();
    (machine, local.display().to_string())
}

#[test]
fn of_a_job_whose_blocks_are_in_the_local_log_a_url_says_what_a_start_elsewhere_would_do() {
    let (mut refused, mut started) = (0, 0);
    for batches in 1..=4 {
        let (world, mut sent) = (World::local(), Sent::default());
        let life = start(&world).unwrap();
        life.run_batches("word", batches, &mut sent).unwrap();
        drop(life);
        for verb in READING {
            let outcome = run_on_store(Arc::new(LocalDisk), Arc::new(world.store.clone()), line(verb, URL));
            assert!([0, 2, 3, 4].contains(&outcome.code), "{batches} batches, {verb}: {outcome:?}");
        }
        let plan = on(&world.store, "plan URL");
        match start(&world) {
            Ok(_) => assert_eq!(plan.code, 0, "{batches} batches: {plan:?}"),
            Err(error) => assert_eq!(plan.code, 4, "{batches} batches: {error}: {plan:?}"),
        }
        refused += usize::from(plan.code == 4);
        started += usize::from(plan.code == 0);
    }
    println!("elsewhere {started} would start, {refused} would be refused");
    assert!(refused > 0 && started + refused == 4);
}

#[test]
fn a_store_that_denies_or_does_not_answer_is_told_as_that() {
    let (world, _) = stored(2);
    let striking = StrikingStore::around(Arc::new(world.store.clone()));
    striking.always(Some(Strike::Refuse(Refusal::Forbidden)));
    let outcome = run_on_store(Arc::new(LocalDisk), Arc::new(striking), ["status", URL]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("access denied"), "{outcome:?}");
}

#[test]
fn with_a_cache_no_table_file_is_fetched_twice_and_one_that_has_rotted_there_is_fetched_again() {
    let (world, _) = stored(6);
    let cache = floodmark_chaos::scratch::directory().unwrap();
    let get = |expected: &str| {
        let striking = StrikingStore::around(Arc::new(world.store.clone()));
        let line = ["get", URL, "counts", "second 1", "--cache", cache.path().to_str().unwrap()];
        let outcome = run_on_store(Arc::new(LocalDisk), Arc::new(striking.clone()), line);
        assert!(ok(&outcome).contains("→ 1"), "{expected}: {outcome:?}");
        striking.asked(Request::Get)
    };
    let first = get("the first");
    let again = get("the second");
    assert!(again < first, "{again} of {first} requests");
    let cached = tree(cache.path());
    assert!(!cached.is_empty() && cached.keys().all(|path| path.extension().is_some_and(|it| it == "sst")));
    for (path, bytes) in &cached {
        let mut bytes = bytes.clone();
        bytes[5] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(get("rotten"), first);
    assert_eq!(tree(cache.path()), cached);
}
