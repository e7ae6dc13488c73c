//! One file a verb: its arguments, its report, and what it does.

pub(super) mod batches;
pub(super) mod du;
pub(super) mod log;
pub(super) mod completions;
pub(super) mod diff;
pub(super) mod explain;
pub(super) mod export;
pub(super) mod get;
pub(super) mod history;
pub(super) mod man;
pub(super) mod operators;
pub(super) mod plan;
pub(super) mod scan;
pub(super) mod status;
pub(super) mod tail;
pub(super) mod verify;
pub(super) mod wal;
pub(super) mod watch;
pub(super) mod compat;
pub(super) mod gc;
pub(super) mod import;
pub(super) mod pin;
pub(super) mod rollback;
pub(super) mod unpin;
