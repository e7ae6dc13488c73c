//! A stored job in a bucket, and the command on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use floodmark::testing::disk::{FaultyDisk, LocalDisk};
use floodmark::{Error, StreamingContextBuilder};
use floodmark_chaos::store::SimulatedStore;
use floodmark_cli::{Outcome, run_on_store};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::kit::{Life, Machine, Sent, World};

/// Where the job is, in whichever store.
pub const URL: &str = "memory://simulated/jobs/counts";
pub const PREFIX: &str = "jobs/counts/";

/// A driver at work, on a machine of its own.
pub struct Job {
    life: Life,
    _machine: Machine,
}

impl std::ops::Deref for Job {
    type Target = Life;

    fn deref(&self) -> &Life {
        &self.life
    }
}

/// Starts the job on an empty machine.
pub fn start(world: &World) -> Result<Job, Error> {
    start_with(world, |builder| builder)
}

/// The same with other settings.
pub fn start_with(
    world: &World,
    configure: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
) -> Result<Job, Error> {
    let machine = Machine::new();
    Ok(Job { life: world.start_with(&machine, configure)?, _machine: machine })
}

/// A job that was killed after so many batches, with a life before that.
pub fn stored(batches: u64) -> (World, Sent) {
    let (world, mut sent) = (World::default(), Sent::default());
    start(&world).unwrap().run_batches("first", 3, &mut sent).unwrap();
    start(&world).unwrap().run_batches("second", batches, &mut sent).unwrap();
    (world, sent)
}

/// A bucket with these objects, in the order of their names.
pub fn store_of(objects: &BTreeMap<String, Bytes>) -> SimulatedStore {
    let store = SimulatedStore::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (name, bytes) in objects {
        runtime.block_on(store.put(&Path::from(name.as_str()), bytes.clone().into())).unwrap();
    }
    store
}

/// Runs the command on a store; words are split at spaces.
pub fn on(store: &SimulatedStore, line: &str) -> Outcome {
    through(store, FaultyDisk::new(Arc::new(LocalDisk)), &words(line))
}

/// The same with every step of the disk and of the store passing a door.
pub fn through(store: &SimulatedStore, door: FaultyDisk, line: &[String]) -> Outcome {
    let store: Arc<dyn ObjectStore> = Arc::new(store.through(door.clone()));
    run_on_store(Arc::new(door), store, line)
}

/// The words of a line, `URL` for the job's.
pub fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| if word == "URL" { URL.to_string() } else { word.to_string() }).collect()
}

/// What a verb says with `--json`.
pub fn json(store: &SimulatedStore, line: &str) -> (serde_json::Value, u8) {
    let outcome = on(store, &format!("{line} --json"));
    let value = serde_json::from_str(&outcome.stdout);
    (value.unwrap_or_else(|error| panic!("{line}: {error}: {outcome:?}")), outcome.code)
}

/// The text of a verb that has done its work.
pub fn ok(outcome: &Outcome) -> &str {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    &outcome.stdout
}
