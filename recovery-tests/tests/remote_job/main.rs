//! Jobs in object storage: what a lost machine, a lost answer and a second driver may cost, which is nothing that was acknowledged.

mod driver;
mod figures;
mod kit;
mod loss;
mod restart;
mod s3;
mod words;
