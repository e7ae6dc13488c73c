//! The console: where output goes, how wide it is, who answers questions, and whether the user wants to stop.
//!
//! Data goes to standard output, progress and hints to standard error. A closed pipe ends a verb quietly.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::ObjectStore;
use serde::Serialize;

use super::failure::{Failure, Result};
use super::page::Page;
use super::progress::Progress;
use floodmark_base::clock::{Clock, Interrupt, SystemClock};
use floodmark_base::disk::{Disk, LocalDisk};

/// What a verb tells: as JSON by its fields, as text by its page.
pub(crate) trait Report: Serialize {
    /// The name and version of the JSON's schema: `floodmark.status/1`.
    const SCHEMA: &'static str;

    /// The text for people.
    fn write(&self, page: &mut Page);
}

/// What is known of the terminal.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    /// Columns of the output.
    pub width: usize,
    pub output_is_terminal: bool,
    pub error_is_terminal: bool,
    pub input_is_terminal: bool,
    pub colour: bool,
}

/// The streams of the process, or of a test.
pub(crate) struct Console<'s> {
    output: Box<dyn Write + 's>,
    error: Box<dyn Write + 's>,
    input: Box<dyn BufRead + 's>,
    terminal: Terminal,
    json: bool,
    printed: bool,
    interruption: Interruption,
    disk: Arc<dyn Disk>,
    store_access: StoreAccess,
    /// A path that means nothing to the user, with a slash behind it: it is left out of what is printed.
    scratch: RefCell<Option<String>>,
}

/// How object storage is reached.
#[derive(Clone, Default)]
pub(crate) struct StoreAccess {
    pub options: Vec<(String, String)>,
    /// Where checkpoint files are kept between calls.
    pub cache: Option<PathBuf>,
    /// In place of what a URL names: for tests.
    pub store: Option<Arc<dyn ObjectStore>>,
}

/// Whether the user wants to stop; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interruption {
    raised: Arc<AtomicBool>,
    /// Ends a pause.
    wake: Interrupt,
}

impl Interruption {
    /// Says so; whether it was said before.
    pub fn raise(&self) -> bool {
        let before = self.raised.swap(true, Ordering::Relaxed);
        self.wake.raise();
        before
    }

    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }
}

impl<'s> Console<'s> {
    pub fn new(
        output: impl Write + 's,
        error: impl Write + 's,
        input: impl BufRead + 's,
        terminal: Terminal,
        interruption: Interruption,
    ) -> Self {
        let (output, error, input) = (Box::new(output), Box::new(error), Box::new(input));
        let (disk, store_access) = (Arc::new(LocalDisk), StoreAccess::default());
        Self {
            output,
            error,
            input,
            terminal,
            json: false,
            printed: false,
            interruption,
            disk,
            store_access,
            scratch: RefCell::default(),
        }
    }

    /// Leaves the path of a scratch directory out of what is printed: what is below it has the names of a job's directory.
    pub fn leave_out(&self, scratch: &Path) {
        *self.scratch.borrow_mut() = Some(format!("{}/", scratch.display()));
    }

    /// How object storage is reached.
    pub fn store_access(&self) -> &StoreAccess {
        &self.store_access
    }

    pub(super) fn set_store_access(&mut self, options: Vec<(String, String)>, cache: Option<PathBuf>) {
        (self.store_access.options, self.store_access.cache) = (options, cache);
    }

    /// An object store that is there already: for tests.
    #[cfg(feature = "testing")]
    pub(super) fn set_store(&mut self, store: Arc<dyn ObjectStore>) {
        self.store_access.store = Some(store);
    }

    /// Whether progress is shown.
    pub fn shows_progress(&self) -> bool {
        self.terminal.error_is_terminal && !self.json
    }

    /// The door to the disk for verbs that write.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// Another door: for tests.
    #[cfg(feature = "testing")]
    pub(super) fn set_disk(&mut self, disk: Arc<dyn Disk>) {
        self.disk = disk;
    }

    pub(super) fn set_json(&mut self, json: bool) {
        self.json = json;
    }

    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether anything was printed on standard output.
    pub fn has_printed(&self) -> bool {
        self.printed
    }

    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Prints a whole report.
    pub fn show<R: Report>(&mut self, report: &R) -> Result<()> {
        if self.json {
            #[derive(Serialize)]
            struct Tagged<'r, R> {
                schema: &'static str,
                #[serde(flatten)]
                report: &'r R,
            }
            self.object(&Tagged { schema: R::SCHEMA, report })
        } else {
            let mut page = Page::new(self.terminal.width, self.terminal.colour);
            report.write(&mut page);
            self.text(&page.into_text())
        }
    }

    /// Prints a value as one line of JSON.
    pub fn object(&mut self, value: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(value).map_err(|error| {
            Failure::new(super::Exit::Failed, format!("the output does not encode as JSON: {error}"))
        })?;
        self.line(&line)
    }

    /// Prints text as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.check()?;
        self.printed = true;
        let text = self.without_scratch(text);
        self.output.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))
    }

    /// Text for the user, in which paths of the scratch directory are those of a job's directory.
    fn without_scratch<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &*self.scratch.borrow() {
            Some(scratch) if text.contains(scratch.as_str()) => Cow::from(text.replace(scratch.as_str(), "")),
            _ => Cow::from(text),
        }
    }

    /// Prints a line.
    pub fn line(&mut self, line: &str) -> Result<()> {
        self.text(line)?;
        self.text("\n")
    }

    /// Begins a list that is printed as it comes: with JSON one object `{"schema": …, "<list>": […], …}`.
    pub fn list(&mut self, schema: &'static str, list: &'static str) -> Result<JsonList> {
        if self.json {
            self.text(&format!("{{\"schema\":\"{schema}\",\"{list}\":["))?;
        }
        Ok(JsonList { empty: true })
    }

    /// What the user should know beside the data; whether it can be written changes nothing.
    pub fn hint(&mut self, hint: &str) {
        // Standard error may be closed, and there is no other place to say so.
        let hint = self.without_scratch(hint);
        let _ = writeln!(self.error, "{hint}");
    }

    /// Everything printed so far has left the process.
    pub fn flush(&mut self) -> Result<()> {
        self.output.flush().map_err(|error| Failure::output(&error))
    }

    /// Ends the verb where the user has interrupted it; to be asked in every long loop.
    pub fn check(&self) -> Result<()> {
        if self.interruption.is_raised() { Err(Failure::interrupted()) } else { Ok(()) }
    }

    /// Whether the user has interrupted; for threads that do the work of a verb.
    pub fn interruption(&self) -> Interruption {
        self.interruption.clone()
    }

    /// Waits so many milliseconds, or until the user interrupts.
    pub fn pause(&self, ms: u64) -> Result<()> {
        let clock = SystemClock::default();
        let now_ms = clock.epoch_ms();
        clock.wait_while(now_ms..now_ms + ms, &self.interruption.wake);
        self.check()
    }

    /// A bar over `total` bytes, on a terminal only.
    pub fn progress(&self, doing: &'static str, total: u64) -> Progress {
        Progress::new(doing, total, self.shows_progress())
    }

    /// Asks on a terminal; without one the answer is no.
    pub fn ask(&mut self, question: &str) -> Result<bool> {
        if !self.terminal.input_is_terminal {
            return Ok(false);
        }
        let asked = write!(self.error, "{question} [y/N] ").and_then(|()| self.error.flush());
        asked.map_err(|error| Failure::output(&error))?;
        let mut answer = String::new();
        let read = |error: io::Error| Failure::new(super::Exit::Failed, format!("cannot read the answer: {error}"));
        self.input.read_line(&mut answer).map_err(read)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// A list under way; without JSON nothing of it is printed.
pub(crate) struct JsonList {
    empty: bool,
}

impl JsonList {
    /// Prints one element, where JSON is asked for.
    pub fn push(&mut self, console: &mut Console<'_>, element: &impl Serialize) -> Result<()> {
        if !console.is_json() {
            return Ok(());
        }
        let comma = if std::mem::take(&mut self.empty) { "\n" } else { ",\n" };
        console.text(comma)?;
        let text = serde_json::to_string(element).map_err(|error| {
            Failure::new(super::Exit::Failed, format!("the output does not encode as JSON: {error}"))
        })?;
        console.text(&text)
    }

    /// Ends the list, with more fields of the object behind it: `fields` must be a struct or a map.
    pub fn finish(self, console: &mut Console<'_>, fields: &impl Serialize) -> Result<()> {
        if !console.is_json() {
            return Ok(());
        }
        let fields = serde_json::to_string(fields).map_err(|error| {
            Failure::new(super::Exit::Failed, format!("the output does not encode as JSON: {error}"))
        })?;
        match fields.strip_prefix('{').filter(|fields| *fields != "}") {
            Some(fields) => console.line(&format!("],{fields}")),
            None => console.line("]}"),
        }
    }
}
