//! Outputs: what leaves the job with each committed batch.

mod collect_output;
mod foreach_rdd;
mod print;
mod save_as_object_files;
mod save_as_text_files;
mod sink;
