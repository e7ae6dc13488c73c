//! Suites that try a sink, a direct source or a receiver against its contract, rule by rule.

mod rules;
pub mod sink;
pub mod source;
