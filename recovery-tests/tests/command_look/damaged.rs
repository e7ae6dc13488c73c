//! Damage of every kind that the harness knows: all verbs say something that is documented, and `verify` says what a start does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use floodmark::testing::inspect;
use floodmark_chaos::damage::{Case, Change, Damage, FileKind, Store};

use crate::common::stored::Stored;
use crate::{LINES, codes, flip, floodmark, json};

/// All damages of a store; each is done to a copy.
fn each_case(stored: &Stored, other: &Stored, flips: usize, mut look: impl FnMut(usize, &Case, &Path)) {
    let store = Store::read(stored.place.path(), Path::new("")).unwrap();
    let foreign = Store::read(other.place.path(), Path::new("")).unwrap();
    let damage = Damage::of(stored.place.path()).other_store(other.place.path()).flips_per_file(flips).seed(3);
    let root = floodmark_chaos::scratch::directory().unwrap();
    let copy = root.path().join("copy");
    for (index, case) in damage.cases().unwrap().iter().enumerate() {
        store.write_to(&copy).unwrap();
        case.apply(&store, Some(&foreign), &copy).unwrap();
        look(index, case, &copy);
    }
}

/// Whether bytes that count were changed, so that something must be said.
fn must_be_noticed(case: &Case) -> bool {
    let counts = matches!(
        case.kind,
        FileKind::Manifest | FileKind::Table | FileKind::Current | FileKind::StoreManifest | FileKind::Identity
    );
    counts && case.change.is_in_place()
}

#[test]
fn verify_says_what_a_start_does_whatever_is_damaged() {
    for (stored, other) in [(Stored::crashed(), Stored::crashed()), (Stored::stopped(), Stored::crashed())] {
        let mut seen: BTreeMap<u8, usize> = BTreeMap::new();
        each_case(&stored, &other, 8, |index, case, copy| {
            let outcome = floodmark("verify --full --json", copy);
            *seen.entry(outcome.code).or_default() += 1;
            assert!([0, 3, 4, 5].contains(&outcome.code), "{case}: {outcome:?}");
            let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
            let starts = report["start"]["starts"] == true;
            match inspect(copy) {
                Ok(inspection) => {
                    assert!(starts && outcome.code <= 3, "{case}: a start goes on: {inspection}; {report}");
                    let checkpoint = inspection.checkpoint().map(|batch| batch.0);
                    assert_eq!(report["start"]["checkpoint"].as_u64(), checkpoint, "{case}");
                    assert_eq!(report["start"]["replay_batches"], inspection.replay().len(), "{case}");
                    let damaged = !inspection.rejected().is_empty() || !inspection.unneeded_damage().is_empty();
                    assert!(!damaged || outcome.code == 3, "{case}: {report}");
                }
                Err(error) => {
                    assert!(!starts && outcome.code >= 4, "{case}: a start refuses: {error}; {report}");
                    let words = report["start"]["words"].as_str().unwrap();
                    let refusal = error.to_string();
                    let refusal = refusal.trim_start_matches("the job is not started: ");
                    assert!(words.ends_with(refusal), "{case}: {refusal}; {words}");
                }
            }
            if must_be_noticed(case) {
                assert!(outcome.code != 0 && !codes(&report).is_empty(), "{case}: {report}");
            }
            // Some are really started.
            if index % 40 == 0 {
                let started = stored.finish(copy);
                let lost_end = started.as_ref().is_err_and(|error| error.to_string().contains("its newest segment"));
                assert!(started.is_ok() == starts || lost_end, "{case}: {report}");
            }
        });
        assert!(seen.len() >= 3 && seen.values().sum::<usize>() > 200, "{seen:?}");
    }
}

#[test]
fn no_verb_loses_its_words_over_damage() {
    let (stored, other) = (Stored::crashed(), Stored::stopped());
    each_case(&stored, &other, 2, |_, case, copy| {
        for line in LINES {
            for line in [line.to_string(), format!("{line} --json")] {
                let outcome = floodmark(&line, copy);
                let documented = [0, 2, 3, 4, 5, 8, 10].contains(&outcome.code);
                assert!(documented, "{case}: {line}: {outcome:?}");
                assert!(!outcome.stdout.is_empty() || !outcome.stderr.is_empty(), "{case}: {line}");
            }
        }
    });
}

/// The table files that both checkpoints have.
fn shared_table(store: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::MetadataExt;
    let tables = crate::files(&store.join("checkpoints")).into_keys();
    let mut tables: Vec<_> = tables
        .filter(|path| path.extension().is_some_and(|it| it == "sst"))
        .filter(|path| {
            let checkpoints = fs::read_dir(store.join("checkpoints")).unwrap();
            let names = checkpoints.map(|entry| entry.unwrap().path().join(path.file_name().unwrap()));
            let inode = fs::metadata(path).unwrap().ino();
            names.filter(|name| fs::metadata(name).is_ok_and(|it| it.ino() == inode)).count() == 2
        })
        .collect();
    tables.pop().expect("the second checkpoint shares files with the first")
}

#[test]
fn damage_in_a_file_that_checkpoints_share_is_told_once_with_all_of_them() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    flip(&shared_table(place), 100);
    let outcome = floodmark("verify", place);
    assert_eq!(outcome.code, 0, "the usual depth reads sizes and ends of table files: {}", outcome.stdout);
    let (report, code) = json("verify --full", place);
    let findings = report["findings"].as_array().unwrap();
    let checksums: Vec<_> = findings.iter().filter(|finding| finding["code"] == "FILE_CHECKSUM").collect();
    assert_eq!(checksums.len(), 1, "{report}");
    let listed: Vec<&str> =
        checksums[0]["concerns"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed.iter().all(|concern| concern.starts_with("listed by checkpoint ")), "{listed:?}");
    // Both checkpoints are unusable by it, and the log does not reach back to the beginning.
    assert_eq!(
        (report["start"]["starts"].as_bool(), report["start"]["code"].as_str()),
        (Some(false), Some("NO_CHECKPOINT"))
    );
    assert_eq!(code, 4);
    let keys = findings.iter().find(|finding| finding["code"] == "ENTRY_DAMAGED").expect("which keys it is about");
    let concern = keys["concerns"][0].as_str().unwrap();
    assert!(concern.starts_with("operator \"") && concern.contains("key hash"), "{concern}");
}

#[test]
fn a_checkpoint_that_is_gone_is_made_up_for_by_an_older_one() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let (log, _) = json("log", place);
    let newest = log["manifests"][2]["checkpoint"]["directory"].as_str().unwrap();
    fs::remove_dir_all(place.join("checkpoints").join(newest)).unwrap();
    for line in ["verify --quick", "verify", "verify --full", "verify --entries"] {
        let (report, code) = json(line, place);
        assert_eq!(code, 3, "{line}: {report}");
        assert!(codes(&report).contains(&"FILE_MISSING".to_string()), "{line}: {report}");
        assert_eq!(report["start"]["checkpoint"], 3, "{line}");
    }
    let text = floodmark("verify", place).stdout;
    assert!(text.contains("A start takes the checkpoint of batch 3 (an older one: the newest is damaged)"), "{text}");
}

#[test]
fn damaged_and_missing_manifests_are_told_and_the_others_shown() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let manifests = crate::common::place::files(&place.join("manifests"));
    flip(&manifests[1], 30);
    let (report, code) = json("log", place);
    assert_eq!((codes(&report), code), (vec!["MANIFEST_DAMAGED".to_string()], 3));
    assert_eq!(report["manifests"].as_array().unwrap().len(), 2);
    fs::remove_file(&manifests[1]).unwrap();
    let (report, code) = json("log", place);
    assert_eq!((codes(&report), code), (vec!["MANIFEST_HOLE".to_string()], 4));
    assert_eq!(json("verify", place).1, 4);
    fs::remove_dir_all(place.join("manifests")).unwrap();
    let (report, code) = json("verify", place);
    assert_eq!((report["start"]["code"].as_str(), code), (Some("MANIFESTS_GONE"), 4));
}

#[test]
fn what_is_pinned_is_verified_and_never_needed() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let (log, _) = json("log", place);
    let directory = log["manifests"][2]["checkpoint"]["directory"].as_str().unwrap();
    let (from, to) = (place.join("checkpoints").join(directory), place.join("pinned").join(directory));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let manifests = crate::common::place::files(&place.join("manifests"));
    fs::copy(manifests.last().unwrap(), to.join("manifest")).unwrap();
    let (report, code) = json("verify --entries", place);
    assert_eq!((report["looked_at"]["checkpoints"].as_u64(), code), (Some(3), 0), "{report}");
    let (log, _) = json("log", place);
    assert_eq!(log["manifests"][2]["checkpoint"]["pinned"], true);
    let table = crate::files(&to).into_keys().find(|path| path.extension().is_some_and(|it| it == "sst")).unwrap();
    flip(&table, 60);
    let (report, code) = json("verify --full", place);
    assert_eq!((codes(&report), code), (vec!["PIN_DAMAGED".to_string()], 3), "{report}");
    assert_eq!(report["start"]["checkpoint"], 6, "a start does not need it");
    fs::remove_file(to.join("CURRENT")).unwrap();
    assert!(codes(&json("verify --quick", place).0).contains(&"PIN_DAMAGED".to_string()));
}

#[test]
fn bytes_that_are_flipped_in_the_log_are_all_found() {
    let stored = Stored::stopped();
    let store = Store::read(stored.place.path(), Path::new("")).unwrap();
    let root = floodmark_chaos::scratch::directory().unwrap();
    let copy = root.path().join("copy");
    let damage = Damage::of(stored.place.path()).kinds([FileKind::Segment, FileKind::NewestSegment]).flips_per_file(60);
    let (mut flips, mut silent) = (0, 0);
    for case in damage.cases().unwrap().iter().filter(|case| matches!(case.change, Change::Flip { .. })) {
        store.write_to(&copy).unwrap();
        case.apply(&store, None, &copy).unwrap();
        let (report, code) = json("verify", &copy);
        flips += 1;
        if code == 0 {
            // In the last frames, which nothing proves to be synced, it looks like an interrupted append, and is told as one.
            let told = codes(&report);
            silent += u32::from(told.is_empty());
            assert!(told.is_empty() || told == ["TORN_TAIL"], "{case}: {told:?}");
            assert!(inspect(&copy).is_ok(), "{case}: only what is superseded may rot unseen");
        }
    }
    assert!(flips >= 120 && silent * 10 < flips, "{silent} of {flips}");
}
