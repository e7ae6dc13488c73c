//! The bucket alone: its protocol on every kind of store, and what only a wire can do.

mod kit;
mod racing;
