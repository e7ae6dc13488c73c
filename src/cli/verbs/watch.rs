//! `floodmark watch`: the status, live.

use crate::console::Console;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::verbs::status;

/// The status, live.
///
/// The status again and again, until it is interrupted. With --json a status object per line. On a terminal each status takes the
/// place of the one before.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    interval: f64,
    /// End after so many looks.
    #[arg(long, value_name = "LOOKS")]
    count: Option<u64>,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    if !(0.05..=86_400.0).contains(&args.interval) {
        return Err(Failure::usage(format!("--interval: expected 0.05 to 86400 seconds, found {}", args.interval)));
    }
    let store = Store::open(&args.location, console)?;
    let mut looks = 0;
    loop {
        if looks > 0 {
            store.refresh()?;
        }
        let report = status::look(&store)?;
        if console.terminal().output_is_terminal && !console.is_json() {
            console.text("\x1b[H\x1b[2J")?;
        } else if looks > 0 && !console.is_json() {
            console.line("")?;
        }
        console.show(&report)?;
        console.flush()?;
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(Exit::Healthy);
        }
        console.pause((args.interval * 1e3) as u64)?;
    }
}
