//! One file a verb: its arguments, its report, and what it does.

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
pub(super) mod watch;
