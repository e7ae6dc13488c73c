//! A rollback and what follows it: the batches after its target are computed from the same plans and published as a new lineage,
//! whatever dies in between.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::place::{Place, add, expected, files, word_count};
use common::stored::Stored;
use common::{BATCHES, Entry, Life, World};
use floodmark::testing::disk::{Disk, Fault, FaultyDisk, LocalDisk};
use floodmark::testing::{inspect, roll_back};
use floodmark::{BatchId, Error};

type Batches = Vec<(BatchId, Vec<Vec<Entry>>)>;

fn copy_of(stored: &Stored) -> (tempfile::TempDir, World) {
    let copy = tempfile::tempdir().unwrap();
    let store = floodmark_chaos::damage::Store::read(stored.place.path(), Path::new("")).unwrap();
    store.write_to(&copy.path().join("job")).unwrap();
    (copy, stored.world.copy())
}

/// Each lineage must have what a plain run has of its batches; the last one everything after the target.
fn check(world: &World, plain: &Batches, target: u64, abandoned_end: u64) {
    let lineages = world.published_by_lineage();
    assert_eq!(lineages[0], plain[..abandoned_end as usize], "the abandoned lineage is left as it was");
    for lineage in &lineages[1..] {
        let first = lineage[0].0.0;
        assert_eq!(first, target + 1, "a new lineage begins behind the target");
        assert_eq!(*lineage, plain[target as usize..][..lineage.len()]);
    }
    assert_eq!(lineages.last().unwrap().last().unwrap().0, BatchId(BATCHES));
}

fn finish(world: &World, job: &Path, disk: Arc<dyn Disk>) -> Result<Life, Error> {
    let life = world.start(job, disk)?;
    life.run_to(BATCHES)?;
    Ok(life)
}

#[test]
fn after_a_rollback_the_same_plans_are_computed_and_published_as_a_new_lineage() {
    for (stored, target) in [(Stored::crashed(), 3), (Stored::crashed(), 6)] {
        let (copy, world) = copy_of(&stored);
        let job = copy.path().join("job");
        let last = world.published().len() as u64;
        roll_back(&LocalDisk, &job, BatchId(target)).unwrap();
        let inspection = inspect(&job).unwrap();
        assert_eq!((inspection.checkpoint(), inspection.committed()), (Some(BatchId(target)), vec![]));
        let life = finish(&world, &job, Arc::new(LocalDisk)).unwrap();
        let report = life.running.recovery().to_string();
        let batches = if last - target == 1 { "batch" } else { "batches" };
        let words = format!("after a rollback {} {batches} published again, as a new lineage", last - target);
        assert!(report.contains(&format!("checkpoint of batch {target}")) && report.contains(&words), "{report}");
        assert_eq!(life.totals().unwrap(), stored.plain.totals);
        check(&world, &stored.plain.published, target, last);
        // The next start is as any other.
        drop(life);
        let life = world.start(&job, Arc::new(LocalDisk)).unwrap();
        assert!(!life.running.recovery().to_string().contains("rollback"), "{}", life.running.recovery());
        assert_eq!(life.totals().unwrap(), stored.plain.totals);
    }
}

#[test]
fn a_death_at_any_durable_step_of_a_rollback_and_of_the_life_after_it_is_survived() {
    let stored = Stored::crashed();
    let steps = {
        let (copy, world) = copy_of(&stored);
        let disk = FaultyDisk::new(Arc::new(LocalDisk));
        roll_back(&disk, &copy.path().join("job"), BatchId(3)).unwrap();
        drop(finish(&world, &copy.path().join("job"), Arc::new(disk.clone())).unwrap());
        disk.trace().len() as u64
    };
    assert!(steps > 40, "{steps}");
    for step in 1..=steps {
        for fault in [Fault::DieBefore, Fault::DieAfter, Fault::Tear { bytes: 40 }] {
            let (copy, world) = copy_of(&stored);
            let job = copy.path().join("job");
            let disk = FaultyDisk::new(Arc::new(LocalDisk));
            disk.arm(step, fault);
            if roll_back(&disk, &job, BatchId(3)).is_ok() {
                drop(finish(&world, &job, Arc::new(disk.clone())));
            }
            assert!(disk.fired() || step == steps, "step {step} {fault:?}");
            if inspect(&job).unwrap().checkpoint() == Some(BatchId(6)) && world.published_by_lineage().len() == 1 {
                roll_back(&LocalDisk, &job, BatchId(3)).unwrap();
                assert_eq!(inspect(&job).unwrap().checkpoint(), Some(BatchId(3)));
            }
            let life = finish(&world, &job, Arc::new(LocalDisk))
                .unwrap_or_else(|error| panic!("step {step} {fault:?}: {error}\n{:#?}", disk.trace()));
            assert_eq!(life.totals().unwrap(), stored.plain.totals, "step {step} {fault:?}");
            check(&world, &stored.plain.published, 3, 7);
        }
    }
}

#[test]
fn a_second_rollback_and_one_that_takes_the_first_back_leave_nothing_uncounted() {
    // To the same target, before and after a life of the lineage between; and forward again to what was abandoned.
    for (lives, second) in [(false, 3), (true, 3), (false, 6), (true, 6)] {
        let stored = Stored::crashed();
        let (copy, world) = copy_of(&stored);
        let job = copy.path().join("job");
        roll_back(&LocalDisk, &job, BatchId(3)).unwrap();
        if lives {
            // It dies before its first checkpoint, so both checkpoints are still named.
            let disk = FaultyDisk::new(Arc::new(LocalDisk));
            disk.arm_at(
                floodmark::testing::disk::Point { step: floodmark::testing::disk::Step::ManifestCreate, nth: 9 },
                Fault::DieBefore,
            );
            drop(finish(&world, &job, Arc::new(disk)));
        }
        roll_back(&LocalDisk, &job, BatchId(second)).unwrap_or_else(|error| panic!("{lives} {second}: {error}"));
        assert_eq!(inspect(&job).unwrap().checkpoint(), Some(BatchId(second)));
        let life = finish(&world, &job, Arc::new(LocalDisk)).unwrap();
        assert_eq!(life.totals().unwrap(), stored.plain.totals);
        let lineages = world.published_by_lineage();
        let last = lineages.last().unwrap();
        assert_eq!(*last, stored.plain.published[second as usize..], "{lives} {second}");
    }
}

#[test]
fn a_rollback_to_a_checkpoint_that_is_damaged_falls_back_without_publishing_what_came_before_it_again() {
    let place = counted();
    let directory = place.path();
    roll_back(&LocalDisk, &directory, BatchId(6)).unwrap();
    let checkpoints = fs::read_dir(directory.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let newest = checkpoints.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("6-"));
    for table in
        newest.flat_map(|checkpoint| files(&checkpoint)).filter(|path| path.to_string_lossy().ends_with(".sst"))
    {
        let bytes = fs::read(&table).unwrap();
        common::place::replace(&table, &bytes[..bytes.len() - 9]);
    }
    let inspection = inspect(&directory).unwrap();
    assert_eq!(inspection.checkpoint(), Some(BatchId(3)));
    assert_eq!(inspection.committed(), [4, 5, 6].map(BatchId), "these are of both lineages");
    let job = place.start(|builder| builder, word_count).unwrap();
    assert_eq!(job.counts("counts"), expected(&[("a", 14), ("b", 7)]));
}

#[test]
fn another_program_may_compute_other_results_after_a_rollback_under_the_same_version() {
    // With the same plans and the same version the old digests would stop the job.
    let place = counted();
    roll_back(&LocalDisk, &place.path(), BatchId(3)).unwrap();
    let mended = |context: &floodmark::StreamingContext| {
        let (words, stream) = context.queue_stream::<String>("words");
        stream.map(|word| (word, 10_u64)).update_state_by_key("counts", add);
        words
    };
    let job = place.start(|builder| builder, mended).unwrap();
    assert_eq!(job.counts("counts"), expected(&[("a", 6 + 80), ("b", 3 + 40)]));
}

/// A job that counted `a b a` in seven batches and died, with checkpoints of batches 3 and 6.
fn counted() -> Place {
    let place = Place::default();
    let job = place.start(|builder| builder, word_count).unwrap();
    for checkpoint in [3, 6] {
        job.count("a b a", 3).unwrap();
        job.running.wait_until(|status| status.checkpoint == BatchId(checkpoint)).unwrap();
    }
    job.count("a b a", 1).unwrap();
    drop(job);
    place
}
