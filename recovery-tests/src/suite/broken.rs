//! Jobs that are broken on purpose, to show what a sweep says of them.

use std::time::{SystemTime, UNIX_EPOCH};

use floodmark::{BatchId, Epoch, Lineage, PublishedBatch, Sink, SinkError, StreamingContext};

use crate::sweep::{Env, Output, Sweep};

/// Reads a clock in a map: two runs differ.
pub fn clock_in_a_map() -> Sweep {
    let job = |env: &Env| -> floodmark::Result<StreamingContext> {
        let context = env.builder("stamped").build()?;
        env.input::<u64>(&context, "orders")
            .map(|order| (order % 3, nanoseconds()))
            .update_state_by_key("newest", |times: &[u64], newest: Option<u64>| times.last().copied().or(newest))
            .sink("out", env.sink("newest"));
        Ok(context)
    };
    Sweep::new("clock-in-a-map", job).input("orders", (1..=6_u64).map(|batch| vec![batch, batch + 1]))
}

fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Appends to a table without looking at what is there: what is published again is there twice.
pub fn appending_sink() -> Sweep {
    let job = |env: &Env| -> floodmark::Result<StreamingContext> {
        let context = env.builder("appending").build()?;
        env.input::<u64>(&context, "orders").sink("table", Appending(env.output("table")));
        Ok(context)
    };
    Sweep::new("appending-sink", job).input("orders", (1..=6_u64).map(|batch| vec![batch, batch + 1]))
}

struct Appending(Output<u64>);

impl Sink<u64> for Appending {
    fn fence(&mut self, _: Epoch, _: Lineage) -> Result<Option<BatchId>, SinkError> {
        Ok(None)
    }

    fn publish(&mut self, batch: &PublishedBatch<u64>) -> Result<(), SinkError> {
        batch.records().for_each(|record| self.0.push(*record));
        Ok(())
    }
}
