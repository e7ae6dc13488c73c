//! `floodmark export`: the state of a checkpoint as JSON lines, whole and exact; `src/store/export.rs` says how.

use crate::checkpoints::{Opened, Question};
use crate::console::Console;
use crate::entries::Types;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::page::count;
use crate::reading::Entries;
use floodmark_store::export::{End, Entry, Header, Last};
use floodmark_store::state::shape::to_hex;

/// Writes the state of a checkpoint as JSON lines.
///
/// A header, a line for each key, and a last line with a checksum, to standard output. `import` makes a store of it again. It is
/// JSON with and without --json.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// Export the checkpoint of this batch, not the newest one.
    #[arg(long, value_name = "BATCH")]
    as_of: Option<u64>,
    /// Export this operator only; may be given several times.
    #[arg(long, value_name = "UID")]
    operator: Vec<String>,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let question = Question::of("export", &store, &[]);
    let opened = Opened::open(&store, args.as_of, &question)?;
    for uid in &args.operator {
        opened.known.operator(uid)?;
    }
    let is_exported = |uid: &str| args.operator.is_empty() || args.operator.iter().any(|asked| asked == uid);
    let mut lines = Lines { crc: crc32fast::Hasher::new() };
    lines.print(console, &Header::of(&opened.known.manifest, is_exported))?;
    let mut entries_printed = 0;
    for operator in opened.known.operators().filter(|operator| is_exported(operator.uid.as_str())) {
        let types = Types::of(operator);
        let mut entries = Entries::of(&opened.view, types.number);
        while entries.advance() {
            lines.print(console, &entry(&types, &entries.key, &entries.state))?;
            entries_printed += 1;
        }
        // Without its last line nobody takes an export for whole.
        if let Some(failure) = entries.damage(&store, &opened, &types.uid, operator.entries) {
            return Err(failure);
        }
    }
    let crc32 = format!("{:08x}", lines.crc.clone().finalize());
    lines.print(console, &Last { end: End { entries: entries_printed, crc32 } })?;
    console.flush()?;
    console.hint(&format!("{} keys as of {}", count(entries_printed), opened.known.name()));
    Ok(opened.checkpoints.tell_damage(&store, console))
}

fn entry(types: &Types, key: &[u8], state: &[u8]) -> Entry {
    let (key_seen, state_seen) = (types.key(key), types.state(state));
    let (key_is_exact, state_is_exact) = types.exact(key, &key_seen, state, &state_seen);
    Entry {
        operator: types.uid.clone(),
        key: key_seen.value,
        value: state_seen.value,
        raw_key: (!key_is_exact).then(|| to_hex(key)),
        raw_value: (!state_is_exact).then(|| to_hex(state)),
    }
}

struct Lines {
    crc: crc32fast::Hasher,
}

impl Lines {
    fn print(&mut self, console: &mut Console<'_>, line: &impl serde::Serialize) -> Result<()> {
        let encoded = serde_json::to_string(line);
        let mut text =
            encoded.map_err(|error| Failure::new(Exit::Failed, format!("a line does not encode: {error}")))?;
        text.push('\n');
        self.crc.update(text.as_bytes());
        console.text(&text)
    }
}
