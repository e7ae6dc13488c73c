//! The program that is killed: a job with every kind of source, state and output, on a real directory.
//!
//! It reads blocks of a reliable receiver, with positions, and files that it moves into a directory; it keeps totals by
//! `update_state_by_key`, sessions that time out by `map_with_state`, windows with and without an inverse, joins two streams, and
//! publishes through two file sinks (`job.rs`). What it reads is a function of a number ([`data`]), so whoever watches it can tell
//! what must come out.
//!
//! It runs at one of two paces ([`Pace`]). In real time, blocks and files come when they come, and ticks merge where the disk is
//! slow. In lockstep, batch *n* is block *n* and file *n*, at a time that is known, so two runs have the same bytes.
//!
//! It tells what it does, a line a [`Word`], and stops for ever at a [`Point`] that it is given: there its parent kills it.
//!
//! `victim --place DIR [--pace real|lockstep] [--workers N] [--seed N] [--resend-from N] [--batches N | --blocks N --files N]
//! [--stop-after MS] [--stop-at POINT] [--planted BUG] [--dump FILE]`

pub mod data;
mod disk;
mod job;
mod options;
mod place;
mod point;
mod run;
mod source;
mod word;

pub use options::{Options, Pace, Planted, Until};
pub use place::Place;
pub use point::{Moment, Point, Stage};
pub use run::{OWNED, main};
pub use word::Word;
