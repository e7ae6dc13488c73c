//! Tests of chain and writer.
