//! One file a verb: its arguments, its report, and what it does.

pub(super) mod plan;
pub(super) mod status;
pub(super) mod watch;
