//! Every damage of a stored job is survived: repaired, refused with the right words, or cut where the documentation says that
//! nothing else can be known; never silently wrong.
//!
//! `FLOODMARK_DAMAGE_CASE='flip wal/00000000000000000002.log@123^ff'` runs one case of each store, `FLOODMARK_DAMAGE_SEED` draws
//! other places.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::World;
use common::stored::Stored;
use floodmark::Error;
use floodmark_chaos::damage::{ChangeKind, Damage, DamageError, DamageReport, Failure, FileKind, Progress, Recovered};

/// The damages of a stored job, as the environment wants them.
fn damage_of(stored: &Stored) -> Damage {
    let seed = std::env::var("FLOODMARK_DAMAGE_SEED").map_or(1, |seed| seed.parse().expect("a seed is a number"));
    let damage = Damage::of(stored.place.path()).seed(seed);
    match std::env::var("FLOODMARK_DAMAGE_CASE") {
        Ok(case) => damage.only(case),
        Err(_) => damage,
    }
}

fn run(stored: &Stored, damage: Damage) -> DamageReport {
    damage.run(|copy| stored.finish(copy)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_crashed_job_survives_every_kind_of_damage() {
    let (stored, other) = (Stored::crashed(), Stored::crashed());
    let report = run(&stored, damage_of(&stored).other_store(other.place.path()));
    report.assert_survived();
}

#[test]
fn a_stopped_job_survives_every_kind_of_damage() {
    let (stored, other) = (Stored::stopped(), Stored::stopped());
    let report = run(&stored, damage_of(&stored).other_store(other.place.path()));
    report.assert_survived();
}

/// Every byte of the newest segment: the bytes that the documentation gives up are cut, all others are refused.
#[test]
fn the_ambiguous_end_of_the_log_is_exactly_as_wide_as_documented() {
    const FRAME_HEADER: usize = 48;
    let (crashed, stopped) = (Stored::crashed(), Stored::stopped());
    for (stored, is_stopped) in [(&crashed, false), (&stopped, true)] {
        let damage = damage_of(stored).kinds([FileKind::NewestSegment]);
        let ambiguous = damage.ambiguous_bytes().unwrap();
        assert!(!ambiguous.is_empty());
        if is_stopped {
            assert_eq!(ambiguous.len(), FRAME_HEADER, "the closing mark, which proves all that is before it");
        }
        let report = run(stored, damage.flips_per_file(usize::MAX));
        report.assert_survived();
        let flips = report.counts(FileKind::NewestSegment, ChangeKind::Flip);
        // Each byte twice: all of its bits, and one.
        assert_eq!(flips.cases as usize, 2 * ambiguous.end, "all bytes");
        assert_eq!(flips.ambiguous_tail as usize, 2 * ambiguous.len());
        assert_eq!(flips.refused as usize, 2 * ambiguous.start);
    }
}

#[test]
fn one_case_can_be_run_by_its_name() {
    let stored = Stored::stopped();
    let names: Vec<String> = Damage::of(stored.place.path()).cases().unwrap().iter().map(ToString::to_string).collect();
    for verb in ["flip", "cut", "zero", "remove", "swap", "duplicate"] {
        let name = names.iter().rfind(|name| name.starts_with(verb)).expect(verb);
        let report = run(&stored, Damage::of(stored.place.path()).only(name));
        report.assert_survived();
        assert_eq!((report.total().cases, report.total().started), (1, 1), "{name}");
    }
    let error = |name: &str| Damage::of(stored.place.path()).only(name).run(|copy| stored.finish(copy)).unwrap_err();
    assert!(error("flip wal/7.log@0^ff").to_string().contains("no such file"));
    assert!(error("flip LOCK@99^ff").to_string().contains("beyond the file's end"));
    assert!(error("crush LOCK").to_string().contains("is not the name of a damage"));
}

/// What a job of a user may do wrong, and what the report calls it.
#[test]
fn jobs_that_do_not_survive_damage_are_found_out() {
    let stored = Stored::crashed();
    let failure = |case: &str, recover: &Recover<'_>| {
        let report = Damage::of(stored.place.path()).only(case).run(recover).unwrap();
        report.findings.first().map(|finding| finding.failure)
    };
    let segment = &format!("flip {}@100^ff", newest_segment(&stored));
    // Gives up what it cannot read, and begins anew. All of its input comes again, so that the outcome is right, by luck.
    let begins_anew = |copy: &Path| {
        stored.finish(copy).or_else(|_| {
            fs::remove_dir_all(copy).unwrap();
            stored.finish_with(&World::default(), copy)
        })
    };
    assert_eq!(failure(segment, &begins_anew), Some(Failure::InspectionDiffers));
    let table = Damage::of(stored.place.path()).kinds([FileKind::Table]).cases().unwrap().pop().unwrap().to_string();
    let forgets = |copy: &Path| {
        stored.finish(copy).map(|recovered| match recovered.report.contains("rejected") {
            true => Recovered { outcome: Err("a key is missing".to_string()), ..recovered },
            false => recovered,
        })
    };
    assert_eq!(failure(&table, &forgets), Some(Failure::SilentlyWrong));
    // Tidies up before it gives up.
    let tidies_up = |copy: &Path| {
        stored.finish(copy).inspect_err(|_| {
            let manifests = common::place::files(&copy.join("manifests"));
            fs::remove_file(manifests.last().unwrap()).unwrap();
        })
    };
    assert_eq!(failure(segment, &tidies_up), Some(Failure::RefusalChangedFiles));
    let panics = |copy: &Path| match stored.finish(copy) {
        Ok(recovered) => Ok(recovered),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(failure(segment, &panics), Some(Failure::Panicked));
    // Does not say what it cut.
    let says_nothing =
        |copy: &Path| stored.finish(copy).map(|it| Recovered { report: "all is well".to_string(), ..it });
    let ambiguous = Damage::of(stored.place.path()).ambiguous_bytes().unwrap();
    let last = format!("flip {}@{}^ff", newest_segment(&stored), ambiguous.end - 1);
    assert_eq!(failure(&last, &says_nothing), Some(Failure::CutUnreported));
    assert_eq!(failure(&last, &|copy| stored.finish(copy)), None);
    // Comes to something else each time.
    let calls = AtomicUsize::new(0);
    let counts_calls = |copy: &Path| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        stored.finish(copy).map(|it| Recovered { outcome: Err(call.to_string()), ..it })
    };
    let error = Damage::of(stored.place.path()).run(counts_calls).unwrap_err();
    assert!(matches!(error, DamageError::NotDeterministic(_)), "{error}");
}

/// What [`Damage::run`] calls.
type Recover<'a> = dyn Fn(&Path) -> Result<Recovered<Result<(), String>>, Error> + Sync + 'a;

fn newest_segment(stored: &Stored) -> String {
    let files = common::place::files(&stored.place.path().join("wal"));
    let newest = files.iter().rfind(|file| file.extension().is_some_and(|extension| extension == "log")).unwrap();
    format!("wal/{}", newest.file_name().unwrap().to_str().unwrap())
}

/// Some minutes: `cargo test --release -p floodmark-chaos --test damage -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn every_byte_of_a_stored_job_may_be_flipped() {
    for stored in [Stored::crashed(), Stored::stopped()] {
        let other = Stored::crashed();
        let tell = |progress: Progress| {
            if progress.done.is_multiple_of(1_000) || progress.done == progress.of {
                println!("{}: {} of {}", progress.doing, progress.done, progress.of);
            }
        };
        let damage = damage_of(&stored).other_store(other.place.path()).exhaustive().progress(tell);
        let report = run(&stored, damage);
        println!("{report}");
        report.assert_survived();
    }
}
