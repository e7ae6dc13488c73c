//! Jobs in object storage: what a lost machine, a lost answer and a second driver may cost, which is nothing that was acknowledged.

mod driver;
mod fallback;
mod figures;
mod kit;
mod known;
mod local;
mod loss;
mod restart;
mod s3;
mod version_1;
mod words;
