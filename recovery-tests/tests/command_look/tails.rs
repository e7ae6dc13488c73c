//! How logs end.

use std::fs;

use crate::common::stored::Stored;
use crate::{codes, flip, floodmark, json, newest_segment};

#[test]
fn a_log_that_was_closed_is_clean_and_proven() {
    let stored = Stored::stopped();
    let (report, code) = json("tail", stored.place.path());
    assert_eq!((report["verdict"].as_str(), report["closed"].as_bool(), code), (Some("clean"), Some(true), 0));
    let text = floodmark("tail", stored.place.path()).stdout;
    assert!(text.contains("Closing mark") && text.contains("Clean: the log was closed"), "{text}");
}

#[test]
fn a_log_that_was_not_closed_is_clean_and_its_last_group_unproven() {
    let stored = Stored::crashed();
    let (report, code) = json("tail", stored.place.path());
    assert_eq!((report["verdict"].as_str(), report["closed"].as_bool(), code), (Some("clean"), Some(false), 0));
    assert!(report["unproven_frames"].as_u64().unwrap() > 0);
    assert!(report["last_good"]["what"].as_str().unwrap().starts_with("Committed batch 7"), "{report}");
}

#[test]
fn an_interrupted_append_is_told_with_its_evidence() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let segment = newest_segment(place);
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, [&whole[..], &[7; 1_536]].concat()).unwrap();
    let (report, code) = json("tail", place);
    assert_eq!((report["verdict"].as_str(), code), (Some("interrupted"), 3));
    assert_eq!(codes(&report), ["TORN_TAIL"]);
    assert_eq!(report["findings"][0]["offset"], whole.len() as u64);
    let text = floodmark("tail", place).stdout;
    for part in ["TORN_TAIL", "Recovery cuts 1,536 B; nothing is lost", "last good", "next: floodmark plan"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (report, code) = json("verify", place);
    assert_eq!((codes(&report), code), (vec!["TORN_TAIL".to_string()], 0), "told, and no damage");
    assert_eq!(report["start"]["starts"], true);
    let outcome = floodmark("wal", place);
    assert!(outcome.stdout.contains("TORN_TAIL"), "{}", outcome.stdout);
    assert_eq!(outcome.code, 0, "what was never acknowledged is no damage of what is shown");
}

#[test]
fn a_frame_that_was_cut_in_the_middle_is_an_interrupted_append() {
    let stored = Stored::crashed();
    let segment = newest_segment(stored.place.path());
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, &whole[..whole.len() - 10]).unwrap();
    let (report, code) = json("tail", stored.place.path());
    assert_eq!((report["verdict"].as_str(), code), (Some("interrupted"), 3));
    assert!(report["findings"][0]["expected"].as_str().unwrap().contains("bytes after the frame header"));
}

#[test]
fn damage_in_the_newest_segment_is_told_and_what_is_behind_it_still_read() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let (sound, _) = json("wal", place);
    let frames = sound["frames"].as_array().unwrap();
    let last_segment = frames.last().unwrap()["segment"].as_u64().unwrap();
    let damaged: Vec<_> = frames.iter().filter(|frame| frame["segment"] == last_segment).collect();
    // Two frames apart from each other, with whole ones between and behind them.
    let hit = [damaged[4], damaged[8]];
    for frame in hit {
        flip(&newest_segment(place), frame["offset"].as_u64().unwrap() as usize + 48);
    }
    let (report, code) = json("wal", place);
    let left: Vec<u64> =
        report["frames"].as_array().unwrap().iter().map(|frame| frame["sequence"].as_u64().unwrap()).collect();
    let expected: Vec<u64> =
        frames.iter().filter(|frame| !hit.contains(frame)).map(|frame| frame["sequence"].as_u64().unwrap()).collect();
    assert_eq!((left, code), (expected, 4));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2, "{findings:?}");
    for (finding, frame) in findings.iter().zip(hit) {
        assert_eq!(finding["code"], "DAMAGED_FRAME");
        assert_eq!(finding["offset"], frame["offset"]);
        assert_eq!(finding["concerns"][0], format!("frame {} is lost", frame["sequence"]));
    }
    let (report, code) = json("tail", place);
    assert_eq!((report["verdict"].as_str(), code), (Some("damaged"), 4));
    assert_eq!(report["start"]["starts"], false);
    let (report, code) = json("verify", place);
    assert_eq!((report["findings"].as_array().unwrap().len(), code), (2, 4), "{report}");
    let text = floodmark("verify", place).stdout;
    assert!(text.contains("A start is refused") && text.contains("next: floodmark explain DAMAGED_FRAME"), "{text}");
    let (batches, code) = json("batches", place);
    assert_eq!(code, 4);
    assert!(!batches["batches"].as_array().unwrap().is_empty());
}

#[test]
fn a_log_that_is_shorter_than_a_manifest_knows_has_lost_its_end() {
    let stored = Stored::stopped();
    let place = stored.place.path();
    fs::remove_file(newest_segment(place)).unwrap();
    let (report, code) = json("tail", place);
    assert_eq!((report["verdict"].as_str(), code), (Some("damaged"), 4));
    assert_eq!(codes(&report), ["LOG_CUT"]);
    let (report, code) = json("verify", place);
    assert_eq!((report["start"]["code"].as_str(), code), (Some("LOG_CUT"), 4));
}

#[test]
fn a_log_that_is_gone_is_told_as_that() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    fs::remove_dir_all(place.join("wal")).unwrap();
    let (report, code) = json("tail", place);
    assert_eq!((codes(&report), code), (vec!["LOG_GONE".to_string()], 4));
    assert_eq!(json("verify", place).0["start"]["code"], "LOG_GONE");
    assert_eq!(floodmark("wal", place).code, 0, "there is nothing to show");
    assert_eq!(floodmark("log", place).code, 0, "the manifests are all there");
}

#[test]
fn a_segment_that_is_missing_between_others_is_told_with_its_frames() {
    let stored = Stored::crashed();
    let place = stored.place.path();
    let segments = crate::common::place::files(&place.join("wal"));
    fs::remove_file(&segments[1]).unwrap();
    let (report, code) = json("verify", place);
    assert_eq!(code, 4);
    assert!(codes(&report).contains(&"MISSING_SEGMENT".to_string()), "{report}");
    let finding = report["findings"].as_array().unwrap().iter().find(|it| it["code"] == "MISSING_SEGMENT").unwrap();
    assert!(finding["concerns"][0].as_str().unwrap().contains("lost"), "{finding}");
    let (wal, code) = json("wal", place);
    assert_eq!(code, 4);
    assert!(wal["frames"].as_array().unwrap().len() > 20, "the others are still shown");
}
