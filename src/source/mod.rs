//! Where records come from: receivers, whose blocks are logged before they count, and direct sources, which are read again.

mod limiter;
mod rate;
