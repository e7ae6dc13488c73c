//! The command's front: status, plan, watch and explain on healthy, live and damaged stores; what it says to what is no store; and
//! what all verbs have in common.

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::place::{contents, flip_in_place as flip};
use common::stored::Stored;
use floodmark::testing::TestJob;
use floodmark::{BatchId, Queue, StreamingContext};
use floodmark_cli::{Outcome, run, run_in};
use serde_json::Value;

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

fn on(verb: &str, store: &Path, more: &[&str]) -> Outcome {
    let mut arguments = vec![verb, store.to_str().unwrap()];
    arguments.extend(more);
    run(arguments)
}

/// The only file, or the newest, of a directory of the store.
fn newest(store: &Path, directory: &str, ending: &str) -> PathBuf {
    let mut files: Vec<PathBuf> =
        fs::read_dir(store.join(directory)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_str().unwrap().ends_with(ending));
    files.sort();
    files.pop().unwrap()
}

#[test]
fn the_status_of_a_job_that_died_says_where_it_stands_and_what_a_start_would_do() {
    let stored = Stored::crashed();
    let outcome = on("status", stored.place.path(), &["--json"]);
    let status = json(&outcome);
    assert_eq!((outcome.code, &status["schema"]), (0, &Value::from("floodmark.status/1")));
    assert_eq!((&status["health"], &status["owner"]["is"]), (&Value::from("healthy"), &Value::from("nobody")));
    assert_eq!((&status["batches"]["planned"], &status["checkpoint"]["batch"]), (&Value::from(7), &Value::from(6)));
    assert_eq!((&status["recovery"]["batches"], &status["job"]["epoch"]), (&Value::from(1), &Value::from(2)));
    let text = on("status", stored.place.path(), &[]).stdout;
    for words in ["healthy", "not running, epoch 2", "planned 7", "of batch 6", "recompute 1 batch"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn the_plan_is_what_the_next_start_does() {
    let stored = Stored::crashed();
    let outcome = on("plan", stored.place.path(), &["--json"]);
    let plan = json(&outcome);
    assert_eq!(outcome.code, 0);
    let replayed: Vec<u64> =
        plan["replay"].as_array().unwrap().iter().map(|batch| batch["batch"].as_u64().unwrap()).collect();
    assert_eq!((&plan["checkpoint"]["batch"], replayed), (&Value::from(6), vec![7]));
    assert_eq!((&plan["epoch"], &plan["lost_records"]), (&Value::from(3), &Value::from(0)));
    assert_eq!(plan["fallback"]["batch"], 3, "the older checkpoint: {plan}");
    let recovered = stored.finish(stored.place.path()).unwrap();
    recovered.outcome.unwrap();
    assert!(recovered.report.contains("batch 6") && recovered.report.contains("1 batch"), "{}", recovered.report);
}

#[test]
fn looking_changes_nothing_also_in_a_read_only_directory() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let before = contents(place);
    let set = |mode| {
        for directory in [place.to_path_buf(), place.join("wal"), place.join("manifests"), place.join("checkpoints")] {
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set(0o555);
    for verb in ["status", "plan"] {
        assert_eq!(on(verb, place, &[]).code, 0, "{verb}");
    }
    set(0o755);
    assert!(contents(place) == before, "a file has changed");
}

#[test]
fn a_running_job_is_looked_at_while_it_goes_on() {
    let mut job = TestJob::new(|context| {
        let (words, stream): (Queue<String>, _) = context.queue_stream("words");
        stream
            .map(|word| (word, 1_u64))
            .update_state_by_key("counts", |ones: &[u64], total: Option<u64>| {
                Some(total.unwrap_or(0) + ones.iter().sum::<u64>())
            })
            .collect("out");
        words
    })
    .unwrap();
    for batch in 1..=9 {
        job.handles().push((0..50).map(|word| format!("w{word}")).collect()).unwrap();
        job.run_batch().unwrap();
        let (status, plan) = (on("status", job.directory(), &["--json"]), on("plan", job.directory(), &["--json"]));
        let (status, plan) = (json(&status), json(&plan));
        assert_eq!(status["owner"], serde_json::json!({"is": "alive", "process": std::process::id()}));
        assert_eq!(status["batches"]["planned"], batch, "{status}");
        let from = plan["checkpoint"]["batch"].as_u64().unwrap();
        assert_eq!(from + plan["replay"].as_array().unwrap().len() as u64, batch, "{plan}");
    }
    job.running().wait_until(|status| status.checkpoint >= BatchId(4)).unwrap();
    let text = on("plan", job.directory(), &[]).stdout;
    assert!(text.contains("this is what would happen if it were killed now"), "{text}");
    let watched = on("watch", job.directory(), &["--count", "2", "--interval", "0.05", "--json"]);
    let lines: Vec<Value> = watched.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((watched.code, lines.len()), (0, 2));
    assert_eq!(lines[1]["checkpoint"]["keys"], 50);
    job.crash();
    assert_eq!(json(&on("status", job.directory(), &["--json"]))["owner"]["is"], "nobody");
}

#[test]
fn a_damaged_checkpoint_is_degraded_and_the_plan_goes_back_to_the_older_one() {
    let stored = Stored::crashed();
    let checkpoint = newest(stored.place.path(), "checkpoints", "");
    let table = fs::read_dir(&checkpoint).unwrap().map(|entry| entry.unwrap().path());
    // The newest table file is in this checkpoint only.
    let table = table.filter(|file| file.extension().is_some_and(|it| it == "sst")).max().unwrap();
    flip(&table, 10);
    let plan = on("plan", stored.place.path(), &["--json"]);
    assert_eq!((plan.code, &json(&plan)["checkpoint"]["batch"]), (3, &Value::from(3)));
    assert!(json(&plan)["rejected"][0]["reason"].as_str().unwrap().contains("crc32"), "{plan:?}");
    fs::remove_file(&table).unwrap();
    let status = on("status", stored.place.path(), &[]);
    assert_eq!(status.code, 3);
    assert!(status.stdout.contains("a start recovers without loss") && status.stdout.contains("next: floodmark plan"));
    stored.finish(stored.place.path()).unwrap().outcome.unwrap();
}

#[test]
fn a_damaged_log_is_told_with_its_code_by_every_verb_that_decides() {
    let stored = Stored::crashed();
    let segments = || fs::read_dir(stored.place.path().join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = segments().filter(|file| file.extension().is_some_and(|it| it == "log")).collect();
    logs.sort();
    flip(&logs[logs.len() - 2], 200);
    let plan = on("plan", stored.place.path(), &[]);
    assert_eq!((plan.code, plan.stdout.as_str()), (4, ""));
    for words in ["DAMAGED_FRAME", "at byte", "expected", "next: floodmark verify", "floodmark explain DAMAGED_FRAME"] {
        assert!(plan.stderr.contains(words), "{words}: {}", plan.stderr);
    }
    let told = json(&on("plan", stored.place.path(), &["--json"]));
    assert_eq!((&told["schema"], &told["code"]), (&Value::from("floodmark.error/1"), &Value::from("DAMAGED_FRAME")));
    assert!(stored.finish(stored.place.path()).is_err(), "a start is refused as well");
}

#[test]
fn what_is_no_store_is_told_apart() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    let expect = |location: &Path, code: u8, words: &str| {
        for verb in ["status", "plan", "watch"] {
            let outcome = on(verb, location, &[]);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (code, ""), "{verb} {}", location.display());
            assert!(outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
        }
    };
    expect(&path.join("nowhere"), 10, "no such directory");
    expect(path, 10, "an empty directory");
    fs::write(path.join("file"), "text").unwrap();
    expect(&path.join("file"), 10, "a file, not the directory of a job");
    expect(&path.join("file/below"), 10, "not a directory");
    expect(path, 10, "no Floodmark store");
    fs::create_dir_all(path.join("manifests")).unwrap();
    fs::write(path.join("manifests/MANIFEST-1"), "of something else").unwrap();
    expect(path, 10, "no Floodmark store");
    for (location, code) in
        [("ftp://host/job", 2), ("s3://", 2), ("memory://nothing/here", 10), ("file:///no/such/place", 10)]
    {
        let outcome = run(["status", location]);
        assert_eq!(outcome.code, code, "{outcome:?}");
    }
}

#[test]
fn whoever_points_beside_the_store_is_shown_the_way() {
    let stored = Stored::stopped();
    let store = fs::canonicalize(stored.place.path()).unwrap();
    for inside in ["wal", "checkpoints", "LOCK"] {
        let outcome = on("status", &store.join(inside), &[]);
        assert_eq!(outcome.code, 10);
        assert!(outcome.stderr.contains(&format!("next: floodmark status {}", store.display())), "{}", outcome.stderr);
    }
    let above = floodmark_chaos::scratch::directory().unwrap();
    fs::rename(&store, above.path().join("my state")).unwrap();
    let outcome = on("status", above.path(), &[]);
    assert!(outcome.stderr.contains("my state'"), "quoted for a shell: {}", outcome.stderr);
    fs::rename(above.path().join("my state"), &store).unwrap();
}

#[test]
fn every_code_is_explained() {
    let codes = json(&run(["explain", "--json"]));
    let codes = codes["codes"].as_array().unwrap();
    assert!(codes.len() > 20);
    for code in codes {
        let name = code["code"].as_str().unwrap();
        let outcome = run_in(80, ["explain", name]);
        assert_eq!(outcome.code, 0, "{name}");
        assert!(
            outcome.stdout.contains("What to do") && outcome.stdout.lines().count() > 8,
            "{name}: {}",
            outcome.stdout
        );
        assert!(outcome.stdout.lines().all(|line| line.chars().count() <= 80), "{name}: {}", outcome.stdout);
    }
    let unknown = run(["explain", "NO_SUCH"]);
    assert_eq!(unknown.code, 2);
}

#[test]
fn help_reads_in_eighty_columns_and_a_wrong_command_line_is_usage() {
    let help = run(["help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.lines().all(|line| line.chars().count() <= 80), "{}", help.stdout);
    let verbs: Vec<&str> = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1).collect();
    let verbs = verbs.iter().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("    "));
    for verb in verbs.map(|line| line.split_whitespace().next().unwrap()).filter(|verb| *verb != "help") {
        let help = run(["help", verb]);
        assert_eq!(help.code, 0, "{verb}");
        assert!(help.stdout.lines().all(|line| line.chars().count() <= 80), "{verb}: {}", help.stdout);
    }
    for wrong in
        [&["statsu"][..], &["status"], &["status", "a", "b"], &["status", "--no"], &["watch", "x", "--interval", "0"]]
    {
        assert_eq!(run(wrong.iter().copied()).code, 2, "{wrong:?}");
    }
    assert_eq!(run::<&str>([]).code, 2);
    assert_eq!(run(["--version"]).code, 0);
}

#[test]
fn forty_columns_are_enough() {
    let stored = Stored::crashed();
    let place = stored.place.path().to_str().unwrap();
    for verb in ["status", "plan"] {
        let outcome = run_in(40, [verb, place]);
        assert_eq!(outcome.code, 0);
        // Words such as paths and ids are not broken.
        let long = outcome
            .stdout
            .lines()
            .find(|line| line.chars().count() > 40 && line.trim().contains(' ') && !line.contains(place));
        let long = long.filter(|line| line.split_whitespace().all(|word| word.len() < 26));
        assert_eq!(long, None, "{}", outcome.stdout);
    }
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(["completions", shell]);
        assert_eq!(script.code, 0);
        for verb in ["status", "plan", "verify", "rollback", "explain"] {
            assert!(script.stdout.contains(verb), "{shell}: {verb}");
        }
    }
    let place = tempfile::tempdir().unwrap();
    assert_eq!(run(["man", "--directory", place.path().to_str().unwrap()]).code, 0);
    for page in ["floodmark.1", "floodmark-status.1", "floodmark-verify.1"] {
        assert!(fs::read_to_string(place.path().join(page)).unwrap().contains(".TH"), "{page}");
    }
    assert!(run(["man"]).stdout.contains(".TH floodmark"));
}

/// The command as a program.
fn program() -> Command {
    Command::new(Path::new(env!("CARGO_BIN_EXE_victim")).with_file_name("floodmark"))
}

#[test]
fn the_table_of_exit_codes_holds_row_by_row() {
    let code = |outcome: &Outcome| outcome.code;
    let stored = Stored::crashed();
    let place = stored.place.path();
    let documented = exit_codes_of_the_page();
    let mut seen = vec![
        (0, code(&on("status", place, &[]))),
        (2, code(&on("get", place, &["no operator", "1"]))),
        (2, code(&run(["no-verb"]))),
        (7, code(&on("diff", place, &["3", "6", "--exit-code"]))),
        (8, code(&on("verify", place, &["--read-data", "1%", "--seed", "1"]))),
        (10, code(&on("status", &place.join("nowhere"), &[]))),
    ];

    // What cannot be written.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut failing = program();
    failing.args(["status", place.to_str().unwrap()]).stdout(full).stderr(Stdio::null());
    seen.push((1, failing.status().unwrap().code().unwrap() as u8));

    // A build of another job.
    let other = StreamingContext::builder("another job").checkpoint(place.join("other")).build().unwrap();
    let schema = place.join("other.json");
    fs::write(&schema, other.schema().unwrap().to_json()).unwrap();
    seen.push((5, code(&on("compat", place, &["--schema", schema.to_str().unwrap()]))));

    // A driver that is alive.
    let life = stored.world.start(place, std::sync::Arc::new(floodmark::testing::disk::LocalDisk)).unwrap();
    seen.push((6, code(&on("gc", place, &["--apply", "--backup", "/nowhere", "--confirm", "known"]))));
    drop(life);

    // Damage that a start makes up for, and damage that it refuses.
    let newest_checkpoint = newest(place, "checkpoints", "");
    fs::remove_file(newest_checkpoint.join("CURRENT")).unwrap();
    seen.push((3, code(&on("plan", place, &[]))));
    let (first, second) = (Stored::crashed(), "wal/00000000000000000002.log");
    fs::remove_file(first.place.path().join(second)).unwrap();
    seen.push((4, code(&on("plan", first.place.path(), &[]))));

    // The user.
    let watching = Stored::stopped();
    let mut watch = program();
    watch.args(["watch", watching.place.path().to_str().unwrap(), "--interval", "60"]);
    let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first_line = [0_u8; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first_line).unwrap();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    seen.push((130, child.wait().unwrap().code().unwrap() as u8));

    for (expected, found) in &seen {
        assert_eq!(expected, found, "{seen:?}");
    }
    let mut tried: Vec<u8> = seen.iter().map(|(code, _)| *code).collect();
    tried.sort_unstable();
    tried.dedup();
    assert_eq!(tried, documented, "every row of docs/cli.md is tried");
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md")).unwrap()
}

/// The codes in the table of `docs/cli.md`.
fn exit_codes_of_the_page() -> Vec<u8> {
    let page = page();
    let table = page.lines().skip_while(|line| *line != "| code | meaning |").skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim().parse().unwrap()).collect()
}

#[test]
fn the_page_of_the_command_has_every_verb() {
    let help = run(["help"]).stdout;
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> =
        verbs.map(|line| line.split_whitespace().next().unwrap()).filter(|verb| *verb != "help").collect();
    assert_eq!(verbs.len(), 25, "each on a line of its own: {help}");
    let page = page();
    for verb in verbs {
        assert!(page.contains(&format!("`{verb}")) || page.contains(&format!("`floodmark {verb}")), "{verb}");
    }
}

#[test]
fn a_pipe_that_closes_ends_the_command_quietly() {
    let mut child =
        program().args(["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before anything is read.
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
