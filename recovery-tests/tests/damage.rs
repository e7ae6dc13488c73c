//! Every damage of a stored job is survived: repaired, refused with the right words, or cut where the documentation says that
//! nothing else can be known; never silently wrong.
//!
//! `FLOODMARK_DAMAGE_CASE='flip wal/00000000000000000002.log@123^ff'` runs one case of each store, `FLOODMARK_DAMAGE_SEED` draws
//! other places.

mod common;

use common::stored::Stored;
use recovery_tests::damage::{Damage, DamageReport};

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
    println!("{report}");
    report.assert_survived();
}

#[test]
fn a_stopped_job_survives_every_kind_of_damage() {
    let (stored, other) = (Stored::stopped(), Stored::stopped());
    let report = run(&stored, damage_of(&stored).other_store(other.place.path()));
    println!("{report}");
    report.assert_survived();
}

/// Some minutes: `cargo test --release -p recovery-tests --test damage -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes; `make chaos` runs it"]
fn every_byte_of_a_stored_job_may_be_flipped() {
    for stored in [Stored::crashed(), Stored::stopped()] {
        let other = Stored::crashed();
        let tell = |progress: recovery_tests::damage::Progress| {
            if progress.done.is_multiple_of(1_000) || progress.done == progress.of {
                println!("{}: {} of {}", progress.doing, progress.done, progress.of);
            }
        };
        let mut damage = damage_of(&stored).other_store(other.place.path()).exhaustive().progress(tell);
        if std::env::var("TABLES").is_ok() {
            damage = damage.kinds([recovery_tests::damage::FileKind::Table]);
        }
        let report = run(&stored, damage);
        println!("{report}");
        if std::env::var("TABLES").is_ok() {
            for f in &report.findings {
                println!("F {} {} {}", f.case, f.failure, &f.detail[..f.detail.len().min(300)]);
            }
            continue;
        }
        report.assert_survived();
    }
}
