//! Frames as lines of text, in columns of fixed width, since nobody knows what comes.

use serde::Serialize;

use crate::console::Console;
use crate::failure::Result;
use crate::frames::{Payload, ShownFrame};
use crate::page::count;
use floodmark_store::wal::WalDamage;

/// Below so many columns a frame takes two lines.
const NARROW: usize = 72;
/// Bytes of a payload in a line of hex.
const HEX_BYTES: usize = 32;

/// Prints frames.
pub(super) struct Lines {
    begun: bool,
    records: bool,
}

impl Lines {
    pub fn new(records: bool) -> Self {
        Self { begun: false, records }
    }

    pub fn has_begun(&self) -> bool {
        self.begun
    }

    pub fn shows_records(&self) -> bool {
        self.records
    }

    pub fn frame(&mut self, frame: &ShownFrame, body: &[u8], console: &mut Console<'_>) -> Result<()> {
        let narrow = console.terminal().width < NARROW;
        if !std::mem::replace(&mut self.begun, true) && !narrow {
            console.line("      seq  segment      offset  epoch     synced     length  what")?;
        }
        let ShownFrame { sequence, segment, offset, epoch, synced_through, length, what, .. } = frame;
        let (offset, length) = (count(*offset), count(*length));
        let what = if frame.superseded { format!("{what} (superseded)") } else { what.clone() };
        if narrow {
            console.line(&format!("{sequence}  {what}"))?;
            console.line(&format!("  segment {segment} @{offset}, {length} B, epoch {epoch}"))?;
        } else {
            console.line(&format!(
                "{sequence:>9}  {segment:>7}  {offset:>10}  {epoch:>5}  {synced_through:>9}  {length:>9}  {what}"
            ))?;
        }
        if self.records && frame.kind == "block" {
            for line in payload_lines(body, frame.records) {
                console.line(&format!("           {line}"))?;
            }
        }
        Ok(())
    }

    pub fn damage(&mut self, damage: &WalDamage, console: &mut Console<'_>) -> Result<()> {
        self.begun = true;
        let file = damage.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        console.line(&format!(
            "  damaged  {file} @{}: expected {}, found {}; {}",
            count(damage.offset),
            damage.expected,
            damage.found,
            damage.lost
        ))
    }
}

fn payload_lines(body: &[u8], records: Option<u64>) -> Vec<String> {
    match Payload::of(body, records) {
        Payload::Lines(lines) => lines,
        Payload::Hex(hex) => {
            let pieces = hex.as_bytes().chunks(2 * HEX_BYTES).map(String::from_utf8_lossy);
            pieces.enumerate().map(|(index, piece)| format!("{:>8}  {piece}", index * HEX_BYTES)).collect()
        }
    }
}

/// A frame of the JSON, with its payload where that is asked for.
#[derive(Serialize)]
pub(super) struct WithPayload<'f> {
    #[serde(flatten)]
    frame: &'f ShownFrame,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
}

impl<'f> WithPayload<'f> {
    pub fn of(frame: &'f ShownFrame, body: &[u8], records: bool) -> Self {
        let payload = (records && frame.kind == "block").then(|| Payload::of(body, frame.records));
        Self { frame, payload }
    }
}
