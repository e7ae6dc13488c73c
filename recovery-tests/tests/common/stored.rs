//! A stored job, as a crash or a graceful stop has left it, with what its sinks hold.

use std::path::Path;
use std::sync::Arc;

use floodmark::testing::disk::LocalDisk;
use floodmark::{BatchId, Error};
use floodmark_chaos::damage::Recovered;

use super::{BATCHES, Life, Plain, World};

/// A stored job with its sinks, and what a whole run comes to.
pub struct Stored {
    pub world: World,
    pub place: tempfile::TempDir,
    pub plain: Plain,
}

impl Stored {
    /// A job that died after batch 7, in its second life: several segments, checkpoints of batches 3 and 6.
    pub fn crashed() -> Self {
        let stored = Self::new();
        stored.live_to(4);
        let life = stored.live_to(6);
        life.running.wait_until(|status| status.checkpoint == BatchId(6)).unwrap();
        life.run_to(7).unwrap();
        drop(life);
        stored
    }

    /// A job that was stopped after batch 7.
    pub fn stopped() -> Self {
        let stored = Self::new();
        stored.live_to(7).running.stop(true).unwrap();
        stored
    }

    fn new() -> Self {
        let (world, place) = (World::default(), floodmark_chaos::scratch::directory().unwrap());
        let life = world.start(place.path(), Arc::new(LocalDisk)).unwrap();
        life.run_to(BATCHES).unwrap();
        let plain = Plain { totals: life.totals().unwrap(), published: world.published(), timed: world.timed() };
        drop(life);
        Self { world: World::default(), place: floodmark_chaos::scratch::directory().unwrap(), plain }
    }

    fn live_to(&self, batch: u64) -> Life {
        let life = self.world.start(self.place.path(), Arc::new(LocalDisk)).unwrap();
        life.run_to(batch).unwrap();
        life
    }

    /// Recovers a copy, finishes the input, and tells all that came of it: whether every batch and the whole state are those of a
    /// plain run.
    pub fn finish(&self, copy: &Path) -> Result<Recovered<Result<(), String>>, Error> {
        self.finish_with(&self.world.copy(), copy)
    }

    /// As [`finish`](Self::finish), with these sinks.
    pub fn finish_with(&self, world: &World, copy: &Path) -> Result<Recovered<Result<(), String>>, Error> {
        let life = world.start(copy, Arc::new(LocalDisk))?;
        let report = life.running.recovery().to_string();
        life.run_to(BATCHES)?;
        Ok(Recovered { outcome: self.plain.check(world, &life), report })
    }
}
