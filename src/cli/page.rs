//! The text of a report: fields, tables and findings, for a terminal of any width.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use floodmark_base::plural::noun_for;

use super::exit::Exit;

/// How narrow a table may be made before its rows are written below each other instead.
const NARROWEST_TABLE: usize = 60;

/// Text under way.
pub(crate) struct Page {
    text: String,
    width: usize,
    colour: bool,
}

/// A colour with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Attention,
    Bad,
}

impl Mood {
    /// What an exit code of a verb that looks at a store means for it.
    pub fn of(exit: Exit) -> Self {
        match exit {
            Exit::Healthy => Self::Good,
            Exit::Degraded => Self::Attention,
            _ => Self::Bad,
        }
    }
}

impl Page {
    /// An empty page for so many columns.
    pub fn new(width: usize, colour: bool) -> Self {
        Self { text: String::new(), width: width.max(20), colour }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// A paragraph, broken between words.
    pub fn line(&mut self, line: &str) {
        self.indented(line, 0);
    }

    /// A paragraph below a title.
    pub fn paragraph(&mut self, text: &str) {
        self.indented(text, 2);
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A line that is not broken: a command to copy, for example.
    pub fn verbatim(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A headline with a meaning.
    pub fn headline(&mut self, mood: Mood, line: &str) {
        if self.colour {
            let code = match mood {
                Mood::Good => 32,
                Mood::Attention => 33,
                Mood::Bad => 31,
            };
            self.text.push_str(&format!("\x1b[1;{code}m"));
            self.line(line);
            self.text.truncate(self.text.trim_end_matches('\n').len());
            self.text.push_str("\x1b[0m\n");
        } else {
            self.line(line);
        }
    }

    /// Names and values, the values in one column.
    pub fn fields<'f>(&mut self, fields: impl IntoIterator<Item = (&'f str, String)>) {
        let fields: Vec<(&str, String)> = fields.into_iter().collect();
        let names = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        for (name, value) in fields {
            let start = format!("{name:<names$}  ");
            self.text.push_str(&start);
            self.hanging(&value, start.chars().count());
        }
    }

    /// The next command to try, alone on its line so that it can be copied.
    pub fn next(&mut self, command: &str) {
        self.verbatim(&format!("next: {command}"));
    }

    /// Rows under headers; columns of numbers are aligned to the right. In a narrow terminal each row becomes a list of fields.
    pub fn table(&mut self, headers: &[&str], rows: &[Vec<String>]) {
        if self.width < NARROWEST_TABLE {
            for row in rows {
                self.fields(headers.iter().copied().zip(row.iter().cloned()));
                self.gap();
            }
            return;
        }
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING).set_header(headers);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.width.min(usize::from(u16::MAX)) as u16);
        table.add_rows(rows);
        let keep_whole = whole_columns(headers, rows, self.width);
        for (index, column) in table.column_iter_mut().enumerate() {
            let is_number = |text: &String| text.starts_with(|first: char| first.is_ascii_digit()) || text == "-";
            let numbers = rows.iter().filter_map(|row| row.get(index)).all(is_number);
            let padding = if index == 0 { (0, 1) } else { (1, 1) };
            column.set_padding(padding);
            if numbers && !rows.is_empty() {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if index < keep_whole {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        for line in table.lines() {
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    fn indented(&mut self, line: &str, indent: usize) {
        self.text.push_str(&" ".repeat(indent));
        self.hanging(line, indent);
    }

    /// Words up to the width; further lines begin at `indent`.
    fn hanging(&mut self, text: &str, indent: usize) {
        let mut column = indent;
        let room = self.width.max(indent + 10);
        for (index, word) in text.split(' ').enumerate() {
            let length = word.chars().count();
            if index > 0 && column + 1 + length > room {
                self.text.truncate(self.text.trim_end_matches(' ').len());
                self.text.push('\n');
                self.text.push_str(&" ".repeat(indent));
                column = indent;
            } else if index > 0 {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += length;
        }
        self.text.push('\n');
    }
}

/// How many columns, from the left, are not to be broken: all but the last, where that leaves the last one enough room.
fn whole_columns(headers: &[&str], rows: &[Vec<String>], width: usize) -> usize {
    const ENOUGH: usize = 24;
    let width_of = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain([headers[index].chars().count()]).max().unwrap_or_default() + 2
    };
    let last = headers.len().saturating_sub(1);
    let others: usize = (0..last).map(width_of).sum();
    let needed = width_of(last).min(ENOUGH);
    if others + needed <= width { last } else { 0 }
}

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// A number with its noun: `1 batch`, `1,024 batches`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {}", count(number), noun_for(number, noun))
}

/// Bytes for people, in powers of ten: `1.54 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// A duration for people.
pub(crate) fn duration_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

/// A time in milliseconds since the Unix epoch, as UTC: `2026-11-21 17:42:12.345Z`.
pub(crate) fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    time.map_or_else(|| format!("{ms} ms"), |time| time.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 999, 1_536_000].map(bytes), ["0 B", "999 B", "1.54 MB"]);
        assert_eq!(
            [7, 1_500, 61_000, 3_660_000, 90_000_000].map(duration_ms),
            ["7 ms", "1.5 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
        );
    }

    #[test]
    fn times_are_written_as_utc() {
        assert_eq!(time(0), "1970-01-01 00:00:00.000Z");
        assert_eq!(time(951_782_400_001), "2000-02-29 00:00:00.001Z");
        assert_eq!(time(1_700_000_000_000), "2023-11-14 22:13:20.000Z");
    }

    #[test]
    fn a_page_keeps_to_forty_columns() {
        let mut page = Page::new(40, false);
        page.line("a paragraph of many words which does not fit into so narrow a terminal");
        page.fields([("name", "a value that is longer than what is left".to_string()), ("n", "1".to_string())]);
        page.table(&["batch", "records"], &[vec!["1".to_string(), "2".to_string()]]);
        let text = page.into_text();
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("name  a value"), "{text}");
    }
}
