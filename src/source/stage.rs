//! The first stage of a dataflow: reads a task and hands its records on.

use std::sync::Arc;

use byteview::ByteView;

use crate::codec::{Record, encode_loosely};
use crate::dataflow::blame;
use crate::dataflow::emit::Emit;
use crate::dataflow::graph::{RunTask, Source, WorkerContext};
use crate::dataflow::push::{Downstream, Unit};
use crate::dataflow::task::{BlockReader, SourceFailure, Task, TaskReport};
use crate::error::{Error, ErrorKind};
use crate::id::Uid;
use crate::source::{ReadSummary, SourceError, TaskBytes, TaskPayload, TaskReader};

/// A source as a node of the graph.
pub(crate) struct SourceNode<T> {
    pub uid: Uid,
    pub reader: Arc<dyn TaskReader<T>>,
}

impl<T: Record> Source for SourceNode<T> {
    fn uid(&self) -> &Uid {
        &self.uid
    }

    fn stage(&self, context: &WorkerContext, downstream: Downstream) -> Box<dyn RunTask> {
        let emit = Emit::new(context.name.clone(), downstream.into_typed::<T>());
        Box::new(Stage {
            name: context.name.clone(),
            uid: self.uid.clone(),
            reader: self.reader.clone(),
            blocks: context.blocks.clone(),
            emit,
        })
    }

    fn record(&self, payload: &TaskPayload, record: u64, blocks: &BlockReader) -> Result<Vec<u8>, Error> {
        let (mut at, mut found) = (0, Vec::new());
        read(&self.uid, &*self.reader, payload, blocks, &mut |candidate: T| {
            if at == record {
                found = encode_loosely(&candidate).expect("a record encodes");
            }
            at += 1;
        })?;
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
        blame::enter(&self.name);
        self.emit.begin(unit);
        let (emit, filter) = (&mut self.emit, &task.filter);
        let summary = if filter.takes_all() {
            read(&self.uid, &*self.reader, &task.payload, &self.blocks, &mut |record| emit.emit(record))
        } else {
            let mut at = 0;
            read(&self.uid, &*self.reader, &task.payload, &self.blocks, &mut |record| {
                if filter.takes(at) {
                    emit.emit(record);
                }
                at += 1;
            })
        };
        let ReadSummary { records, failed } = summary.map_err(SourceFailure)?;
        self.emit.end();
        Ok(TaskReport { records, failed })
    }
}

fn read<T>(
    uid: &Uid,
    reader: &dyn TaskReader<T>,
    payload: &TaskPayload,
    blocks: &BlockReader,
    emit: &mut dyn FnMut(T),
) -> Result<ReadSummary, Error> {
    let block: ByteView;
    let bytes = match payload {
        TaskPayload::Memory(bytes) => TaskBytes::Block(bytes.clone()),
        TaskPayload::Logged(at) => {
            block = blocks.read(*at)?;
            TaskBytes::Block(block)
        }
        TaskPayload::Range(range) => TaskBytes::Range(range),
    };
    reader.read(bytes, emit).map_err(|error: SourceError| {
        Error::caused_by(
            ErrorKind::Environment,
            format!("input of source \"{uid}\" cannot be read as it was planned"),
            error,
        )
    })
}
