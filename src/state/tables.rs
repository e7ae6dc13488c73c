//! The state of one operator on one worker: a table for each partition that the worker owns, and what every stateful operator
//! does alike: loading, freezing, queries, and the fingerprint of what changed.

use std::ops::ControlFlow;

use serde::Serialize;

use crate::batch::event::Digest;
use crate::codec::{Key, KeyHash, Record, decode, encode, encode_into};
use crate::dataflow::graph::WorkerContext;
use crate::error::Result;
use crate::state::spec::StateSpec;
use crate::state::{FrozenRun, StateTable};

/// The state of an operator, as the worker's loop deals with it: without its types.
pub(crate) trait OperatorState {
    /// The fingerprint of what changed since the last call.
    fn take_digest(&mut self) -> Digest;

    /// What changed since the last freeze, one sorted run per owned partition.
    fn freeze(&mut self) -> Vec<FrozenRun>;

    /// How many keys have state here.
    fn entries(&self) -> u64;

    /// The encoded state of an encoded key, as queries see it.
    fn get(&self, partition: u32, hash: KeyHash, key: &[u8]) -> Option<Vec<u8>>;

    /// Every encoded key with its encoded state, as queries see it, in order of (hash, encoded key).
    fn scan(&self, visit: &mut dyn FnMut(KeyHash, Vec<u8>, Vec<u8>));
}

/// The typed tables of one operator, by partition.
pub(crate) struct Tables<K, S> {
    partitions: Vec<(u32, StateTable<K, S>)>,
    fingerprint: Fingerprint,
    view: View<S>,
}

/// What a query sees of a state, encoded; `None` where it sees nothing.
type View<S> = fn(&S) -> Option<Vec<u8>>;

/// The fingerprint of what changed in a batch.
#[derive(Default)]
pub(crate) struct Fingerprint {
    digest: Digest,
    scratch: Vec<u8>,
}

impl Fingerprint {
    /// Takes in a change: `what` is what the key became, or what came to it.
    pub fn note<W: Serialize>(&mut self, hash: KeyHash, what: &W) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&hash.0.to_le_bytes());
        encode_into(what, &mut self.scratch).expect("a state encodes");
        self.digest.add(KeyHash::of_encoded(&self.scratch).0);
    }
}

impl<K: Key, S: Record> Tables<K, S> {
    /// Loads the tables of all partitions that the worker owns. Queries see the states as they are.
    ///
    /// # Errors
    /// When stored state cannot be read.
    pub fn load(context: &WorkerContext, spec: &StateSpec<K, S>) -> Result<Self> {
        Self::load_seen_as(context, spec, |state| Some(encode(state).expect("a state encodes")))
    }

    /// As [`load`](Self::load); queries see what `view` makes of a state.
    ///
    /// # Errors
    /// When stored state cannot be read.
    pub fn load_seen_as(context: &WorkerContext, spec: &StateSpec<K, S>, view: View<S>) -> Result<Self> {
        let partitions = context.owned().map(|partition| {
            let mut table = StateTable::new();
            context.loader.load(spec, partition, context.partitions, &mut table)?;
            Ok((partition, table))
        });
        Ok(Self { partitions: partitions.collect::<Result<_>>()?, fingerprint: Fingerprint::default(), view })
    }

    /// The table of an owned partition, and where its changes are noted.
    ///
    /// # Panics
    /// When the partition belongs to another worker: chunks are routed by ownership, so this is a bug of ours.
    pub fn of(&mut self, partition: u32) -> (&mut StateTable<K, S>, &mut Fingerprint) {
        let owned = self.partitions.iter_mut().find(|(number, _)| *number == partition);
        (&mut owned.expect("chunks arrive where their partition is owned").1, &mut self.fingerprint)
    }

    /// Every owned partition's number and table.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &StateTable<K, S>)> {
        self.partitions.iter().map(|(number, table)| (*number, table))
    }
}

impl<K: Key, S: Record> OperatorState for Tables<K, S> {
    fn take_digest(&mut self) -> Digest {
        std::mem::take(&mut self.fingerprint.digest)
    }

    fn freeze(&mut self) -> Vec<FrozenRun> {
        self.partitions.iter_mut().map(|(_, table)| table.freeze()).collect()
    }

    fn entries(&self) -> u64 {
        self.iter().map(|(_, table)| table.len() as u64).sum()
    }

    fn get(&self, partition: u32, hash: KeyHash, key: &[u8]) -> Option<Vec<u8>> {
        let (_, table) = self.iter().find(|(number, _)| *number == partition)?;
        let slot = table.slot(hash, &decode(key).ok()?)?;
        table.value(slot).and_then(self.view)
    }

    fn scan(&self, visit: &mut dyn FnMut(KeyHash, Vec<u8>, Vec<u8>)) {
        for (_, table) in self.iter() {
            table.for_each_in_order(|key, hash, state| {
                if let Some(state) = (self.view)(state) {
                    visit(hash, encode(key).expect("a key encodes"), state);
                }
                ControlFlow::Continue(())
            });
        }
    }
}
