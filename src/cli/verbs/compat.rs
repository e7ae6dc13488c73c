//! `floodmark compat`: whether another build can take a store over, decided by the engine's own `decide`.
#![allow(clippy::disallowed_methods)] // reads a file of the user

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::console::{Console, Report};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::page::{Mood, Page, count};
use crate::view;
use floodmark_store::checkpoint::{DROPPED, JobPoint};
use floodmark_store::recovery::decide::Decision;
use floodmark_store::recovery::look::decide_as_a_start_of;
use floodmark_store::recovery::schema::JobSchema;

/// Whether a build can take the store over.
///
/// What it would migrate, drop and start empty. A build exports its schema by `std::fs::write("job.json",
/// context.schema()?.to_json())`. Nothing is written here.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// The schema of the build, as StreamingContext::schema exports it.
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
}

#[derive(Serialize)]
struct CompatReport {
    store: String,
    exit_code: Exit,
    job: String,
    fits: bool,
    /// Why not, in the words of the start that would be refused.
    refusal: Option<String>,
    /// The batch whose state would be taken over.
    checkpoint: Option<u64>,
    operators: Vec<Fate>,
    sources: Vec<SourceFate>,
}

/// What becomes of a source.
#[derive(Serialize)]
struct SourceFate {
    uid: String,
    /// `goes on`, `new`, `kept` or `given up`.
    fate: &'static str,
    /// What sort of source it is, where that is known.
    kind: String,
}

/// What becomes of the state of an operator.
#[derive(Serialize)]
struct Fate {
    uid: String,
    /// `kept`, `migrated`, `dropped` or `starts empty`.
    fate: &'static str,
    from_version: Option<u32>,
    to_version: Option<u32>,
    entries: u64,
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let text = fs::read_to_string(&args.schema).map_err(|error| Failure::io("read", &args.schema, &error))?;
    let schema =
        JobSchema::from_json(&text).map_err(|error| Failure::usage(format!("{}: {error}", args.schema.display())))?;
    let next = format!("floodmark verify {}", store.shown());
    store.bring_all()?;
    let facts = view::facts(store.path()).map_err(|refusal| Failure::from(refusal).try_next(next.clone()))?;
    let mut report = CompatReport {
        store: store.name(),
        exit_code: Exit::Healthy,
        job: schema.job.clone(),
        fits: true,
        refusal: None,
        checkpoint: None,
        operators: Vec::new(),
        sources: Vec::new(),
    };
    match decide_as_a_start_of(store.path(), &facts, &schema.declared()) {
        Ok(decision) => report.fill(&decision, &schema),
        Err(refusal) => match Failure::from(refusal) {
            failure if failure.exit == Exit::Incompatible => {
                (report.exit_code, report.fits, report.refusal) = (failure.exit, false, Some(failure.message));
            }
            failure => return Err(failure.try_next(next)),
        },
    }
    console.show(&report)?;
    Ok(report.exit_code)
}

impl CompatReport {
    fn fill(&mut self, decision: &Decision, schema: &JobSchema) {
        let Some(from) = &decision.from else { return };
        self.checkpoint = Some(from.point.batch.0);
        let entries = |point: &JobPoint, uid: &str| {
            point.operators.iter().find(|entry| entry.uid.as_str() == uid && entry.kind != DROPPED).map(|it| it.entries)
        };
        for operator in &schema.operators {
            let migrated = decision.changes.migrated.iter().find(|(uid, ..)| uid.as_str() == operator.uid);
            let is_new = decision.changes.started_empty.iter().any(|uid| uid.as_str() == operator.uid);
            let (fate, from_version) = match migrated {
                Some((_, from, _)) => ("migrated", Some(*from)),
                None if is_new => ("starts empty", None),
                None => ("kept", Some(operator.state_version)),
            };
            self.operators.push(Fate {
                uid: operator.uid.clone(),
                fate,
                from_version,
                to_version: Some(operator.state_version),
                entries: entries(&from.point, &operator.uid).unwrap_or_default(),
            });
        }
        self.fill_sources(decision, &from.point, schema);
        self.operators.extend(decision.changes.dropped.iter().map(|uid| Fate {
            uid: uid.to_string(),
            fate: "dropped",
            from_version: None,
            to_version: None,
            entries: entries(&from.point, uid.as_str()).unwrap_or_default(),
        }));
    }
}

impl CompatReport {
    fn fill_sources(&mut self, decision: &Decision, point: &JobPoint, schema: &JobSchema) {
        for source in &schema.sources {
            let is_given_up = decision.sources.given_up.iter().any(|uid| uid.as_str() == source.uid);
            let is_known = point.sources.iter().any(|stored| stored.uid.as_str() == source.uid);
            let fate = match (is_given_up, is_known) {
                (true, _) => "given up",
                (false, true) => "goes on",
                (false, false) => "new",
            };
            self.sources.push(SourceFate { uid: source.uid.clone(), fate, kind: source.kind.clone() });
        }
        let is_declared = |uid: &str| schema.sources.iter().any(|source| source.uid == uid);
        for stored in point.sources.iter().filter(|stored| !is_declared(stored.uid.as_str())) {
            let fate = if decision.sources.given_up.contains(&stored.uid) { "given up" } else { "kept" };
            self.sources.push(SourceFate { uid: stored.uid.to_string(), fate, kind: stored.kind.clone() });
        }
    }
}

impl Report for CompatReport {
    const SCHEMA: &'static str = "floodmark.compat/1";

    fn write(&self, page: &mut Page) {
        if let Some(refusal) = &self.refusal {
            page.headline(Mood::Bad, "This build cannot take the store over.");
            page.line(refusal);
            return;
        }
        page.headline(Mood::Good, "This build can take the store over.");
        if let Some(batch) = self.checkpoint {
            page.line(&format!("It would begin with the state after batch {}.", count(batch)));
        }
        let version = |version: Option<u32>| version.map_or_else(|| "-".to_string(), |version| version.to_string());
        let row = |it: &Fate| {
            vec![
                it.uid.clone(),
                it.fate.to_string(),
                count(it.entries),
                version(it.from_version),
                version(it.to_version),
            ]
        };
        let rows: Vec<_> = self.operators.iter().map(row).collect();
        if !rows.is_empty() {
            page.table(&["operator", "its state is", "keys", "version", "new"], &rows);
        }
        let row = |it: &SourceFate| vec![it.uid.clone(), it.fate.to_string(), it.kind.clone()];
        let rows: Vec<_> = self.sources.iter().map(row).collect();
        if !rows.is_empty() {
            page.table(&["source", "it", "kind"], &rows);
        }
    }
}
