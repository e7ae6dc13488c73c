//! Where records come from: receivers, whose blocks are logged before they count, and direct sources, which are read again.

mod buffers;
mod direct;
mod error;
mod limiter;
mod line_buffer;
mod lines;
mod queue;
mod rate;
mod receiver;
mod records;
mod reference;
mod reference_file;
mod settings;
mod stage;
mod socket;
mod store;
mod supervisor;
mod task;
mod text_files;
mod text_range;

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // tests start threads of their own
mod tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod text_files_tests;

pub use direct::{DirectSource, OfferLimits, RangeReader};
pub use error::SourceError;
pub use queue::{Pushed, Queue};
pub use receiver::{Receiver, ReceiverContext, ReceiverError};
pub use reference::ReferenceLoader;
pub use reference_file::ReferenceFile;
pub use store::SourceCounts;
pub use supervisor::{ReceiverState, ReceiverStatus};
pub use task::ReadSummary;
pub use text_files::{TextFiles, TextFilesPosition};
pub use text_range::{FileStamp, TextRange};

pub(crate) use direct::{Direct, ErasedDirect};
pub(crate) use lines::{LinesReader, MAX_LINE_BYTES};
pub(crate) use rate::{BatchSample, PidRateEstimator, PidSettings};
pub(crate) use records::RecordsReader;
pub(crate) use reference::{Joins, ReferenceInput, ReferenceReader};
pub(crate) use settings::ReceiverSettings;
pub(crate) use socket::SocketLines;
pub(crate) use stage::SourceNode;
pub(crate) use supervisor::{ReceiverSource, Supervisor};
pub(crate) use task::{TaskBytes, TaskPayload, TaskReader};
