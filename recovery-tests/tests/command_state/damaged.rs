//! The verbs on damaged stores: what can be read is shown, the rest is named.

use std::fs;
use std::path::{Path, PathBuf};

use floodmark::testing::TestJob;
use serde_json::json;

use super::words::{crashed, fails, json, output, run};

/// The files of the checkpoint of a batch whose names end so.
fn files(store: &Path, batch: u64, end: &str) -> Vec<PathBuf> {
    let checkpoints = fs::read_dir(store.join("checkpoints")).unwrap().map(|entry| entry.unwrap());
    let mine = checkpoints.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{batch}-")));
    let inside = mine.flat_map(|entry| fs::read_dir(entry.path()).unwrap().map(|file| file.unwrap().path()));
    let mut found: Vec<_> = inside.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    found.sort();
    assert!(!found.is_empty(), "no file of batch {batch} ends in {end}");
    found
}

/// The newest table file of the newest checkpoint, which the older one does not share.
fn newest_table(store: &Path) -> PathBuf {
    let older: Vec<_> = files(store, 2, ".sst").iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    let newer = files(store, 4, ".sst");
    newer.into_iter().find(|path| !older.contains(&path.file_name().unwrap().to_owned())).unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_flipped_table_file_is_named_and_the_older_checkpoint_offered() {
    let job = crashed();
    let store = job.directory();
    let table = newest_table(store);
    flip(&table, 20);
    let name = table.file_name().unwrap().to_str().unwrap();
    fails(store, &["scan", "counts"], 3, &["the checkpoint of batch 4", name, "could not be read", "--as-of 2"]);
    fails(store, &["get", "counts", "apple"], 3, &[name, "--as-of 2"]);
    fails(store, &["export"], 3, &[name]);
    fails(store, &["diff", "2", "4"], 3, &[name]);
    let outcome = run(store, &["scan", "counts"]);
    assert!(!outcome.stderr.contains("floodmark-"), "a temporary name is shown: {}", outcome.stderr);
    assert_eq!(output(store, &["get", "counts", "apple", "--as-of", "2"]), "\"apple\" → 3\n");
    let history = json(store, &["history", "counts", "apple"]);
    assert_eq!((&history["versions"][0]["present"], &history["versions"][1]["state"]), (&json!(null), &json!(3)));
    assert!(history["versions"][0]["problem"].as_str().unwrap().contains(name), "{history}");
    fails(store, &["history", "counts", "apple"], 3, &[name]);
    let export = run(store, &["export"]);
    assert!(!export.stdout.contains("{\"end\""), "an export that is not whole has no last line");
}

#[test]
fn a_table_file_that_was_cut_or_is_missing_is_named() {
    let cut: fn(&Path) = |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 9]).unwrap();
    };
    let remove: fn(&Path) = |file| fs::remove_file(file).unwrap();
    for (damage, words) in [(cut, "is damaged: expected"), (remove, "is missing: expected")] {
        let job = crashed();
        let store = job.directory();
        let table = newest_table(store);
        damage(&table);
        let name = table.file_name().unwrap().to_str().unwrap();
        for verb in [&["operators"][..], &["scan", "counts"], &["get", "counts", "apple"], &["export"]] {
            fails(store, verb, 3, &[name, words, "--as-of 2"]);
        }
        assert_eq!(json(store, &["operators"])["operators"][0]["keys"], 6);
        assert_eq!(output(store, &["scan", "counts", "--as-of", "2"]).lines().count(), 5);
    }
}

#[test]
fn a_checkpoint_whose_small_files_are_damaged_is_not_read() {
    for end in ["CURRENT", "MANIFEST-000004"] {
        let job = crashed();
        let store = job.directory();
        let file =
            files(store, 4, "").into_iter().find(|path| path.to_string_lossy().contains(&end[..8.min(end.len())]));
        let file = file.or_else(|| files(store, 4, end).pop()).unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, vec![b'x'; bytes.len()]).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        for verb in [&["operators"][..], &["scan", "counts"], &["get", "counts", "apple"], &["export"]] {
            fails(store, verb, 3, &["the checkpoint of batch 4", name, "is damaged", "--as-of 2"]);
        }
        assert_eq!(json(store, &["get", "counts", "apple", "--as-of", "2"])["state"], 3);
    }
}

#[test]
fn a_scan_goes_around_a_damaged_place() {
    // Keys enough for many blocks.
    let mut job = TestJob::configured(
        |builder| builder.checkpoint_every(1),
        |context| {
            let (numbers, stream) = context.queue_stream::<(u64, u64)>("numbers");
            stream.update_state_by_key("sums", |new: &[u64], old: Option<u64>| {
                Some(old.unwrap_or(0) + new.iter().sum::<u64>())
            });
            numbers
        },
    )
    .unwrap();
    const KEYS: u64 = 20_000;
    job.handles().push((0..KEYS).map(|key| (key, key * 3)).collect()).unwrap();
    job.run_batch().unwrap();
    job.running().wait_until(|status| status.checkpoint.0 == 1).unwrap();
    job.crash();
    let store = job.directory();
    let table = files(store, 1, ".sst").pop().unwrap();
    let middle = fs::metadata(&table).unwrap().len() as usize / 2;
    flip(&table, middle);
    let outcome = run(store, &["scan", "sums"]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let read = outcome.stdout.lines().count() as u64;
    assert!(read < KEYS && read > KEYS * 9 / 10, "{read} of {KEYS} keys were read");
    for line in outcome.stdout.lines() {
        let (key, sum) = line.split_once(" → ").unwrap();
        assert_eq!(sum.parse::<u64>().unwrap(), key.parse::<u64>().unwrap() * 3);
    }
    let missing = KEYS - read;
    assert!(
        outcome.stderr.contains(&format!("{missing} of 20,000 keys of \"sums\" could not be read")),
        "{}",
        outcome.stderr
    );
    let report = json(store, &["scan", "sums"]);
    assert_eq!((&report["count"], report["holes"].as_array().unwrap().len()), (&json!(read), 1));
    let after = report["holes"][0]["before_hash"].as_str().unwrap();
    assert!(after > report["holes"][0]["after_hash"].as_str().unwrap());
}

#[test]
fn a_damaged_manifest_is_told_beside_the_answer() {
    let job = crashed();
    let store = job.directory();
    let mut manifests: Vec<_> =
        fs::read_dir(store.join("manifests")).unwrap().map(|entry| entry.unwrap().path()).collect();
    manifests.sort();
    flip(manifests.last().unwrap(), 30);
    let outcome = run(store, &["get", "counts", "apple"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, "\"apple\" → 3\n"), "{outcome:#?}");
    assert!(outcome.stderr.contains("is damaged") && outcome.stderr.contains("as of batch 2"), "{outcome:#?}");
}

#[test]
fn bytes_that_are_not_of_their_type_are_shown_in_hex() {
    // A schema that cannot be read: a name with the punctuation of schemas in it.
    #[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    #[serde(rename = "odd, (name")]
    struct Odd(u8);
    let mut job = TestJob::configured(
        |builder| builder.checkpoint_every(1),
        |context| {
            let (numbers, stream) = context.queue_stream::<(Odd, u64)>("numbers");
            stream.update_state_by_key("odd", |new: &[u64], _: Option<u64>| Some(new.len() as u64));
            numbers
        },
    )
    .unwrap();
    job.handles().push(vec![(Odd(7), 1)]).unwrap();
    job.run_batch().unwrap();
    job.running().wait_until(|status| status.checkpoint.0 == 1).unwrap();
    job.crash();
    let store = job.directory();
    let text = output(store, &["scan", "odd"]);
    assert!(
        text.starts_with("0x07 (the schema \"odd, (name(u8)\" cannot be read at byte 3") && text.ends_with(" → 1\n"),
        "{text}"
    );
    assert_eq!(output(store, &["get", "odd", "--key-hex", "07"]), text);
    fails(store, &["get", "odd", "7"], 2, &["--key-hex only", "cannot be read"]);
    let entry = &json(store, &["scan", "odd"])["entries"][0];
    assert_eq!((&entry["key"], &entry["key_hex"], &entry["state"]), (&json!(null), &json!("07"), &json!(1)));
    let export = output(store, &["export"]);
    assert!(export.contains("{\"operator\":\"odd\",\"key\":null,\"value\":1,\"raw_key\":\"07\"}"), "{export}");
    let entries = floodmark::testing::shapes::entries_of_export(export.as_bytes()).unwrap();
    assert_eq!(entries, [("odd".to_string(), vec![7], vec![1])]);
}
