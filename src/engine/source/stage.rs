//! The first stage of a dataflow: reads a task and hands its records on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::dataflow::blame;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{RunTask, Source, WorkerContext};
use crate::dataflow::push::{Downstream, Unit};
use crate::dataflow::task::{Before, BlockPayload, BlockReader, SourceFailure, Task, TaskPayload, TaskReport};
use crate::source::{ReadSummary, SourceError, TaskBytes, TaskReader, Undecoded};
use floodmark_base::codec::{Record, encode_loosely};
use floodmark_base::error::{Error, ErrorKind};
use floodmark_base::id::Uid;
use floodmark_base::user_code;
use floodmark_store::recovery::descriptor::SourceDescriptor;

/// A source as a node of the graph.
pub(crate) struct SourceNode<T> {
    pub descriptor: SourceDescriptor,
    pub reader: Arc<dyn TaskReader<T>>,
}

impl<T: Record> Source for SourceNode<T> {
    fn descriptor(&self) -> &SourceDescriptor {
        &self.descriptor
    }

    fn stage(&self, context: &WorkerContext, downstream: Downstream) -> Box<dyn RunTask> {
        let emit = Emit::new(context.name.clone(), downstream.into_typed::<T>());
        Box::new(Stage {
            name: context.name.clone(),
            uid: self.descriptor.uid.clone(),
            reader: self.reader.clone(),
            blocks: context.blocks.clone(),
            emit,
        })
    }

    fn record(&self, payload: &TaskPayload, record: u64, blocks: &BlockReader) -> Result<Vec<u8>, Error> {
        let (mut at, mut found) = (0, Vec::new());
        let whose = format!("the reader of source \"{}\"", self.descriptor.uid);
        let read = user_code::call(whose, || {
            read_each(
                &self.descriptor.uid,
                &*self.reader,
                payload,
                &Before::Restored,
                blocks,
                &mut |candidate: Result<T, Undecoded>| {
                    if at == record {
                        found = match candidate {
                            Ok(candidate) => encode_loosely(&candidate).unwrap_or_default(),
                            Err(Undecoded { frame, .. }) => frame.to_vec(),
                        };
                    }
                    at += 1;
                },
            )
        });
        match read {
            Ok(read) => read.map(drop)?,
            // It may be the very record that is asked for.
            Err(error) => tracing::warn!(%error, record, "what follows in the task is not read"),
        }
        Ok(found)
    }
}

struct Stage<T> {
    name: Arc<str>,
    uid: Uid,
    reader: Arc<dyn TaskReader<T>>,
    blocks: BlockReader,
    emit: Emit<T>,
}

impl<T: Record> RunTask for Stage<T> {
    fn run(&mut self, task: &Task, unit: &Unit) -> Result<TaskReport, SourceFailure> {
        self.emit.begin(unit);
        blame::enter(&self.name);
        let summary = if task.filter.takes_all() {
            let emit = &mut self.emit;
            read(&self.uid, &*self.reader, &task.payload, &task.before, &self.blocks, &mut |record| emit.emit(record))
        } else {
            self.run_filtered(task)
        };
        let (ReadSummary { records, failed }, receipt) = summary.map_err(SourceFailure)?;
        self.emit.end();
        Ok(TaskReport { records, failed, receipt })
    }
}

impl<T: Record> Stage<T> {
    /// Reads a task of which some records take no part. What the user's code does with those is no failure.
    fn run_filtered(&mut self, task: &Task) -> Result<Read, Error> {
        let (emit, filter, mut at) = (&mut self.emit, &task.filter, 0);
        let read = catch_unwind(AssertUnwindSafe(|| {
            read_each(&self.uid, &*self.reader, &task.payload, &task.before, &self.blocks, &mut |record| {
                match record {
                    Ok(record) if filter.takes(at) => emit.emit(record),
                    Err(Undecoded { panic, .. }) if filter.takes(at) => resume_unwind(panic),
                    Ok(_) | Err(_) => {}
                }
                at += 1;
            })
        }));
        match read {
            Ok(read) => read,
            // All records that take part were taken; those that the reader meant to read next are not.
            Err(_) if filter.first.is_some_and(|first| at >= first) => {
                Ok((ReadSummary { records: at, failed: 0 }, Vec::new()))
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// What reading a task gave, and the receipt of a range.
type Read = (ReadSummary, Vec<u8>);

/// Hands every record of a task to `emit`.
fn read<T>(
    uid: &Uid,
    reader: &dyn TaskReader<T>,
    payload: &TaskPayload,
    before: &Before,
    blocks: &BlockReader,
    emit: &mut dyn FnMut(T),
) -> Result<Read, Error> {
    match payload {
        TaskPayload::Range(range) => reader.read_range(range, before, emit).map_err(|error| unread(uid, error)),
        TaskPayload::Blocks(payloads) => {
            let summary = each_block(uid, payloads, blocks, |bytes| reader.read(bytes, emit))?;
            Ok((summary, Vec::new()))
        }
    }
}

/// As [`read`], by [`TaskReader::read_each`].
fn read_each<T>(
    uid: &Uid,
    reader: &dyn TaskReader<T>,
    payload: &TaskPayload,
    before: &Before,
    blocks: &BlockReader,
    emit: &mut dyn FnMut(Result<T, Undecoded>),
) -> Result<Read, Error> {
    match payload {
        TaskPayload::Range(range) => {
            reader.read_range(range, before, &mut |record| emit(Ok(record))).map_err(|error| unread(uid, error))
        }
        TaskPayload::Blocks(payloads) => {
            let summary = each_block(uid, payloads, blocks, |bytes| reader.read_each(bytes, emit))?;
            Ok((summary, Vec::new()))
        }
    }
}

/// Hands `read` the blocks of a task, one after the other; adds up what it gave.
fn each_block(
    uid: &Uid,
    payloads: &[BlockPayload],
    blocks: &BlockReader,
    mut read: impl FnMut(TaskBytes<'_>) -> Result<ReadSummary, SourceError>,
) -> Result<ReadSummary, Error> {
    let mut summary = ReadSummary::default();
    blocks.read(payloads, &mut |block| {
        summary += read(TaskBytes::Block(block)).map_err(|error| unread(uid, error))?;
        Ok(())
    })?;
    Ok(summary)
}

fn unread(uid: &Uid, error: SourceError) -> Error {
    let what = format!("input of source \"{uid}\" cannot be read as it was planned");
    // A range is decoded by code of the user.
    let kind = if error.is_panic() { ErrorKind::UserCode } else { ErrorKind::Environment };
    Error::caused_by(kind, what, error)
}
