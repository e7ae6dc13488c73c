//! A job whose receiver makes several calls at once, under a limited rate.

use crate::sweep::{Env, Run, Sweep};
use floodmark::StreamingContext;

const BATCHES: u64 = 9;
/// With 100 records a second a batch needs 80 ms of its interval of 100 ms.
const BATCH_RECORDS: u64 = 8;
const RATE: f64 = 100.0;

/// A sweep over a job that counts what overlapping, rate-limited calls with positions store, in their order.
pub fn overlapping_calls() -> Sweep {
    let job = |env: &Env| -> floodmark::Result<StreamingContext> {
        let context = env.builder("overlapping").max_rate(RATE).build()?;
        env.overlapping_input::<u64>(&context, "numbers")
            .map(|number| (number % 3, number))
            .update_state_by_key("folds", |numbers: &[u64], state: Option<(u64, u64)>| {
                let (count, fold) = state.unwrap_or_default();
                let folded = numbers.iter().fold(fold, |fold, number| fold.wrapping_mul(31).wrapping_add(*number));
                Some((count + numbers.len() as u64, folded))
            })
            .sink("out", env.sink("folds"));
        Ok(context)
    };
    let records = |batch| (0..BATCH_RECORDS).map(|index| batch * BATCH_RECORDS + index).collect::<Vec<_>>();
    Sweep::new("overlapping-calls", job).input("numbers", (0..BATCHES).map(records)).check(
        "every record counts once",
        |run: &Run<'_>| {
            let folds = run.state::<u64, (u64, u64)>("folds");
            folds.values().map(|(count, _)| count).sum::<u64>() == BATCHES * BATCH_RECORDS
        },
    )
}
