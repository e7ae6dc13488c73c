//! What nearly every job uses, for `use floodmark::prelude::*`.
//!
//! ```
//! use floodmark::prelude::*;
//!
//! fn words(lines: &DStream<'_, Text>) {
//!     lines.flat_map(Text::split_words).count().print(1);
//! }
//! ```

pub use crate::{
    Batch, BatchId, BatchTime, Bytes, DStream, Error, ErrorKind, Key, KeyedState, Rdd, Record, Result, Running, Sink,
    State, StateSpec, StreamingContext, StreamingListener, Text, Uid,
};
