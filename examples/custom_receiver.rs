//! A receiver of one's own: readings of sensors, and their mean per sensor.
//!
//! ```text
//! cargo run --release --example custom_receiver -- --checkpoint ./state --readings 100000
//! ```
//!
//! Kill it, start it again: it goes on with the reading that follows the last one logged, and no reading counts twice. A real
//! receiver would hand the stored position to its source, as a consumer of a queue does with its offset.

mod common;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use floodmark::{Position, Receiver, ReceiverContext, ReceiverError, StreamingContext, Text};

use common::arguments::Arguments;

const USAGE: &str = "custom_receiver --checkpoint DIR [--readings N] [--batch-interval 500ms]";

fn main() -> ExitCode {
    common::exit(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::new(USAGE);
    let checkpoint: PathBuf = arguments.required("--checkpoint")?;
    let readings = arguments.optional("--readings")?.unwrap_or(100_000);
    let batch_interval = arguments.duration("--batch-interval")?.unwrap_or(Duration::from_millis(500));
    arguments.finish()?;
    common::show_warnings();

    let context = StreamingContext::builder("sensors")
        .checkpoint(&checkpoint)
        .batch_interval(batch_interval)
        .install_signal_handlers()
        .build()?;
    context
        .receiver_stream("readings", Sensors { readings })
        .map(|(sensor, tenths)| (sensor, (tenths, 1_u64)))
        .reduce_by_key(|a, b| (a.0 + b.0, a.1 + b.1))
        .update_state_by_key("sums", |new: &[(i64, u64)], sums: Option<(i64, u64)>| {
            Some(new.iter().fold(sums.unwrap_or_default(), |sums, new| (sums.0 + new.0, sums.1 + new.1)))
        })
        .map(|(sensor, (tenths, count))| {
            format!("{sensor}: {:.2} °C over {count}", tenths as f64 / 10.0 / count as f64)
        })
        .print(5);

    let running = context.start()?;
    println!("{}", running.recovery());
    running.wait_until(|status| status.input_used_up)?;
    running.stop(true)?;
    Ok(())
}

/// Makes up readings, always the same ones: the number of a reading is its position.
struct Sensors {
    readings: u64,
}

const BLOCK_READINGS: u64 = 500;

impl Receiver for Sensors {
    /// A sensor, and tenths of a degree.
    type Item = (Text, i64);

    async fn on_start(&mut self, context: ReceiverContext<Self::Item>) -> Result<(), ReceiverError> {
        // Where the log ends: what comes before it is stored, and would be dropped.
        let Position(mut next) = context.stored_position().unwrap_or_default();
        while next < self.readings && !context.is_stopping() {
            let end = self.readings.min(next + BLOCK_READINGS);
            let block = (next..end).map(reading).collect();
            // Returns when the block is durable; a source that waits for an acknowledgement would get it now.
            context.store_block_at(Position(end), block).await?;
            next = end;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn reading(number: u64) -> (Text, i64) {
    let sensor = number % 5;
    let wobble = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as i64;
    (Text::from(format!("sensor-{sensor}")), 180 + 10 * sensor as i64 + wobble)
}
