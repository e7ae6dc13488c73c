//! `floodmark status`: one screen.

use serde::Serialize;

use crate::cli::console::{Console, Report};
use crate::cli::exit::Exit;
use crate::cli::failure::Result;
use crate::cli::location::Store;
use crate::cli::page::Page;
use crate::cli::view;

/// One screen: job, owner, where the batches stand, checkpoints, sizes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job.
    location: String,
}

#[derive(Serialize)]
struct StatusReport {
    store: String,
    job: Option<String>,
}

impl Report for StatusReport {
    const SCHEMA: &'static str = "floodmark.status/1";

    fn write(&self, page: &mut Page) {
        page.fields([("store", self.store.clone()), ("job", self.job.clone().unwrap_or_default())]);
    }
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location)?;
    let facts = view::facts(store.path())?;
    let job = facts.chain.newest().map(|manifest| manifest.point.job_name.clone());
    console.show(&StatusReport { store: store.shown(), job })?;
    Ok(Exit::Healthy)
}
