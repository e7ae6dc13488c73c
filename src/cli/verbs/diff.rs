//! `floodmark diff`: what changed between two checkpoints.
//!
//! Both are read in the order of the store, side by side, so memory does not grow with the state.

use std::cmp::Ordering;

use serde::Serialize;

use crate::checkpoints::{Opened, Question};
use crate::console::{Console, JsonList};
use crate::entries::{SeenEntry, Types};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::location::Store;
use crate::page::{Page, count};
use crate::reading::Entries;
use floodmark_store::checkpoint::OperatorEntry;

/// What changed between the checkpoints of two batches.
///
/// Lines begin with + for a key that B has and A has not, - for one that A has and B has not, and ~ for a changed state.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory of the job, or its URL in object storage.
    location: String,
    /// The batch whose checkpoint comes first.
    a: u64,
    /// The batch whose checkpoint it is compared with.
    b: u64,
    /// Print numbers only.
    #[arg(long)]
    summary: bool,
    /// Exit with code 7 where there are differences.
    #[arg(long)]
    exit_code: bool,
    /// Compare this operator only; may be given several times.
    #[arg(long, value_name = "UID")]
    operator: Vec<String>,
}

/// A difference.
#[derive(Serialize)]
struct Change<'a> {
    operator: &'a str,
    change: &'static str,
    /// With the state that it has in B, or, of a key that was removed, in A.
    #[serde(flatten)]
    entry: SeenEntry,
    /// What a changed state was in A.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<SeenEntry>,
}

/// What stands behind the changes.
#[derive(Serialize)]
struct DiffEnd {
    a: u64,
    b: u64,
    differs: bool,
    operators: Vec<Sum>,
}

/// The numbers of one operator.
#[derive(Clone, Debug, Default, Serialize)]
struct Sum {
    uid: String,
    added: u64,
    removed: u64,
    changed: u64,
    same: u64,
    /// What else differs: types, versions, or that only one checkpoint has the operator.
    notes: Vec<String>,
}

impl Sum {
    fn differs(&self) -> bool {
        self.added + self.removed + self.changed > 0 || !self.notes.is_empty()
    }
}

pub(crate) fn run(args: &Args, console: &mut Console<'_>) -> Result {
    let store = Store::open(&args.location, console)?;
    let question = Question::of("operators", &store, &[]);
    let open = |batch| Opened::open(&store, Some(batch), &question);
    let (a, b) = (open(args.a)?, open(args.b)?);
    for uid in &args.operator {
        if a.known.operator(uid).is_err() {
            b.known.operator(uid)?;
        }
    }
    let mut list = console.list("floodmark.diff/1", "changes")?;
    let mut sums = Vec::new();
    for uid in uids(&a, &b, &args.operator) {
        let mut comparison = Comparison { uid: &uid, summary: args.summary, console, list: &mut list };
        sums.push(comparison.run(&store, &a, &b)?);
    }
    let differs = sums.iter().any(Sum::differs);
    let end = DiffEnd { a: args.a, b: args.b, differs, operators: sums };
    list.finish(console, &end)?;
    if !console.is_json() {
        let mut page = Page::new(console.terminal().width, console.terminal().colour);
        end.write(&mut page);
        console.text(&page.into_text())?;
    }
    console.flush()?;
    let exit = b.checkpoints.tell_damage(&store, console);
    for opened in [&a, &b] {
        if opened.view.damage().is_some() {
            return Err(opened.damaged(&store, "the keys could be read", None));
        }
    }
    Ok(if args.exit_code && differs { exit.or_worse(Exit::Differs) } else { exit })
}

/// The operators that either checkpoint has, those of A first.
fn uids(a: &Opened, b: &Opened, asked: &[String]) -> Vec<String> {
    let mut uids: Vec<String> = Vec::new();
    for operator in a.known.operators().chain(b.known.operators()) {
        let uid = operator.uid.to_string();
        if !uids.contains(&uid) && (asked.is_empty() || asked.contains(&uid)) {
            uids.push(uid);
        }
    }
    uids
}

struct Comparison<'c, 's> {
    uid: &'c str,
    summary: bool,
    console: &'c mut Console<'s>,
    list: &'c mut JsonList,
}

/// One checkpoint's entries of the operator, if it has it.
struct Side<'v> {
    types: Types,
    entries: Entries<'v>,
    opened: &'v Opened,
    expected: u64,
    more: bool,
}

impl<'v> Side<'v> {
    fn of(opened: &'v Opened, uid: &str) -> Option<Self> {
        let operator = opened.known.operator(uid).ok()?;
        let types = Types::of(operator);
        let entries = Entries::of(&opened.view, types.number);
        Some(Self { types, entries, opened, expected: operator.entries, more: true })
    }

    /// What could not be read is no difference: a comparison ends there.
    fn advance(&mut self, store: &Store) -> Result<()> {
        self.more = self.entries.advance();
        if self.entries.holes.is_empty() {
            return Ok(());
        }
        let damage = self.entries.damage(store, self.opened, &self.types.uid, self.expected);
        Err(damage.unwrap_or_else(|| Failure::new(Exit::Degraded, "a key could not be read")))
    }
}

impl Comparison<'_, '_> {
    fn run(&mut self, store: &Store, a: &Opened, b: &Opened) -> Result<Sum> {
        let mut sum = Sum { uid: self.uid.to_string(), notes: notes(self.uid, a, b), ..Sum::default() };
        let (mut one, mut other) = (Side::of(a, self.uid), Side::of(b, self.uid));
        for side in [&mut one, &mut other].into_iter().flatten() {
            side.advance(store)?;
        }
        loop {
            self.console.check()?;
            let left = one.as_mut().filter(|side| side.more);
            let right = other.as_mut().filter(|side| side.more);
            match (left, right) {
                (None, None) => return Ok(sum),
                (Some(left), None) => self.removed(store, &mut sum, left)?,
                (None, Some(right)) => self.added(store, &mut sum, right)?,
                (Some(left), Some(right)) => {
                    let order = (left.entries.hash, &left.entries.key).cmp(&(right.entries.hash, &right.entries.key));
                    match order {
                        Ordering::Less => self.removed(store, &mut sum, left)?,
                        Ordering::Greater => self.added(store, &mut sum, right)?,
                        Ordering::Equal => self.both(store, &mut sum, left, right)?,
                    }
                }
            }
        }
    }

    fn removed(&mut self, store: &Store, sum: &mut Sum, side: &mut Side<'_>) -> Result<()> {
        sum.removed += 1;
        self.tell(side, "removed", '-', None)?;
        side.advance(store)
    }

    fn added(&mut self, store: &Store, sum: &mut Sum, side: &mut Side<'_>) -> Result<()> {
        sum.added += 1;
        self.tell(side, "added", '+', None)?;
        side.advance(store)
    }

    fn both(&mut self, store: &Store, sum: &mut Sum, left: &mut Side<'_>, right: &mut Side<'_>) -> Result<()> {
        if left.entries.state == right.entries.state {
            sum.same += 1;
        } else {
            sum.changed += 1;
            self.tell(right, "changed", '~', Some(left))?;
        }
        left.advance(store)?;
        right.advance(store)
    }

    fn tell(&mut self, side: &Side<'_>, change: &'static str, mark: char, before: Option<&Side<'_>>) -> Result<()> {
        if self.summary {
            return Ok(());
        }
        let (types, key, state) = (&side.types, &side.entries.key, &side.entries.state);
        if self.console.is_json() {
            let before = before.map(|side| side.types.entry(key, Some(&side.entries.state)));
            let change = Change { operator: self.uid, change, entry: types.entry(key, Some(state)), before };
            return self.list.push(self.console, &change);
        }
        let was = before.map_or(String::new(), |side| format!("{} → ", side.types.state_text(&side.entries.state)));
        let between = if was.is_empty() { " → " } else { ": " };
        let (uid, key, state) = (self.uid, types.key_text(key), types.state_text(state));
        self.console.line(&format!("{mark} {uid} {key}{between}{was}{state}"))
    }
}

/// What differs beside the entries.
fn notes(uid: &str, a: &Opened, b: &Opened) -> Vec<String> {
    let find = |opened: &Opened| -> Option<OperatorEntry> { opened.known.operator(uid).ok().cloned() };
    match (find(a), find(b)) {
        (Some(one), Some(other)) => {
            let mut notes = Vec::new();
            let mut compare = |what: &str, one: &str, other: &str| {
                if one != other {
                    notes.push(format!("{what} was {one} and is {other}"));
                }
            };
            compare("the key type", &one.key_type, &other.key_type);
            compare("the state type", &one.state_type, &other.state_type);
            compare("the state version", &one.state_version.to_string(), &other.state_version.to_string());
            notes
        }
        (Some(_), None) => vec![format!("only the checkpoint of batch {} has it", a.known.batch())],
        (None, _) => vec![format!("only the checkpoint of batch {} has it", b.known.batch())],
    }
}

impl DiffEnd {
    fn write(&self, page: &mut Page) {
        let row = |sum: &Sum| {
            vec![sum.uid.clone(), count(sum.added), count(sum.removed), count(sum.changed), count(sum.same)]
        };
        let rows: Vec<Vec<String>> = self.operators.iter().map(row).collect();
        page.table(&["operator", "added", "removed", "changed", "same"], &rows);
        for sum in &self.operators {
            for note in &sum.notes {
                page.line(&format!("{}: {note}", sum.uid));
            }
        }
    }
}
