//! The dataflow: the declared graph, and how timely runs it.
//!
//! `graph` is what the user declared; `lower` turns it into a timely dataflow of stages; inside a stage records go through
//! `push` in short runs, between stages in `chunk`s; `worker` is the loop of one thread, `engine` the driver's handle on all.

pub(crate) mod blame;
pub(crate) mod chunk;
pub(crate) mod combine;
pub(crate) mod emit;
pub(crate) mod engine;
pub(crate) mod freezing;
pub(crate) mod graph;
pub(crate) mod lower;
pub(crate) mod push;
pub(crate) mod report;
pub(crate) mod shuffle;
pub(crate) mod tables;
pub(crate) mod task;
pub(crate) mod worker;
