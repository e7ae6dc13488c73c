//! The verbs that read state: `operators`, `get`, `scan`, `history`, `diff`, `export`; and the shapes by which they read it.

mod damaged;
mod healthy;
mod live;
mod shapes;
mod words;
