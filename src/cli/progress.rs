//! A progress bar on standard error.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over bytes; clones move the same one. It shows nothing where there is no terminal.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Guard>);

struct Guard(ProgressBar);

impl Progress {
    pub fn new(doing: &'static str, total: u64, shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(doing);
        Self(Arc::new(Guard(bar)))
    }

    /// So many more bytes are done.
    pub fn add(&self, bytes: u64) {
        self.0.0.inc(bytes);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
