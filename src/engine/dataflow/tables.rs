//! The state of one operator on one worker: a table for each partition that the worker owns, and what every stateful operator
//! does alike: loading, freezing, queries, and the fingerprint of what changed.

use std::ops::ControlFlow;
use std::sync::Arc;

use bincode::error::EncodeError;
use serde::Serialize;

use crate::dataflow::blame;
use crate::dataflow::graph::WorkerContext;
use floodmark_base::codec::{Key, KeyHash, Record, decode, encode, encode_into};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_base::types::{as_state, check_state};
use floodmark_base::user_code;
use floodmark_store::batch::event::Digest;
use floodmark_store::state::rest::Revised;
use floodmark_store::state::spec::StateSpec;
use floodmark_store::state::{CacheCounts, FrozenRun, Pressure, Rest, StateTable};

/// The state of an operator, as the worker's loop deals with it: without its types.
pub(crate) trait OperatorState {
    /// The fingerprint of what changed since the last call. A state that cannot be stored unwinds, and is blamed on the operator.
    fn take_digest(&mut self) -> Digest;

    /// Ends a batch for tables that began partial: merges what was loaded meanwhile. With `all` it waits for the rest, which must be
    /// on its way.
    ///
    /// # Errors
    /// When the background has given up.
    fn absorb(&mut self, all: bool) -> Result<()>;

    /// The store holds all that was frozen.
    fn confirm(&mut self);

    /// How the tables did since the last call, and what the fullest of them wants.
    fn take_cache_counts(&mut self) -> (CacheCounts, Pressure);

    /// What changed since the last freeze, one sorted run per owned partition. Tables must be whole.
    fn freeze(&mut self) -> Vec<FrozenRun>;

    /// How many keys have state here. Of tables that began partial the first partition counts what is stored of all partitions, on all
    /// workers, and each counts what it has more: so it is the sum that counts.
    fn entries(&self) -> i64;

    /// The encoded state of an encoded key, as queries see it.
    ///
    /// # Errors
    /// When it is in the store and cannot be read. `UserCode` when its type's own code fails.
    fn get(&self, partition: u32, hash: KeyHash, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Every encoded key with its encoded state, as queries see it, in order of (hash, encoded key).
    ///
    /// # Errors
    /// When some of it is in the store and cannot be read. `UserCode` when a type's own code fails.
    fn scan(&self, visit: &mut dyn FnMut(KeyHash, Vec<u8>, Vec<u8>)) -> Result<()>;
}

/// The typed tables of one operator, by partition.
pub(crate) struct Tables<K, S> {
    partitions: Vec<Partition<K, S>>,
    /// What is stored of an operator whose tables begin partial; counted once, where the first partition is.
    stored: i64,
    counts: CacheCounts,
    fingerprint: Fingerprint,
    view: View<S>,
    /// Samples of the type do not show everything: each state that changes is checked.
    checks_each: bool,
}

/// A table, and what it lacks while it is partial.
struct Partition<K, S> {
    number: u32,
    table: StateTable<K, S>,
    rest: Option<Rest<K, S>>,
}

/// What a query sees of a state, encoded; `None` where it sees nothing.
type View<S> = fn(&S) -> Option<Result<Vec<u8>, EncodeError>>;

/// The fingerprint of what changed in a batch.
pub(crate) struct Fingerprint {
    /// The operator's.
    name: Arc<str>,
    digest: Digest,
    scratch: Vec<u8>,
}

impl Fingerprint {
    fn new(name: &Arc<str>) -> Self {
        Self { name: name.clone(), digest: Digest::default(), scratch: Vec::new() }
    }

    /// Takes in a change: `what` is what the key became, or what came to it.
    ///
    /// # Panics
    /// When it cannot be stored: the type is the user's, so this is blamed on the operator.
    pub fn note<W: Serialize>(&mut self, hash: KeyHash, what: &W) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&hash.0.to_le_bytes());
        if let Err(error) = encode_into(what, &mut self.scratch) {
            cannot_be_stored(&self.name, &format!("{}: {error}", std::any::type_name::<W>()));
        }
        self.digest.add(KeyHash::of_encoded(&self.scratch).0);
    }
}

#[cold]
fn cannot_be_stored(operator: &Arc<str>, why: &str) -> ! {
    blame::enter(operator);
    panic!("a state of \"{operator}\" cannot be stored: {why}");
}

impl<K: Key, S: Record> Tables<K, S> {
    /// Loads the tables of all partitions that the worker owns. Queries see the states as they are.
    ///
    /// # Errors
    /// When stored state cannot be read.
    pub fn load(context: &WorkerContext, spec: &StateSpec<K, S>) -> Result<Self> {
        Self::load_seen_as(context, spec, |state| Some(encode(state)))
    }

    /// As [`load`](Self::load); queries see what `view` makes of a state.
    ///
    /// # Errors
    /// When stored state cannot be read.
    pub fn load_seen_as(context: &WorkerContext, spec: &StateSpec<K, S>, view: View<S>) -> Result<Self> {
        let partitions = context.owned().map(|number| {
            let mut table = StateTable::new();
            context.loader.load(spec, number, context.partitions, &mut table)?;
            Ok(Partition { number, table, rest: None })
        });
        let partitions = partitions.collect::<Result<_>>()?;
        Ok(Self::over(context, partitions, 0, view))
    }

    fn over(context: &WorkerContext, partitions: Vec<Partition<K, S>>, stored: i64, view: View<S>) -> Self {
        Self {
            partitions,
            stored,
            counts: CacheCounts::default(),
            fingerprint: Fingerprint::new(&context.name),
            view,
            checks_each: as_state::<S>().is_uncertain,
        }
    }

    /// As [`load_seen_as`](Self::load_seen_as), for an operator that [brings](Self::bring) the keys that it touches: where this start is
    /// lazy, the tables begin partial.
    ///
    /// # Errors
    /// When stored state cannot be read.
    pub fn begin_seen_as(context: &WorkerContext, spec: &StateSpec<K, S>, view: View<S>) -> Result<Self> {
        let Some(stored) = context.loader.begins_partial(spec) else { return Self::load_seen_as(context, spec, view) };
        let partitions = context.owned().map(|number| {
            context.loader.check_keys(spec, number, context.partitions)?;
            let rest = context.loader.rest(spec, number, context.partitions);
            Ok(Partition { number, table: context.loader.empty_table(), rest: Some(rest) })
        });
        let partitions: Vec<_> = partitions.collect::<Result<_>>()?;
        let counts_stored = partitions.iter().any(|partition| partition.number == 0);
        let stored = if counts_stored { stored.cast_signed() } else { 0 };
        Ok(Self::over(context, partitions, stored, view))
    }

    /// As [`load`](Self::load), for an operator that visits every key, but can do so [in the store](Self::visit_absent): its tables are
    /// partial where they have a limit.
    ///
    /// # Errors
    /// When stored state cannot be read.
    pub fn load_within(context: &WorkerContext, spec: &StateSpec<K, S>) -> Result<Self> {
        let begin = if context.loader.has_limit() { Self::begin_seen_as } else { Self::load_seen_as };
        begin(context, spec, |state| Some(encode(state)))
    }

    /// Visits every key of a partition that its table does not know, with its state. What `visit` makes of it, where that is
    /// something else, is put into the table as changed. Nothing for a whole table. When the store cannot be read it unwinds with a
    /// [`StateFailure`](floodmark_store::state::StateFailure).
    pub fn visit_absent(&mut self, partition: u32, visit: impl FnMut(KeyHash, &K, S) -> Revised<S>) {
        let (Partition { table, rest, .. }, _) = self.parts(partition);
        if let Some(rest) = rest {
            rest.revise(table, visit);
        }
    }

    /// Visits every key of a partition that has a state, in the order (hash, encoded key), until told to stop. Unwinds as
    /// [`visit_absent`](Self::visit_absent) does.
    pub fn for_each_in_order(&self, partition: u32, mut visit: impl FnMut(&K, &S) -> ControlFlow<()>) {
        let owned = self.partitions.iter().find(|owned| owned.number == partition);
        let Partition { table, rest, .. } = owned.expect("chunks arrive where their partition is owned");
        match rest {
            None => table.for_each_in_order(|key, _, state| visit(key, state)),
            Some(rest) => rest.visit_in_order(table, visit),
        }
    }

    /// The table of an owned partition, and where its changes are noted. Only keys that were [brought](Self::bring) may be touched.
    ///
    /// # Panics
    /// When the partition belongs to another worker: chunks are routed by ownership, so this is a bug of ours.
    #[inline]
    pub fn of(&mut self, partition: u32) -> (&mut StateTable<K, S>, &mut Fingerprint) {
        let (partition, fingerprint) = self.parts(partition);
        (&mut partition.table, fingerprint)
    }

    fn parts(&mut self, partition: u32) -> (&mut Partition<K, S>, &mut Fingerprint) {
        let owned = self.partitions.iter_mut().find(|owned| owned.number == partition);
        (owned.expect("chunks arrive where their partition is owned"), &mut self.fingerprint)
    }

    /// Sees to it that the table of a partition knows these keys, as far as they have a state. Free for a whole table. When the store
    /// cannot be read it unwinds with a [`StateFailure`](floodmark_store::state::StateFailure).
    pub fn bring<'k>(&mut self, partition: u32, keys: impl Iterator<Item = (KeyHash, &'k K)> + Clone) {
        let mut counts = self.counts;
        let (Partition { table, rest, .. }, _) = self.parts(partition);
        if let Some(rest) = rest {
            rest.look_up(table, keys, &mut counts);
            self.counts = counts;
        }
    }

    /// Ends a batch of a partition; slots are invalid afterwards.
    pub fn settle(&mut self, partition: u32) {
        self.counts.evictions += self.parts(partition).0.table.settle();
    }

    /// Every owned partition's number and table.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &StateTable<K, S>)> {
        self.partitions.iter().map(|partition| (partition.number, &partition.table))
    }
}

impl<K: Key, S: Record> OperatorState for Tables<K, S> {
    fn take_digest(&mut self) -> Digest {
        if self.checks_each {
            let mut changed = self.partitions.iter().flat_map(|partition| partition.table.changed_values());
            if let Some(why) = changed.find_map(|state| check_state(state).err()) {
                cannot_be_stored(&self.fingerprint.name, &why);
            }
        }
        std::mem::take(&mut self.fingerprint.digest)
    }

    fn absorb(&mut self, all: bool) -> Result<()> {
        for Partition { table, rest: lacks, .. } in &mut self.partitions {
            if let Some(whole) = lacks.as_ref().map(|rest| rest.loaded(all)).transpose()?.flatten() {
                table.complete(whole);
                *lacks = None;
            }
        }
        Ok(())
    }

    fn confirm(&mut self) {
        self.partitions.iter_mut().for_each(|partition| partition.table.confirm());
    }

    fn take_cache_counts(&mut self) -> (CacheCounts, Pressure) {
        let pressure = self.iter().map(|(_, table)| table.pressure()).max().unwrap_or_default();
        (std::mem::take(&mut self.counts), pressure)
    }

    fn freeze(&mut self) -> Vec<FrozenRun> {
        let freeze = |partition: &mut Partition<K, S>| {
            assert!(!partition.rest.as_ref().is_some_and(Rest::is_loading), "a table is frozen when it is loaded");
            partition.table.freeze()
        };
        self.partitions.iter_mut().map(freeze).collect()
    }

    fn entries(&self) -> i64 {
        self.stored + self.iter().map(|(_, table)| table.grown_by()).sum::<i64>()
    }

    fn get(&self, partition: u32, hash: KeyHash, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(owned) = self.partitions.iter().find(|owned| owned.number == partition) else { return Ok(None) };
        let Ok(decoded) = decode(key) else { return Ok(None) };
        match (owned.table.slot(hash, &decoded), &owned.rest) {
            (Some(slot), _) => owned.table.value(slot).map_or(Ok(None), |state| self.seen(state)),
            (None, Some(rest)) => rest.get(hash, key)?.map_or(Ok(None), |state| self.seen(&state)),
            (None, None) => Ok(None),
        }
    }

    fn scan(&self, visit: &mut dyn FnMut(KeyHash, Vec<u8>, Vec<u8>)) -> Result<()> {
        for Partition { table, rest, .. } in &self.partitions {
            let mut seen = |hash: KeyHash, key: &dyn Fn() -> Result<Vec<u8>>, state: &S| -> Result<()> {
                if let Some(state) = self.seen(state)? {
                    visit(hash, key()?, state);
                }
                Ok(())
            };
            match rest {
                Some(rest) => rest.scan_with(table, &mut |hash, key, state| seen(hash, &|| Ok(key.to_vec()), state))?,
                None => {
                    let mut outcome = Ok(());
                    table.for_each_in_order(|key, hash, state| {
                        outcome = seen(hash, &|| encoded::<K, _>(|| encode(key)), state);
                        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                    });
                    outcome?;
                }
            }
        }
        Ok(())
    }
}

impl<K, S> Tables<K, S> {
    /// What a query sees of a state, encoded.
    fn seen(&self, state: &S) -> Result<Option<Vec<u8>>> {
        encoded::<S, _>(|| (self.view)(state).transpose())
    }
}

/// Encodes for a query: what the code of the type `T` does then concerns only whoever asks.
fn encoded<T, E>(encode: impl FnOnce() -> Result<E, EncodeError>) -> Result<E> {
    let name = std::any::type_name::<T>();
    let failed = |error| Error::new(ErrorKind::UserCode, format!("a value of {name} cannot be encoded: {error}"));
    user_code::call(format_args!("the encoding of {name}"), encode)?.map_err(failed)
}
