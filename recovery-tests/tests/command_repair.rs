//! `repair`: whatever frame, segment, manifest or checkpoint is damaged or gone, a start or a repair and a start come to a state that
//! lacks exactly what cannot be read, and nothing is counted twice.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use common::place::{Place, files, flip, replace, word_count};
use common::verbs::{Stored, deaths, json, model, ok, run_batches, tree, words};
use floodmark::testing::disk::{FaultyDisk, LocalDisk};
use floodmark_cli::{Outcome, run, run_on_disk};

/// Batches of the store: 1 to 9, in three lives; checkpoints of 3 and 6; 10 is logged and not planned.
const BATCHES: u64 = 10;

fn original() -> &'static floodmark_chaos::damage::Store {
    static ORIGINAL: OnceLock<floodmark_chaos::damage::Store> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let place = Place::default();
        for batches in [1..=4, 5..=7] {
            run_batches(&place.start(|builder| builder, word_count).unwrap(), batches);
        }
        let job = place.start(|builder| builder.checkpoint_every(100), word_count).unwrap();
        for batch in 8..=9 {
            job.handles.push(words(batch)).unwrap();
            job.run_batch().unwrap();
        }
        job.handles.push(words(10)).unwrap();
        drop(job);
        floodmark_chaos::damage::Store::read(&place.path(), Path::new("")).unwrap()
    })
}

fn stored() -> Stored {
    Stored::of(original())
}

/// A frame, as `floodmark wal` shows it.
#[derive(Clone, Debug)]
struct Frame {
    segment: PathBuf,
    offset: usize,
    length: usize,
    sequence: u64,
    is_block: bool,
    is_superseded: bool,
}

fn frames(stored: &Stored) -> Vec<Frame> {
    let shown = json(&run(["wal".to_string(), stored.path(), "--json".into()]));
    let number =
        |frame: &serde_json::Value, name: &str| frame[name].as_u64().unwrap_or_else(|| panic!("{name}: {frame}"));
    let of = |frame: &serde_json::Value| Frame {
        segment: stored.place.path().join(format!("wal/{:020}.log", number(frame, "segment"))),
        offset: number(frame, "offset") as usize,
        length: number(frame, "length") as usize,
        sequence: number(frame, "sequence"),
        is_block: frame["kind"] == "block",
        is_superseded: frame["superseded"] == true,
    };
    shown["frames"].as_array().expect("frames").iter().map(of).collect()
}

fn apply_line(stored: &Stored) -> Vec<String> {
    stored.line(&["repair", "--accept-loss"], true)
}

/// What the job has after a start and one more batch: words of each batch at most once, and which batches.
fn batches_after_a_start(stored: &Stored, what: &str) -> BTreeSet<u64> {
    let job = stored.place.start(|builder| builder, word_count).unwrap_or_else(|error| panic!("{what}: {error}"));
    job.handles.push(words(100)).unwrap();
    job.run_batch().unwrap();
    let counts = job.counts("counts");
    let mut batches = BTreeSet::new();
    for (word, count) in &counts {
        if let Some(batch) = word.strip_prefix("batch ") {
            assert_eq!(*count, 1, "{what}: \"{word}\" is counted {count} times; {}", job.running.recovery());
            batches.insert(batch.parse().unwrap());
        }
    }
    assert_eq!(counts, model(batches.iter().copied()), "{what}: a part of a block is counted");
    assert!(batches.remove(&100), "{what}");
    batches
}

/// Repairs what does not start, and says which batches' words the job has afterwards.
fn repaired(stored: &Stored, what: &str) -> (Outcome, BTreeSet<u64>) {
    let before = tree(&stored.place.path());
    let dry = stored.dry(&["repair"]);
    assert!([0, 3, 4].contains(&dry.code), "{what}: {dry:?}");
    assert_eq!(tree(&stored.place.path()), before, "{what}: a dry run writes nothing");
    let applied = run(apply_line(stored));
    assert!([0, 3].contains(&applied.code), "{what}: {applied:?}");
    let plan = run(["plan".to_string(), stored.path()]);
    assert!([0, 3].contains(&plan.code), "{what}: {plan:?}\n{applied:?}");
    let batches = batches_after_a_start(stored, &format!("{what}: {dry:?}"));
    (dry, batches)
}

fn all() -> BTreeSet<u64> {
    (1..=BATCHES).collect()
}

/// The batches whose blocks are in these frames: block *n* is the n-th block frame of the log.
fn batches_of(stored: &Stored, lost: impl Fn(&Frame) -> bool) -> BTreeSet<u64> {
    let frames = frames(stored);
    let blocks: BTreeSet<u64> = frames.iter().filter(|frame| frame.is_block).map(|frame| frame.sequence).collect();
    let first = BATCHES + 1 - blocks.len() as u64;
    let batch_of = |frame: &Frame| first + blocks.range(..frame.sequence).count() as u64;
    frames.iter().filter(|frame| frame.is_block && !frame.is_superseded && lost(frame)).map(batch_of).collect()
}

#[test]
fn a_healthy_store_is_left_alone() {
    let stored = stored();
    let before = tree(&stored.place.path());
    let outcome = run(apply_line(&stored));
    assert!(ok(&outcome).contains("Nothing is to be repaired"), "{outcome:?}");
    assert_eq!(tree(&stored.place.path()), before);
    assert_eq!(batches_after_a_start(&stored, "healthy"), all());
}

#[test]
fn damage_that_a_start_mends_is_left_to_it() {
    let stored = stored();
    let checkpoint = stored.checkpoint_of(6);
    let current = files(&checkpoint).into_iter().find(|file| file.ends_with("CURRENT")).unwrap();
    replace(&current, b"nothing");
    let outcome = stored.dry(&["repair"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stdout.contains("a start makes up for the damage, without loss"), "{outcome:?}");
    assert_eq!(repaired(&stored, "a damaged checkpoint").1, all());
}

#[test]
fn a_flipped_byte_in_any_frame_costs_that_block_at_most() {
    let count = frames(&stored()).len();
    assert!(count > 20, "{count}");
    let mut repairs = 0;
    for index in 0..count {
        for part in [10, 60] {
            let stored = stored();
            let frame = frames(&stored)[index].clone();
            if frame.is_superseded {
                continue;
            }
            let could_be_lost = batches_of(&stored, |it| it.sequence == frame.sequence);
            flip(&frame.segment, frame.offset + frame.length * part / 100);
            let what = format!("{part} % of {frame:?}");
            let (dry, batches) = repaired(&stored, &what);
            repairs += u64::from(dry.stdout.contains("start is refused"));
            // Whether the last group was synced nothing behind it tells: a cut there is told as that.
            let is_told = dry.code == 4 || dry.stdout.contains("interrupted append");
            assert!(is_told || batches == all(), "{what}: lost without a word\n{dry:?}");
            let missing: BTreeSet<u64> = all().difference(&batches).copied().collect();
            assert!(missing.is_subset(&could_be_lost), "{what}: {missing:?} are lost, not {could_be_lost:?}\n{dry:?}");
            let covered = could_be_lost.iter().all(|batch| *batch <= 6);
            assert!(!covered || missing.is_empty(), "{what}: the checkpoint has it");
        }
    }
    assert!(repairs > 10, "{repairs}");
}

#[test]
fn a_segment_that_is_gone_costs_its_blocks_at_most() {
    let segments = |stored: &Stored| -> Vec<PathBuf> {
        let found = files(&stored.place.path().join("wal"));
        found.into_iter().filter(|file| file.to_string_lossy().ends_with(".log")).collect()
    };
    for index in 0..segments(&stored()).len() {
        let stored = stored();
        let segment = segments(&stored)[index].clone();
        let could_be_lost = batches_of(&stored, |frame| frame.segment == segment);
        fs::remove_file(&segment).unwrap();
        let what = format!("without {}", segment.display());
        let (dry, batches) = repaired(&stored, &what);
        let missing: BTreeSet<u64> = all().difference(&batches).copied().collect();
        assert!(missing.is_subset(&could_be_lost), "{what}: {missing:?} are lost, not {could_be_lost:?}\n{dry:?}");
        assert!(missing.iter().all(|batch| *batch > 6), "{what}: the checkpoint has it");
    }
}

#[test]
fn without_any_log_the_newest_checkpoint_is_what_is_left() {
    let stored = stored();
    fs::remove_dir_all(stored.place.path().join("wal")).unwrap();
    let (dry, batches) = repaired(&stored, "without a log");
    assert_eq!(dry.code, 4, "{dry:?}");
    assert_eq!(batches, (1..=6).collect());
}

#[test]
fn both_a_damaged_checkpoint_and_a_damaged_log_are_survived() {
    let stored = stored();
    let current = files(&stored.checkpoint_of(6)).into_iter().find(|file| file.ends_with("CURRENT")).unwrap();
    replace(&current, b"nothing");
    let block = frames(&stored).into_iter().rfind(|frame| frame.is_block && !frame.is_superseded).unwrap();
    let earlier = frames(&stored).into_iter().rfind(|frame| frame.is_block && frame.sequence < block.sequence).unwrap();
    let lost = batches_of(&stored, |frame| frame.sequence == earlier.sequence);
    flip(&earlier.segment, earlier.offset + earlier.length - 3);
    let (_, batches) = repaired(&stored, "a damaged checkpoint and a damaged block");
    assert_eq!(all().difference(&batches).copied().collect::<BTreeSet<_>>(), lost);
}

#[test]
fn a_hole_in_the_chain_of_manifests_is_closed_without_loss() {
    let manifests = |stored: &Stored| files(&stored.place.path().join("manifests"));
    let count = manifests(&stored()).len();
    assert!(count >= 4, "{count}");
    for index in 0..count - 1 {
        let stored = stored();
        fs::remove_file(&manifests(&stored)[index]).unwrap();
        let (dry, batches) = repaired(&stored, &format!("without manifest {index}"));
        assert_eq!(dry.code, 3, "{dry:?}");
        assert_eq!(batches, all(), "without manifest {index}");
    }
}

#[test]
fn without_manifests_and_without_any_checkpoint_it_says_that_nothing_repairs_it() {
    let stored = stored();
    ok(&run(stored.line(&["pin", "6"], false)));
    fs::remove_dir_all(stored.place.path().join("manifests")).unwrap();
    let before = tree(&stored.place.path());
    let outcome = run(apply_line(&stored));
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(outcome.stdout.contains("the pin of batch 6") && outcome.stdout.contains("restore"), "{outcome:?}");
    assert_eq!(tree(&stored.place.path()), before);

    let stored = self::stored();
    for batch in [3, 6] {
        fs::remove_dir_all(stored.checkpoint_of(batch)).unwrap();
    }
    let outcome = run(apply_line(&stored));
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(outcome.stdout.contains("no usable checkpoint is left"), "{outcome:?}");
}

/// A store whose batch 8 has lost its block.
fn damaged() -> Stored {
    let stored = stored();
    let block = frames(&stored)
        .into_iter()
        .filter(|frame| frame.is_block && !frame.is_superseded)
        .rfind(|frame| batches_of(&stored, |it| it.sequence == frame.sequence) == BTreeSet::from([8]));
    let block = block.unwrap();
    flip(&block.segment, block.offset + block.length - 3);
    stored
}

#[test]
fn loss_must_be_accepted_and_the_usual_permissions_given() {
    let stored = damaged();
    let before = tree(&stored.place.path());
    let outcome = stored.apply(&["repair"]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(outcome.stderr.contains("--accept-loss"), "{outcome:?}");
    for missing in ["--backup", "--confirm"] {
        let mut line = apply_line(&stored);
        let at = line.iter().position(|word| word == missing).unwrap();
        line.drain(at..=at + 1);
        let outcome = run(line);
        assert_eq!(outcome.code, 2, "{outcome:?}");
    }
    let holder = stored.place.path().join("LOCK");
    let lock = fs::File::options().create(true).truncate(false).write(true).open(&holder).unwrap();
    lock.lock().unwrap();
    fs::write(&holder, format!("process {}\n", std::process::id())).unwrap();
    assert_eq!(run(apply_line(&stored)).code, 6);
    drop(lock);
    assert_eq!(tree(&stored.place.path()), before);
    let told = json(&run(["repair".to_string(), stored.path(), "--json".into()]));
    assert_eq!(told["schema"], "floodmark.repair/1");
    assert_eq!(told["lost"]["blocks"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["lost"]["batches"], serde_json::json!([8, 9]), "{told}");
    assert_eq!(told["new_lineage"], true, "batches 8 and 9 will be others: {told}");
}

#[test]
fn damage_that_only_older_checkpoints_mind_costs_nothing_and_begins_no_lineage() {
    let stored = stored();
    let frames = frames(&stored);
    let is_of =
        |frame: &Frame, batch| batches_of(&stored, |it| it.sequence == frame.sequence) == BTreeSet::from([batch]);
    let block = frames.iter().find(|frame| frame.is_block && !frame.is_superseded && is_of(frame, 5)).unwrap();
    flip(&block.segment, block.offset + block.length - 3);
    let told = json(&run(["repair".to_string(), stored.path(), "--json".into()]));
    assert_eq!((&told["verdict"], &told["new_lineage"]), (&"repairable".into(), &false.into()), "{told}");
    assert_eq!(told["recomputed"], serde_json::json!([7, 8, 9]));
    let (dry, batches) = repaired(&stored, "a block of batch 5");
    assert_eq!((dry.code, batches), (3, all()));
}

#[test]
fn damaged_bytes_are_kept_in_the_store_and_in_the_backup() {
    let stored = damaged();
    let before: Vec<Vec<u8>> =
        files(&stored.place.path().join("wal")).iter().map(|file| fs::read(file).unwrap()).collect();
    ok(&run(apply_line(&stored)));
    for place in [stored.place.path().join("lost+found"), stored.backup.path().to_path_buf()] {
        let kept: Vec<Vec<u8>> = files(&place).iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(before.iter().all(|bytes| kept.contains(bytes)), "{}", place.display());
    }
    let again = stored.dry(&["repair"]);
    assert!(ok(&again).contains("Nothing is to be repaired"), "{again:?}");
}

#[test]
fn a_repair_that_dies_at_any_durable_step_can_be_run_again() {
    let trace = {
        let (stored, disk) = (damaged(), FaultyDisk::new(Arc::new(LocalDisk)));
        ok(&run_on_disk(Arc::new(disk.clone()), apply_line(&stored)));
        disk.trace()
    };
    for step in &trace {
        for fault in deaths(step.number, step.writes, trace.len() as u64) {
            let (stored, disk) = (damaged(), FaultyDisk::new(Arc::new(LocalDisk)));
            disk.arm(step.number, fault);
            let died = run_on_disk(Arc::new(disk.clone()), apply_line(&stored));
            let what = format!("{step} {fault:?}: {died:?}");
            let again = run(apply_line(&stored));
            assert_eq!(again.code, 0, "{what}: {again:?}");
            let batches = batches_after_a_start(&stored, &what);
            assert_eq!(all().difference(&batches).copied().collect::<Vec<_>>(), [8], "{what}");
        }
    }
}

/// The segments of the log, the oldest first.
fn segments(stored: &Stored) -> Vec<PathBuf> {
    let found = files(&stored.place.path().join("wal"));
    found.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "log")).collect()
}

fn lineage(stored: &Stored) -> serde_json::Value {
    let told = json(&run(["status".to_string(), stored.path(), "--json".into()]));
    assert!(told["job"]["lineage"].is_string(), "{told}");
    told["job"]["lineage"].clone()
}

/// Repairs without leave to lose anything, which must be refused, and writes nothing; then with it.
fn repaired_with_loss(stored: &Stored, what: &str) -> BTreeSet<u64> {
    let before = tree(&stored.place.path());
    let refused = stored.apply(&["repair"]);
    assert_eq!(refused.code, 4, "{what}: {refused:?}");
    assert!(refused.stderr.contains("--accept-loss"), "{what}: {refused:?}");
    assert_eq!(tree(&stored.place.path()), before, "{what}: refused, and something was written");
    ok(&run(apply_line(stored)));
    batches_after_a_start(stored, what)
}

#[test]
fn a_newest_segment_of_which_nothing_can_be_read_is_a_loss_that_nobody_can_measure() {
    type Change = fn(&mut Vec<u8>);
    let lineage_before = lineage(&stored());
    let damages: [(&str, Change); 7] = [
        ("empty", |bytes| bytes.clear()),
        ("one byte", |bytes| bytes.truncate(1)),
        ("cut in its header", |bytes| bytes.truncate(30)),
        ("cut before the end of its header", |bytes| bytes.truncate(63)),
        ("damaged header, cut behind it", |bytes| {
            bytes.truncate(70);
            bytes[20] ^= 0xff;
        }),
        ("damaged header, cut in a later frame", |bytes| {
            bytes.truncate(bytes.len() - 5);
            bytes[20] ^= 0xff;
        }),
        ("header and first frame zeroed", |bytes| bytes[..200].fill(0)),
    ];
    for (what, damage) in damages {
        let stored = stored();
        let newest = segments(&stored).pop().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        damage(&mut bytes);
        replace(&newest, &bytes);
        for verb in ["plan", "verify"] {
            assert_eq!(run([verb.to_string(), stored.path()]).code, 4, "{what}: {verb}");
        }
        let dry = stored.dry(&["repair"]);
        assert_eq!(dry.code, 4, "{what}: {dry:?}");
        assert!(dry.stdout.contains("nobody knows how much"), "{what}: {dry:?}");
        let told = json(&run(["repair".to_string(), stored.path(), "--json".into()]));
        assert_eq!((&told["verdict"], &told["new_lineage"]), (&"repairable with loss".into(), &true.into()), "{told}");
        assert_eq!(told["lost"]["segments"], serde_json::json!([3]), "{what}: {told}");
        assert!(told["lost"]["unknown_from"].is_u64(), "{what}: {told}");
        let batches = repaired_with_loss(&stored, what);
        assert!(batches.is_superset(&(1..=7).collect()), "{what}: {batches:?}");
        assert_ne!(lineage(&stored), lineage_before, "{what}: batches 8 and 9 will be others");
    }
}

#[test]
fn a_damaged_header_of_the_newest_segment_costs_nothing_where_all_frames_are_there() {
    for offset in [0, 9, 13, 20, 33, 41, 50, 60, 63] {
        let stored = stored();
        flip(&segments(&stored).pop().unwrap(), offset);
        let told = json(&run(["repair".to_string(), stored.path(), "--json".into()]));
        assert_eq!((&told["verdict"], &told["new_lineage"]), (&"repairable".into(), &false.into()), "{told}");
        let (dry, batches) = repaired(&stored, &format!("byte {offset} of the header"));
        assert_eq!((dry.code, batches), (3, all()));
    }
}

#[test]
fn a_log_of_one_segment_is_judged_alike() {
    for offset in [0, 13, 20, 33, 50, 63] {
        let stored = Stored::new();
        assert_eq!(segments(&stored).len(), 1);
        flip(&segments(&stored)[0], offset);
        let dry = stored.dry(&["repair"]);
        assert_eq!(dry.code, 3, "byte {offset}: {dry:?}");
        ok(&stored.apply(&["repair"]));
        stored.starts_with(1..=7);
    }
    for bytes in [0, 30] {
        let stored = Stored::new();
        let segment = segments(&stored).pop().unwrap();
        let whole = fs::read(&segment).unwrap();
        replace(&segment, &whole[..bytes]);
        let dry = stored.dry(&["repair"]);
        assert_eq!(dry.code, 4, "{bytes} bytes: {dry:?}");
        assert!(dry.stdout.contains("nobody knows how much"), "{bytes} bytes: {dry:?}");
        assert_eq!(repaired_with_loss(&stored, &format!("{bytes} bytes")), (1..=6).collect());
    }
}

#[test]
fn the_end_of_a_log_is_not_called_clean_where_an_older_segment_was_cut() {
    let stored = stored();
    assert_eq!(stored.dry(&["tail"]).code, 0);
    let older = segments(&stored).remove(1);
    let whole = fs::read(&older).unwrap();
    replace(&older, &whole[..whole.len() - 100]);
    for verb in ["verify", "tail"] {
        let outcome = stored.dry(&[verb]);
        assert_eq!(outcome.code, 4, "{verb}: {outcome:?}");
        assert!(!outcome.stdout.contains("Clean"), "{verb}: {outcome:?}");
    }
}

/// Damages of the log and of the chain, of each kind that there is, by their names.
fn damages(store: &floodmark_chaos::damage::Store) -> Vec<String> {
    let mut names = vec!["remove wal/".to_string()];
    let files = |directory| {
        let stored = Stored::of(store);
        let root = stored.place.path();
        let found = self::files(&root.join(directory)).into_iter().filter(|file| !file.ends_with("reserve"));
        let found =
            found.map(|file| (file.strip_prefix(&root).unwrap().display().to_string(), fs::read(file).unwrap()));
        found.collect::<Vec<_>>()
    };
    for (directory, extension, header) in [("wal", ".log", 64), ("manifests", "", 20)] {
        let files = files(directory);
        for (index, (name, bytes)) in files.iter().enumerate() {
            let len = bytes.len();
            names.push(format!("remove {name}"));
            let cuts = [0, 1, 30, header, header + 6, len / 2, len - 500.min(len - 1), len - 8, len - 1];
            let cuts: BTreeSet<usize> = cuts.into_iter().filter(|cut| *cut < len).collect();
            names.extend(cuts.iter().map(|cut| format!("cut {name}@{cut}")));
            let flips = [0, header / 4, header - 1, header + 4, header + 40, len / 3, len - 1];
            names.extend(flips.iter().map(|at| format!("flip {name}@{at}^ff")));
            names.extend(
                [(0, header), (0, 200), (header, 40), (len / 2, 40)]
                    .map(|(at, zero)| format!("zero {name}@{at}+{}", zero.min(len - at))),
            );
            names.push(format!("duplicate {name} as {directory}/{:020}{extension}", 90));
            let next = format!(
                "duplicate {name} as {directory}/{:020}{extension}",
                files.len() + usize::from(directory == "wal")
            );
            names.extend((directory == "wal").then_some(next));
            names.extend(files.get(index + 1).map(|(other, _)| format!("swap {name} with {other}")));
            names.push(format!("foreign {name} from {name}"));
        }
    }
    names
}

#[test]
fn whatever_is_damaged_a_repair_that_asks_for_no_leave_loses_nothing() {
    // The same job elsewhere: its files are of another log and another chain.
    let foreign = {
        let place = Place::default();
        for batches in [1..=4, 5..=7, 8..=9] {
            run_batches(&place.start(|builder| builder, word_count).unwrap(), batches);
        }
        floodmark_chaos::damage::Store::read(&place.path(), Path::new("")).unwrap()
    };
    let (mut without_loss, mut with_loss) = (0, 0);
    let mut wrong = Vec::new();
    for name in damages(original()) {
        let case = floodmark_chaos::damage::parse(&name, original());
        let stored = stored();
        let done = case.map(|case| case.apply(original(), Some(&foreign), &stored.place.path()));
        let Ok(Ok(())) = done else { continue };
        let dry = stored.dry(&["repair"]);
        let says_nothing_is_lost = dry.stdout.contains("without loss") || dry.stdout.contains("lost   nothing");
        match dry.code {
            // A start takes it: what it cuts was never acknowledged as far as anything proves.
            0 if dry.stdout.contains("interrupted append") || dry.stdout.contains("Nothing is to be repaired") => {
                let plan = run(["plan".to_string(), stored.path()]);
                if ![0, 3].contains(&plan.code) {
                    wrong.push(format!("{name}: plan says {plan:?}\n{dry:?}"));
                }
            }
            3 => {
                let applied = stored.apply(&["repair"]);
                if ![0, 3].contains(&applied.code) {
                    wrong.push(format!("{name}: {applied:?}"));
                    continue;
                }
                let batches = batches_after_a_start(&stored, &format!("{name}: {dry:?}"));
                if batches != all() {
                    wrong.push(format!("{name}: only {batches:?} are left, and it said:\n{}", dry.stdout));
                }
                without_loss += 1;
            }
            4 if says_nothing_is_lost => wrong.push(format!("{name}: {dry:?}")),
            4 if dry.stdout.contains("nothing that is here repairs it") => {}
            4 => {
                repaired_with_loss(&stored, &name);
                with_loss += 1;
            }
            _ if dry.code != 0 => assert!([5, 10].contains(&dry.code), "{name}: {dry:?}"),
            _ => wrong.push(format!("{name}: {dry:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(without_loss > 10 && with_loss > 10, "{without_loss} without loss, {with_loss} with loss");
}

#[test]
fn a_torn_end_alone_is_no_damage() {
    let stored = stored();
    let newest = segments(&stored).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes.extend([7; 20]);
    replace(&newest, &bytes);
    let outcome = stored.dry(&["repair"]);
    let text = ok(&outcome);
    assert!(text.contains("Nothing is to be repaired") && text.contains("interrupted append"), "{outcome:?}");
    assert!(!text.contains("damage"), "{outcome:?}");
    assert_eq!(batches_after_a_start(&stored, "a torn end"), all());
}
