//! A victim with everything is killed at random and at named points, shortly; `make kill-loop` is the long one. And it bites:
//! what victims do wrong on purpose is found.

use std::path::PathBuf;

use floodmark::testing::disk::Step;
use floodmark_chaos::process::parent::{KillReport, Kills, Phase, PointReport, Points, kills, points};
use floodmark_chaos::process::victim::Planted;

const SEED: u64 = 0xf100d;

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_victim").into()
}

/// `make kill-loop` goes to the disk.
fn scratch() -> tempfile::TempDir {
    floodmark_chaos::scratch::directory().unwrap()
}

fn killed(count: u32, seed: u64) -> KillReport {
    let directory = scratch();
    let plan = Kills { kills: count, seed, at_once: 4, directory: directory.path().to_path_buf(), program: program() };
    let report = kills(&plan, &|_| ()).unwrap();
    println!("{report}");
    report
}

fn interrupted(most: Option<usize>, only: Option<Step>, planted: Option<Planted>) -> PointReport {
    let directory = scratch();
    let (directory, program) = (directory.path().to_path_buf(), program());
    let plan = Points { seed: SEED, most, only, planted, at_once: 4, directory, program };
    let report = points(&plan, &|_| ()).unwrap();
    println!("{report}");
    report
}

#[test]
fn victims_that_are_killed_at_random_end_exact() {
    let report = killed(24, SEED);
    assert!(report.survived());
    assert_eq!(report.kills, 24);
    assert_eq!(report.by_phase.values().sum::<u32>(), 24);
    assert!(report.recoveries.count > 0 && report.batches > 50, "it comes to something");
    assert!(report.by_phase.contains_key(&Phase::Recovering));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["kills"], 24);
    assert_eq!(json["by_phase"]["recovering"], report.by_phase[&Phase::Recovering]);
}

#[test]
fn victims_that_are_killed_at_named_points_end_exact() {
    let report = interrupted(Some(40), None, None);
    assert!(report.divergences.is_empty());
    // Threads interleave otherwise than in the probe, now and then.
    assert!(report.missed * 4 <= report.points, "{} of {} points were missed", report.missed, report.points);
}

#[test]
fn an_acknowledgement_that_comes_too_early_is_found() {
    let report = interrupted(None, Some(Step::WalAppend), Some(Planted::EarlyAcknowledgement));
    let lost = |story: &str| story.contains("was acknowledged, but only");
    assert!(report.divergences.iter().any(|divergence| lost(&divergence.story)), "nothing was lost");
    assert!(report.divergences.iter().all(|divergence| lost(&divergence.story)));
}

#[test]
fn a_function_that_depends_on_the_life_in_which_it_is_called_is_found() {
    let report = interrupted(Some(24), Some(Step::SinkPublish), Some(Planted::LifeInState));
    let differs = |story: &str| story.contains("\"totals\"") || story.contains("batch 1 of the results");
    assert!(!report.divergences.is_empty(), "nothing was found");
    assert!(report.divergences.iter().all(|divergence| differs(&divergence.story)));
}
