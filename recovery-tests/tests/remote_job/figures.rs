//! What a checkpoint costs: bytes and puts follow what has changed.

use std::sync::Arc;
use std::time::Duration;

use floodmark::testing::disk::{FaultyDisk, LocalDisk, Step};
use floodmark::{Clock, ManualClock, StreamingContext};
use floodmark_chaos::store::SimulatedStore;

const KEYS: u64 = 1_000_000;

#[test]
fn a_checkpoint_of_a_thousand_changed_keys_among_a_million_is_less_than_a_megabyte_in_fewer_than_five_puts() {
    let (store, clock) = (SimulatedStore::new(), ManualClock::at(1_700_000_000_000));
    let door = FaultyDisk::new(Arc::new(LocalDisk));
    let place = tempfile::tempdir().unwrap();
    let context = StreamingContext::builder("million")
        .object_store(Arc::new(store.through(door.clone())), "million")
        .working_directory(place.path())
        .log_in_object_storage(true)
        .batch_interval(Duration::from_millis(100))
        .checkpoint_every(1)
        .workers(2)
        .clock(clock.clone())
        .build()
        .unwrap();
    let (keys, stream) = context.queue_stream::<(u64, u64)>("keys");
    stream.update_state_by_key("sums", |values: &[u64], sum: Option<u64>| {
        Some(sum.unwrap_or(0) + values.iter().sum::<u64>())
    });
    let running = context.start().unwrap();
    let run = |records: Vec<(u64, u64)>| {
        let before = running.status().checkpoint;
        for part in records.chunks(50_000) {
            keys.push(part.to_vec()).unwrap();
        }
        clock.advance_to(clock.epoch_ms() + 100);
        running.wait_until(|status| status.checkpoint > before && !status.checkpointing).unwrap();
    };
    run((0..KEYS).map(|key| (key, 1)).collect());
    for round in 0..5 {
        let (before, steps) = (store.objects(), door.trace().len());
        run((0..1_000).map(|key| (key * 997 + round, 1)).collect());
        let after = store.objects();
        let is_checkpoint = |name: &str| !name.contains("/log/");
        let new = after.iter().filter(|(name, _)| is_checkpoint(name) && !before.contains_key(*name));
        let bytes: usize = new.map(|(_, bytes)| bytes.len()).sum();
        let trace = door.trace();
        let puts =
            trace[steps..].iter().filter(|step| step.step == Step::StorePut && is_checkpoint(&step.what)).count();
        println!("round {round}: {bytes} bytes in {puts} puts");
        assert!(bytes < 1_000_000, "{bytes} bytes");
        assert!(puts < 5, "{puts} puts");
    }
}
