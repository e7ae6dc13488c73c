//! The verbs that write: dry, applied, refused beside a driver, without permission, interrupted at every durable step and run
//! again; and the job that starts afterwards has what a model has.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::place::{Place, add, files, word_count};
use common::verbs::{Stored, deaths, json, model, ok, run_batches, tree, words};
use floodmark::testing::disk::{FaultyDisk, LocalDisk};
use floodmark::{BatchId, FileSink, StreamingContext};
use floodmark_cli::{run, run_on_disk};

/// The verbs with their arguments, and whether they take a backup folder.
const WRITING: [(&[&str], bool); 3] = [(&["rollback", "--to", "3"], true), (&["gc"], true), (&["pin", "3"], false)];

/// Lets `gc` find something.
fn litter(store: &Path) -> BTreeSet<PathBuf> {
    let unnamed = store.join("checkpoints/5-1-00000000000000aa");
    fs::create_dir(&unnamed).unwrap();
    fs::write(unnamed.join("000001.sst"), [7; 500]).unwrap();
    fs::write(store.join("manifests/.left.0123456789abcdef.tmp"), [7; 20]).unwrap();
    [unnamed.join("000001.sst"), store.join("manifests/.left.0123456789abcdef.tmp")].into()
}

#[test]
fn without_apply_nothing_is_written_and_the_next_command_is_told() {
    for (verb, _) in WRITING {
        let stored = Stored::new();
        litter(&stored.place.path());
        let before = tree(&stored.place.path());
        let outcome = stored.dry(verb);
        let next = ok(&outcome).lines().find_map(|line| line.strip_prefix("next: ")).expect("a next command");
        assert!(next.contains("--apply") && next.contains("--confirm job"), "{next}");
        assert_eq!(tree(&stored.place.path()), before, "{verb:?}");
    }
}

#[test]
fn without_permission_nothing_is_written_and_it_is_a_mistake_of_usage() {
    let stored = Stored::new();
    litter(&stored.place.path());
    let before = tree(&stored.place.path());
    for (verb, backed_up) in WRITING {
        let line = stored.line(verb, true);
        let without = |word: &str, values: usize| {
            let at = line.iter().position(|it| it == word).unwrap();
            let mut line = line.clone();
            line.drain(at..=at + values);
            line
        };
        let mut wrong = line.clone();
        *wrong.iter_mut().find(|it| *it == "job").unwrap() = "another".to_string();
        let inside = stored.place.path().join("inside").display().to_string();
        let mut in_store = line.clone();
        *in_store.last_mut().unwrap() = inside;
        let mut cases = vec![(wrong, "\"another\""), (without("--confirm", 1), "--confirm job")];
        if backed_up {
            cases.extend([(without("--backup", 1), "--backup"), (in_store, "in the store")]);
        }
        for (mut line, words) in cases {
            if !backed_up && let Some(at) = line.iter().position(|it| it == "--backup") {
                line.truncate(at);
            }
            let outcome = run(line);
            assert_eq!(outcome.code, 2, "{outcome:?}");
            assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
        }
    }
    assert_eq!(tree(&stored.place.path()), before);
}

#[test]
fn beside_a_living_driver_nothing_is_written() {
    let stored = Stored::new();
    let job = stored.place.start(|builder| builder, word_count).unwrap();
    let before = tree(&stored.place.path());
    for (verb, backed_up) in WRITING {
        for outcome in [stored.dry(verb), run(stored.line(verb, backed_up))] {
            assert_eq!(outcome.code, 6, "{outcome:?}");
            assert!(outcome.stderr.contains("stop the job first"), "{outcome:?}");
        }
    }
    assert_eq!(tree(&stored.place.path()), before);
    drop(job);
}

#[test]
fn a_rollback_takes_the_job_back_and_pins_what_it_leaves() {
    let stored = Stored::new();
    let told = json(&run(["rollback".to_string(), stored.path(), "--to".into(), "3".into(), "--json".into()]));
    assert_eq!(told["schema"], "floodmark.rollback/1");
    assert_eq!((&told["again"], &told["leaves"]), (&serde_json::json!([4, 5, 6, 7]), &serde_json::json!(6)));
    let outcome = stored.apply(&["rollback", "--to", "3"]);
    assert!(ok(&outcome).contains("is back at batch 3"), "{outcome:?}");
    let pinned = stored.place.path().join("pinned");
    assert_eq!(fs::read_dir(&pinned).unwrap().count(), 1);
    let copied = files(stored.backup.path());
    assert!(copied.iter().any(|file| file.parent().unwrap().ends_with("manifests")), "{copied:?}");
    let operations = fs::read_to_string(stored.place.path().join("operations.jsonl")).unwrap();
    let stages: Vec<serde_json::Value> = operations
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["stage"].clone())
        .collect();
    assert_eq!(stages, ["begins", "done"], "{operations}");
    let report = stored.starts_with(1..=7);
    assert!(report.contains("checkpoint of batch 3") && report.contains("4 batches published again"), "{report}");
}

#[test]
fn a_rollback_to_what_there_is_no_checkpoint_of_says_which_there_are() {
    let stored = Stored::new();
    for to in ["4", "99", "0"] {
        let outcome = stored.dry(&["rollback", "--to", to]);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.stderr.contains("after batch 3, 6"), "{outcome:?}");
    }
}

#[test]
fn a_pin_outlives_the_checkpoint_and_can_be_gone_back_to_while_the_log_reaches_back() {
    let stored = Stored::new();
    ok(&stored.apply(&["rollback", "--to", "3"])); // pins 6
    stored.starts_with(1..=7);
    let pins = json(&run(["pin".to_string(), stored.path(), "--json".into()]));
    assert_eq!(pins["pins"][0]["batch"], 6);
    // The log still reaches back to batch 3, so it does to 6, whose checkpoint was abandoned.
    ok(&stored.apply(&["rollback", "--to", "6"]));
    let job = stored.place.start(|builder| builder, word_count).unwrap();
    assert_eq!(job.counts("counts"), model((1..=7).chain([100])));
    for batch in 9..=14 {
        job.handles.push(words(batch)).unwrap();
        job.run_batch().unwrap();
        if batch % 3 == 2 {
            job.running.wait_until(|status| status.checkpoint.0 + 3 > batch && !status.checkpointing).unwrap();
        }
    }
    job.running.stop(true).unwrap();
    drop(job);
    let outcome = stored.dry(&["rollback", "--to", "6"]);
    assert!(outcome.code == 4 || outcome.code == 0, "{outcome:?}");
    if outcome.code == 4 {
        assert!(
            outcome.stderr.contains("the log begins with frame") && outcome.stderr.contains("can go back"),
            "{outcome:?}"
        );
    }
    let outcome = stored.apply(&["unpin", "6"]);
    assert!(ok(&outcome).contains("is given up"), "{outcome:?}");
    let left = fs::read_dir(stored.place.path().join("pinned")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("6-")));
    assert!(files(stored.backup.path()).iter().any(|file| file.to_string_lossy().contains("pinned/6-")));
    assert_eq!(stored.dry(&["unpin", "6"]).code, 2);
}

#[test]
fn gc_moves_what_nobody_needs_and_nothing_else() {
    let stored = Stored::new();
    let store = stored.place.path();
    let garbage = litter(&store);
    let before = tree(&store);
    let outcome = stored.apply(&["gc"]);
    assert!(ok(&outcome).contains("2 things"), "{outcome:?}");
    let mut after = tree(&store);
    after.remove(&store.join("operations.jsonl")).expect("it is on record");
    let expected: BTreeMap<_, _> = before.iter().filter(|(file, _)| !garbage.contains(*file)).collect();
    assert_eq!(after.iter().collect::<BTreeMap<_, _>>(), expected);
    let moved: usize = files(stored.backup.path()).len();
    assert_eq!(moved, garbage.len());
    assert!(ok(&stored.dry(&["gc"])).contains("Everything here is needed"));
    stored.starts_with(1..=7);
}

#[test]
fn a_verb_that_dies_at_any_durable_step_can_be_run_again() {
    for (verb, backed_up) in WRITING {
        let (steps, writes) = {
            let stored = Stored::new();
            litter(&stored.place.path());
            let disk = FaultyDisk::new(Arc::new(LocalDisk));
            ok(&run_on_disk(Arc::new(disk.clone()), stored.line(verb, backed_up)));
            let writes = disk.trace().into_iter().filter(|step| step.writes).map(|step| step.number);
            (disk.trace().len() as u64, writes.collect::<BTreeSet<u64>>())
        };
        assert!(steps >= 8, "{verb:?}: {steps}");
        for step in 1..=steps {
            for fault in deaths(step, writes.contains(&step), steps) {
                let stored = Stored::new();
                litter(&stored.place.path());
                let disk = FaultyDisk::new(Arc::new(LocalDisk));
                disk.arm(step, fault);
                let died = run_on_disk(Arc::new(disk.clone()), stored.line(verb, backed_up));
                assert!(disk.fired(), "{verb:?} {step} {fault:?}: {died:?}");
                let again = stored.apply(verb);
                if verb[0] == "pin" {
                    let again = run(stored.line(verb, false));
                    ok(&again);
                    assert!(
                        stored.place.path().join("pinned").join(stored.checkpoint_of(3).file_name().unwrap()).exists()
                    );
                } else {
                    assert_eq!(again.code, 0, "{verb:?} {step} {fault:?}: {again:?}");
                }
                stored.starts_with(1..=7);
            }
        }
    }
}

#[test]
fn compat_tells_what_a_build_would_make_of_the_store() {
    let stored = Stored::new();
    let schema = |declare: &dyn Fn(&StreamingContext)| {
        let context = stored.place.builder().build().unwrap();
        declare(&context);
        let file = stored.backup.path().join("schema.json");
        fs::write(&file, context.schema().unwrap().to_json()).unwrap();
        run(["compat".to_string(), stored.path(), "--schema".into(), file.display().to_string(), "--json".into()])
    };
    let same = schema(&|context| drop(word_count(context)));
    ok(&same);
    assert_eq!(json(&same)["operators"][0]["fate"], "kept");
    let with_more = schema(&|context| {
        let (_, stream) = context.queue_stream::<String>("words");
        stream.map(|word| (word, 1_u64)).update_state_by_key("counts", add);
        stream.map(|word| (word, 1_u64)).update_state_by_key("more", add);
    });
    ok(&with_more);
    assert_eq!(json(&with_more)["operators"][1]["fate"], "starts empty");
    let without = schema(&|context| context.queue_stream::<String>("words").1.print(1));
    assert_eq!(without.code, 5, "{without:?}");
    assert!(json(&without)["refusal"].as_str().unwrap().contains("drop_state(\"counts\")"), "{without:?}");
    let other_type = schema(&|context| {
        let (_, stream) = context.queue_stream::<String>("words");
        stream
            .map(|word| (word, 1_i64))
            .update_state_by_key("counts", |new: &[i64], old: Option<i64>| Some(old.unwrap_or(0) + new.len() as i64));
    });
    assert_eq!(other_type.code, 5, "{other_type:?}");
    let nonsense = stored.backup.path().join("nonsense.json");
    fs::write(&nonsense, "{\"schema\":\"something/1\"}").unwrap();
    let outcome = run(["compat".to_string(), stored.path(), "--schema".into(), nonsense.display().to_string()]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
}

/// An export of the store's newest checkpoint, of batch 6, in a file.
fn exported(stored: &Stored) -> PathBuf {
    let file = stored.backup.path().join("state.jsonl");
    fs::write(&file, ok(&run(["export".to_string(), stored.path()]))).unwrap();
    file
}

fn import_line(place: &Place, file: &Path, more: &[&str]) -> Vec<String> {
    let mut line = vec!["import".to_string(), place.path().display().to_string(), file.display().to_string()];
    line.extend(more.iter().map(ToString::to_string));
    line
}

const CONFIRMED: [&str; 3] = ["--apply", "--confirm", "job"];

#[test]
fn what_was_exported_is_imported_and_the_job_goes_on_from_there() {
    let stored = Stored::new();
    let file = exported(&stored);
    for new_lineage in [false, true] {
        let place = Place::default();
        let dry = run(import_line(&place, &file, &["--json"]));
        ok(&dry);
        assert_eq!((json(&dry)["batch"].clone(), json(&dry)["applied"].clone()), (6.into(), false.into()));
        assert!(!place.path().exists(), "nothing was written");
        let mut line = import_line(&place, &file, &CONFIRMED);
        line.extend(new_lineage.then(|| "--new-lineage".to_string()));
        let outcome = run(line);
        assert!(ok(&outcome).contains("Imported"), "{outcome:?}");
        assert!(!place.path().join("import.unfinished").exists());
        let job = place.start(|builder| builder, word_count).unwrap();
        assert_eq!(job.counts("counts"), model(1..=6));
        run_batches(&job, 7..=7);
        assert_eq!(job.counts("counts"), model(1..=7));
        assert_eq!(job.running.status().published, BatchId(7), "batches are counted on");
        drop(job);
        // Exported again it is the same, but for what names the life and the lineage.
        let job = place.start(|builder| builder, word_count).unwrap();
        assert_eq!(job.counts("counts"), model(1..=7));
        let refused = run(import_line(&place, &file, &CONFIRMED));
        assert_eq!(refused.code, 6, "{refused:?}");
        drop(job);
        let refused = run(import_line(&place, &file, &CONFIRMED));
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains("is not empty"), "{refused:?}");
    }
}

#[test]
fn an_export_that_was_cut_or_changed_is_refused() {
    let stored = Stored::new();
    let file = exported(&stored);
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let twice = [&lines[..2], &lines[1..]].concat().join("\n") + "\n";
    let cases = [
        (lines[..lines.len() - 1].join("\n") + "\n", "it was cut"),
        (whole[..whole.len() / 2].to_string(), "line"),
        (whole.replacen("every", "never", 1), "damaged or edited"),
        (twice, "expected"),
        (String::new(), "found nothing"),
        ("{}\n".to_string(), "header"),
    ];
    for (text, words) in cases {
        fs::write(&file, text).unwrap();
        let place = Place::default();
        let outcome = run(import_line(&place, &file, &CONFIRMED));
        assert_eq!(outcome.code, 2, "{words}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
        assert!(!place.path().exists());
    }
}

#[test]
fn an_import_that_dies_at_any_durable_step_can_be_run_again() {
    let stored = Stored::new();
    let file = exported(&stored);
    let trace = {
        let (place, disk) = (Place::default(), FaultyDisk::new(Arc::new(LocalDisk)));
        ok(&run_on_disk(Arc::new(disk.clone()), import_line(&place, &file, &CONFIRMED)));
        disk.trace()
    };
    for step in &trace {
        for fault in deaths(step.number, step.writes, trace.len() as u64) {
            let (place, disk) = (Place::default(), FaultyDisk::new(Arc::new(LocalDisk)));
            disk.arm(step.number, fault);
            let died = run_on_disk(Arc::new(disk.clone()), import_line(&place, &file, &CONFIRMED));
            assert!(disk.fired(), "{step} {fault:?}: {died:?}");
            let again = run(import_line(&place, &file, &CONFIRMED));
            // All was done: what is there is a store.
            let is_over = again.code == 2 && again.stderr.contains("is not empty");
            assert!(again.code == 0 || is_over, "{step} {fault:?}: {again:?}");
            let job =
                place.start(|builder| builder, word_count).unwrap_or_else(|error| panic!("{step} {fault:?}: {error}"));
            assert_eq!(job.counts("counts"), model(1..=6), "{step} {fault:?}");
        }
    }
}

#[test]
fn a_sink_to_files_takes_the_batches_after_a_rollback_once_those_of_the_abandoned_lineage_are_moved_away() {
    let (place, output) = (Place::default(), tempfile::tempdir().unwrap());
    let out = output.path().join("out");
    let with_files = |context: &StreamingContext| {
        let (words, stream) = context.queue_stream::<String>("words");
        let counts = stream.map(|word| (word, 1_u64)).update_state_by_key("counts", add);
        counts.map(|(word, count)| format!("{word} {count}")).sink("out", FileSink::new(&out));
        words
    };
    let job = place.start(|builder| builder, with_files).unwrap();
    run_batches(&job, 1..=7);
    drop(job);
    let parts = || {
        let parts = tree(&out).into_iter().filter(|(file, _)| file.to_string_lossy().contains("/part-"));
        parts.collect::<BTreeMap<_, _>>()
    };
    let before = parts();
    let store = place.path().display().to_string();
    let backup = output.path().join("backup").display().to_string();
    let told = run(["rollback", &store, "--to", "3", "--apply", "--confirm", "job", "--backup", &backup]);
    assert!(ok(&told).contains("outputs    out") && told.stdout.contains("Sinks to files"), "{told:?}");
    let refused = place.start(|builder| builder, with_files).err().expect("the names are taken");
    assert!(refused.to_string().contains("holds another batch 4"), "{refused}");
    for batch in 4..=7 {
        fs::rename(out.join(format!("batch-{batch:020}")), output.path().join(format!("moved-{batch}"))).unwrap();
    }
    let job = place.start(|builder| builder, with_files).unwrap();
    assert_eq!(job.counts("counts"), model(1..=7));
    assert_eq!(parts(), before, "the same batches, as files");
}
