//! Stores with which nothing is wrong.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::common::stored::Stored;
use crate::{LINES, files, floodmark, floodmark_in, json};

/// What a line ends with on a store that is well.
fn code_of(line: &str) -> u8 {
    // A share leaves something out.
    if line.contains("--read-data") { 8 } else { 0 }
}

#[test]
fn every_verb_reads_a_store_that_is_well_and_changes_nothing() {
    for stored in [Stored::crashed(), Stored::stopped()] {
        let place = stored.place.path();
        let before = files(place);
        for line in LINES {
            let outcome = floodmark(line, place);
            assert_eq!((outcome.code, outcome.stderr.as_str()), (code_of(line), ""), "{line}: {}", outcome.stdout);
            assert!(!outcome.stdout.is_empty(), "{line}");
            let (report, code) = json(line, place);
            assert_eq!(code, code_of(line), "{line}");
            assert!(report["schema"].as_str().unwrap().starts_with("floodmark."), "{line}");
        }
        assert_eq!(files(place), before);
    }
}

#[test]
fn a_directory_that_may_not_be_written_is_read_all_the_same() {
    let stored = Stored::stopped();
    let place = stored.place.path();
    let set_modes = |files_mode: u32, directories_mode: u32| {
        let mut directories = vec![place.to_path_buf()];
        while let Some(directory) = directories.pop() {
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => directories.push(path),
                    false => fs::set_permissions(&path, fs::Permissions::from_mode(files_mode)).unwrap(),
                }
            }
            fs::set_permissions(&directory, fs::Permissions::from_mode(directories_mode)).unwrap();
        }
    };
    set_modes(0o400, 0o500);
    for line in LINES {
        let outcome = floodmark(line, place);
        assert_eq!(outcome.code, code_of(line), "{line}: {}{}", outcome.stdout, outcome.stderr);
    }
    set_modes(0o600, 0o700);
}

#[test]
fn the_chain_is_told_with_its_checkpoints() {
    let stored = Stored::crashed();
    let (report, _) = json("log", stored.place.path());
    let rows = report["manifests"].as_array().unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["checkpoint", "claim", "checkpoint"]);
    assert_eq!(rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 3, 6]);
    assert_eq!(rows.iter().map(|row| row["epoch"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 2]);
    let newest = &rows[2]["checkpoint"];
    assert_eq!(newest["standing"], "usable");
    let (all, new) = (newest["bytes"].as_u64().unwrap(), newest["new_bytes"].as_u64().unwrap());
    let shared = newest["shared_files"].as_u64().unwrap();
    assert!(shared > 0 && new < all, "{newest}");
    assert_eq!(rows[1].get("checkpoint"), None, "a claim repeats what is there");
    let text = floodmark("log", stored.place.path()).stdout;
    assert!(text.contains("usable") && text.contains("claim"), "{text}");
}

#[test]
fn operations_of_writing_verbs_are_shown() {
    let stored = Stored::stopped();
    let place = stored.place.path();
    let line =
        r#"{"schema":"floodmark.operation/1","time_ms":0,"verb":"gc","stage":"done","what":"left: 7 B","moved":[]}"#;
    fs::write(place.join("operations.jsonl"), format!("{line}\nnot JSON\n")).unwrap();
    let (report, code) = json("log", place);
    assert_eq!((report["operations"][0]["verb"].as_str(), &report["unreadable_operations"]), (Some("gc"), &1.into()));
    assert_eq!(code, 0);
    let text = floodmark("log", place).stdout;
    assert!(
        text.contains("gc") && text.contains("left: 7 B") && text.contains("1 lines of operations.jsonl"),
        "{text}"
    );
}

#[test]
fn batches_are_told_with_what_became_of_them() {
    let stored = Stored::crashed();
    let (report, _) = json("batches", stored.place.path());
    let batches = report["batches"].as_array().unwrap();
    assert_eq!(batches.len(), 7);
    assert!(batches[..6].iter().all(|batch| batch["published"] == true));
    let last = &batches[6];
    assert_eq!((last["committed"].as_bool(), last["attempts"].as_u64()), (Some(true), Some(1)));
    let records: Vec<u64> =
        last["sources"].as_array().unwrap().iter().map(|source| source["records"].as_u64().unwrap()).collect();
    assert_eq!(records, [40, 25]);
    assert!(last["digests"].as_array().unwrap().iter().any(|digest| digest["uid"] == "totals"));
    let (report, _) = json("batches 3..4", stored.place.path());
    assert_eq!(report["batches"].as_array().unwrap().len(), 2);
}

#[test]
fn a_range_that_is_not_there_is_a_mistake_that_says_which_one_is() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    for (line, there) in [
        ("batches 8..9", "the log holds the batches 1 to 7"),
        ("batches 99", "the log holds the batches 1 to 7"),
        ("wal 999..", "the log holds the frames 1 to "),
        ("wal 0", "the log holds the frames 1 to "),
    ] {
        for line in [line.to_string(), format!("{line} --json")] {
            let outcome = floodmark(&line, place);
            assert_eq!(outcome.code, 2, "{line}");
            assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains(there), "{line}: {outcome:?}");
        }
    }
    for line in ["wal 9..5", "batches x", "verify --read-data 0%", "verify --quick --full", "verify --seed 1"] {
        assert_eq!(floodmark(line, place).code, 2, "{line}");
    }
}

#[test]
fn frames_are_told_one_by_one_and_in_sums() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let (report, _) = json("wal", place);
    let frames = report["frames"].as_array().unwrap();
    let sequences: Vec<u64> = frames.iter().map(|frame| frame["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=frames.len() as u64).collect::<Vec<_>>());
    let (stats, _) = json("wal --stats", place);
    assert_eq!(stats["total"]["frames"].as_u64().unwrap(), frames.len() as u64);
    let bytes = |kind: &str| {
        frames.iter().filter(|frame| frame["kind"] == kind).map(|frame| frame["length"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(stats["kinds"]["block"]["bytes"], bytes("block"));
    assert_eq!(stats["kinds"]["event"]["bytes"], bytes("event"));
    assert_eq!(stats["sources"]["blocks"]["records"], 280);
    let text = floodmark("wal 2..3 --records", place).stdout;
    assert!(text.contains("Block blocks#1 40 records") && text.contains("Planned batch 1: 1 block, 1 range"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("Planned") || line.contains("Block")).count(), 2);
    let (report, _) = json("wal 2 --records", place);
    assert!(report["frames"][0]["payload"]["hex"].as_str().unwrap().len() > 600);
}

#[test]
fn frames_that_recovery_carried_over_are_shown_once_unless_all_are_asked_for() {
    let stored = Stored::crashed();
    let (once, _) = json("wal", stored.place.path());
    let (all, _) = json("wal --all", stored.place.path());
    let is_superseded = |frame: &&serde_json::Value| frame["superseded"] == true;
    let frames = all["frames"].as_array().unwrap();
    let superseded = frames.iter().filter(is_superseded).count();
    assert!(superseded > 0, "the second life carried the end of the first one over");
    assert_eq!(frames.len() - superseded, once["frames"].as_array().unwrap().len());
}

#[test]
fn what_the_files_take_adds_up_to_what_is_on_the_disk() {
    for stored in [Stored::crashed(), Stored::stopped()] {
        let place = stored.place.path();
        let checkpoints = place.join("checkpoints");
        fs::create_dir(checkpoints.join("99-9-0123456789abcdef")).unwrap();
        fs::write(checkpoints.join("99-9-0123456789abcdef/CURRENT"), "x").unwrap();
        fs::write(place.join("wal/.7.log.0000.tmp"), "four").unwrap();
        let (report, _) = json("du", place);
        assert_eq!(report["total_bytes"], on_disk(place));
        let kinds = report["kinds"].as_array().unwrap();
        let sum: u64 = kinds.iter().map(|kind| kind["bytes"].as_u64().unwrap()).sum();
        assert_eq!(report["total_bytes"], sum);
        let of = |kind: &str| kinds.iter().find(|row| row["kind"] == kind).map(|row| row["bytes"].as_u64().unwrap());
        assert_eq!((of("checkpoints_unnamed"), of("temporary")), (Some(1), Some(4)));
        assert_eq!(report["garbage_bytes"], 5);
        assert!(of("checkpoints_shared") > Some(0) && of("log_needed") > Some(0) && of("live") > Some(0), "{kinds:?}");
        assert!(report["operators"].as_array().unwrap().iter().any(|operator| operator["uid"] == "totals"));
    }
}

/// The length of every file, each once.
fn on_disk(root: &Path) -> u64 {
    let mut inodes = BTreeSet::new();
    let files = files(root).into_keys().map(|path| fs::metadata(path).unwrap());
    files.filter(|metadata| inodes.insert(metadata.ino())).map(|metadata| metadata.len()).sum()
}

#[test]
fn a_share_of_the_data_is_drawn_from_the_seed_that_is_told() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let looked_at = |line: &str| json(line, place).0["looked_at"]["read_bytes"].as_u64().unwrap();
    let (first, again) = (looked_at("verify --read-data 30% --seed 7"), looked_at("verify --read-data 30% --seed 7"));
    assert_eq!(first, again);
    assert!((0..20).any(|seed| looked_at(&format!("verify --read-data 30% --seed {seed}")) != first), "seeds differ");
    assert_eq!(json("verify --read-data 30% --seed 7", place).0["seed"], 7);
    assert_eq!(floodmark("verify --read-data 100%", place).code, 0, "nothing is left out");
    assert_eq!(looked_at("verify --read-data 100%"), looked_at("verify --full"));
}

#[test]
fn every_entry_is_read_when_it_is_asked_for() {
    let stored = Stored::crashed();
    let (log, _) = json("log", stored.place.path());
    let keys = |row: &serde_json::Value| row.get("checkpoint").map_or(0, |_| row["keys"].as_u64().unwrap());
    let expected: u64 = log["manifests"].as_array().unwrap().iter().map(keys).sum();
    let (report, _) = json("verify --entries", stored.place.path());
    assert_eq!(report["looked_at"]["entries"], expected);
    assert!(expected > 200);
}

#[test]
fn forty_columns_are_enough() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    for line in LINES {
        let outcome = floodmark_in(40, line, place);
        assert_eq!(outcome.code, code_of(line), "{line}");
        let is_breakable = |line: &&str| {
            let text = line.trim();
            text.split(' ').count() > 1 && text.split(' ').all(|word| word.len() < 20) && !text.starts_with("next:")
        };
        let long = outcome.stdout.lines().filter(is_breakable).find(|line| line.chars().count() > 40);
        assert_eq!(long.filter(|_| !line.starts_with("wal")), None, "{line}: {}", outcome.stdout);
    }
}

#[test]
fn a_place_that_is_no_store_is_told_as_that() {
    let empty = floodmark_chaos::scratch::directory().unwrap();
    let file = empty.path().join("file");
    for line in LINES {
        assert_eq!(floodmark(line, &empty.path().join("no")).code, 10, "{line}");
        fs::write(&file, "x").unwrap();
        assert_eq!(floodmark(line, &file).code, 10, "{line}");
        fs::remove_file(&file).unwrap();
        assert_eq!(floodmark(line, empty.path()).code, 10, "{line}");
    }
}
