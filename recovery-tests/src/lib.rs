//! Recovery tests of Floodmark.
