//! A job whose receiver stores one record per block, for `tests/small_blocks.rs`:
//!
//! ```text
//! small_blocks DIRECTORY BLOCKS store      stores so many blocks, says "stored", and waits to be killed
//! small_blocks DIRECTORY BLOCKS stop       stores so many blocks and stops gracefully
//! ```
//!
//! Its clock stands still, so no batch is planned and every block waits until the stop, whose batches take all of them. In the
//! end it says how many records were counted, in all its lives, and how much memory the process took at most.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};

use floodmark::{ManualClock, Receiver, ReceiverContext, ReceiverError, StreamingContext};
use futures_util::{TryStreamExt, stream};

/// Blocks that are under way to the log at a time.
const UNDER_WAY: usize = 2_048;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, blocks, mode] = &arguments[..] else {
        return Err("small_blocks DIRECTORY BLOCKS store|stop".into());
    };
    let (directory, blocks) = (PathBuf::from(directory), blocks.parse()?);

    let context = StreamingContext::builder("small-blocks")
        .checkpoint(&directory)
        .clock(ManualClock::at(1_700_000_000_000))
        .workers(2)
        .build()?;
    let (sender, stored) = mpsc::channel();
    let counted = Arc::new(AtomicU64::new(0));
    let last = counted.clone();
    context
        .receiver_stream("records", Records { blocks, stored: sender })
        .map(|record| (record % 10, 1_u64))
        .update_state_by_key("counts", |ones: &[u64], count: Option<u64>| {
            Some(count.unwrap_or(0) + ones.iter().sum::<u64>())
        })
        .map(|(_, count)| count)
        .reduce(|one, other| one + other)
        .foreach_rdd(move |_, total| {
            total.iter().for_each(|total| last.store(*total, Ordering::SeqCst));
        });

    let running = context.start()?;
    stored.recv()?;
    println!("stored");
    if mode == "store" {
        println!("memory {}", peak_bytes()?);
        loop {
            std::thread::park();
        }
    }
    running.stop(true)?;
    println!("counted {}", counted.load(Ordering::SeqCst));
    println!("memory {}", peak_bytes()?);
    Ok(())
}

/// The most memory that this process has held, in bytes.
fn peak_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(kibibytes.trim().parse::<u64>()? * 1024)
}

struct Records {
    blocks: u64,
    stored: Sender<()>,
}

impl Receiver for Records {
    type Item = u64;

    async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
        let stored = |record: u64| Ok::<_, ReceiverError>((record, context.clone()));
        stream::iter((0..self.blocks).map(stored))
            .try_for_each_concurrent(UNDER_WAY, async |(record, context)| Ok(context.store_block(vec![record]).await?))
            .await?;
        Ok(self.stored.send(())?)
    }
}
