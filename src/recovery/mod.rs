//! Recovery: its own visible story. `observe` reads facts, `decide` is a pure function from facts to a decision, the report
//! tells it, and the driver applies it and goes on.

pub(crate) mod decide;
pub(crate) mod declared;
pub(crate) mod descriptor;
pub(crate) mod facts;
#[cfg(any(feature = "testing", feature = "cli"))]
pub(crate) mod look;
pub(crate) mod loss;
pub(crate) mod refusal;
pub(crate) mod report;
#[cfg(any(feature = "cli", feature = "testing"))]
pub(crate) mod rollback;
pub(crate) mod schema;
pub(crate) mod sources;
#[cfg(test)]
mod tests;
