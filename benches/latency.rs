//! How long a record takes from the log to the published result, at 200,000 words a second over 1,000,000 keys of
//! `map_with_state`; and whether a batch is late because a checkpoint is written beside it.
//!
//! `cargo bench --bench latency [seconds]`: each load runs for so long, 20 unless told. The clock of a record starts when the log
//! has acknowledged its block, and stops when the output has the batch in which it was counted. All durability is on.

mod common;

use std::fmt;
use std::time::Duration;

use common::{Result, steady, table};

const KEYS: u64 = 1_000_000;

fn main() -> Result<()> {
    let lasting = Duration::from_secs(common::rounds(20) as u64);
    println!(
        "from the log to the published result; 200,000 words/s, {KEYS} keys, two workers, a checkpoint every five batches"
    );
    println!("{:<28} {}", "batches of", Quantiles::HEAD);
    for (interval, target) in [(100, "110 / 180 ms"), (20, "99 %: 60 ms")] {
        let interval = Duration::from_millis(interval);
        let latency = Quantiles::of(steady::run(KEYS, interval, lasting)?.blocks);
        println!("{:<28} {latency}", format!("{interval:?}"));
        let figure = format!("{:.0} / {:.0} ms", latency.ms(0.5), latency.ms(0.99));
        table::enter(&format!("latency, half / 99 % of the records, batches of {interval:?}"), &figure, target)?;
    }
    println!("\nbatches of 100 ms from the tick to the published result; late: by more than a fifth of the median");
    println!("{:<28} {} {:>12}", "keys", Quantiles::HEAD, "late");
    for keys in [10_000, KEYS, 10_000_000] {
        let (beside, mut others) = steady::run(keys, Duration::from_millis(100), lasting)?.beside_checkpoints();
        others.sort_unstable();
        let late = others[others.len() / 2].mul_f64(1.2);
        let (with, without) = (Quantiles::of(beside.clone()).ms(0.5), Quantiles::of(others.clone()).ms(0.5));
        let figure = format!("{:.2} ({with:.1} and {without:.1} ms)", with / without);
        table::enter(&format!("a batch beside a checkpoint / without, {keys} keys, medians"), &figure, "1.2")?;
        for (name, times) in [("beside a checkpoint", beside), ("no checkpoint", others)] {
            let count = format!("{} of {}", times.iter().filter(|took| **took > late).count(), times.len());
            println!("{:<28} {} {count:>12}", format!("{keys}, {name}"), Quantiles::of(times));
        }
    }
    Ok(())
}

struct Quantiles(Vec<Duration>);

impl Quantiles {
    const HEAD: &str = "     p50      p90      p99  longest";

    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Within which so large a share was done, in milliseconds; nothing is done in no time.
    fn ms(&self, share: f64) -> f64 {
        let at = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [0.5, 0.9, 0.99, 1.0].iter().try_for_each(|share| write!(f, "{:>5.1} ms ", self.ms(*share)))
    }
}
