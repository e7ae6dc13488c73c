//! Suites for whoever writes a source: [`direct`] for direct sources, [`receiver`] for receivers.

pub mod direct;
mod direct_life;
pub mod receiver;
mod receiver_faults;
mod receiver_life;
pub mod receivers;
mod scripted_log;
