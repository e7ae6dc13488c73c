//! Recovery: its own visible story. `observe` reads facts, `decide` is a pure function from facts to a decision, the report
//! tells it, and the driver applies it and goes on.

pub mod decide;
pub mod declared;
pub mod descriptor;
pub mod facts;
pub mod look;
pub mod loss;
pub mod refusal;
pub mod report;
pub mod rollback;
pub mod schema;
pub mod sources;
#[cfg(test)]
mod tests;
