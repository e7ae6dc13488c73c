//! The job as the program holds it: its context before the start, the handle on it while it runs, questions to its state, and
//! replays of its past.

pub(crate) mod context;
pub(crate) mod query;
pub(crate) mod remembered;
pub(crate) mod replay;
pub(crate) mod running;
