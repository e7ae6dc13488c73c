//! `floodmark operators`: what keeps state, and how much.

use serde::Serialize;

use crate::checkpoints::{Known, Opened, Question};
use crate::console::{Console, Report};
use crate::failure::Result;
use crate::location::Store;
use crate::page::{Page, bytes, count, time};
use floodmark_store::checkpoint::OperatorEntry;

/// Less than this is not told apart.
const BLOCK_BYTES: u64 = 4_000;

/// The operators with state: types, versions, keys, bytes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// Ask the checkpoint of this batch, not the newest one.
    #[arg(long, value_name = "BATCH")]
    as_of: Option<u64>,
}

#[derive(Serialize)]
struct OperatorsReport {
    batch: u64,
    time_ms: u64,
    pinned: bool,
    partitions: u32,
    operators: Vec<OperatorRow>,
}

#[derive(Serialize)]
struct OperatorRow {
    uid: String,
    /// The number that stands for it in the store.
    number: u32,
    /// The name of its method; `dropped` where its state was given up.
    kind: String,
    key_type: String,
    state_type: String,
    state_version: u32,
    keys: u64,
    /// About how many bytes its entries take, compressed; what is below a block of 4 kB may be 0.
    approximate_bytes: u64,
    partitions: u32,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let question = Question::of("operators", &store, &[]);
    let opened = Opened::open(&store, args.as_of, &question)?;
    console.show(&OperatorsReport::of(&opened))?;
    let exit = opened.checkpoints.tell_damage(&store, console);
    match opened.view.damage() {
        Some(_) => Err(opened.damaged(&store, "keys may be unreadable, and bytes are a guess", None)),
        None => Ok(exit),
    }
}

impl OperatorsReport {
    fn of(opened: &Opened) -> Self {
        let Known { manifest, pinned, .. } = &opened.known;
        let point = &manifest.point;
        let rows = opened.operators_with_bytes();
        Self {
            batch: point.batch.0,
            time_ms: point.last_batch_time.0,
            pinned: *pinned,
            partitions: point.keys.partitions,
            operators: rows.map(|(operator, size)| OperatorRow::of(operator, size, point.keys.partitions)).collect(),
        }
    }
}

impl OperatorRow {
    fn of(operator: &OperatorEntry, approximate_bytes: u64, partitions: u32) -> Self {
        Self {
            uid: operator.uid.to_string(),
            number: operator.number.0,
            kind: operator.kind.clone(),
            key_type: operator.key_type.clone(),
            state_type: operator.state_type.clone(),
            state_version: operator.state_version,
            keys: operator.entries,
            approximate_bytes,
            partitions,
        }
    }
}

impl Report for OperatorsReport {
    const SCHEMA: &'static str = "floodmark.operators/1";

    fn write(&self, page: &mut Page) {
        let pinned = if self.pinned { ", pinned" } else { "" };
        let (batch, time, partitions) = (self.batch, time(self.time_ms), self.partitions);
        page.line(&format!("As of batch {batch} of {time}{pinned}; keys are spread over {partitions} partitions."));
        page.gap();
        if self.operators.is_empty() {
            return page.line("No operator keeps state.");
        }
        let row = |row: &OperatorRow| {
            let version = row.state_version.to_string();
            // RocksDB tells sizes by whole blocks.
            let is_told = row.approximate_bytes >= BLOCK_BYTES || row.keys == 0;
            let size = if is_told { bytes(row.approximate_bytes) } else { format!("< {}", bytes(BLOCK_BYTES)) };
            vec![row.uid.clone(), row.kind.clone(), version, count(row.keys), size]
        };
        let rows: Vec<Vec<String>> = self.operators.iter().map(row).collect();
        page.table(&["uid", "kind", "version", "keys", "about"], &rows);
        page.gap();
        for row in &self.operators {
            page.line(&format!("{}: {} → {}", row.uid, row.key_type, row.state_type));
        }
    }
}
