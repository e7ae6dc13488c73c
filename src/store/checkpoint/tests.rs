//! The chain and the writer against a real directory, with a crash at every durable step.

mod chain;
mod fixture;
mod kit;
mod writer;
