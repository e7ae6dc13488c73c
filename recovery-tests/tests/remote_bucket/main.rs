//! The bucket alone: its protocol on every kind of store, and what only a wire can do.

mod ambiguous;
mod kit;
mod moving;
mod probing;
mod racing;
mod stub;
mod wire;
