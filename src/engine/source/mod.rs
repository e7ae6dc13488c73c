//! Where records come from: receivers, whose blocks are logged before they count, and direct sources, which are read again.

mod appender;
mod binary_files;
mod buffers;
mod byte_order;
mod calls;
mod compression;
mod counters;
mod decoder;
mod direct;
mod directory;
mod error;
mod failures;
mod file_checks;
mod file_name;
mod file_pieces;
mod file_range;
mod files;
mod files_in_use;
mod files_position;
mod files_status;
mod frame_buffer;
mod framing;
mod life;
mod known_files;
mod limiter;
mod lines;
mod memory;
mod open_file;
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
mod tcp;
mod text_files;
mod text_range;
mod text_stream;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod binary_files_tests;
#[cfg(test)]
mod framing_tests;
#[cfg(test)]
mod given_up_files_tests;
#[cfg(test)]
mod held_record_tests;
#[cfg(test)]
mod odd_files_tests;
#[cfg(test)]
mod released_files_tests;
#[cfg(test)]
mod remembered_files_tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod supervisor_tests;
#[cfg(test)]
mod text_files_tests;
#[cfg(test)]
mod until;

pub use binary_files::BinaryFiles;
pub use counters::SourceCounts;
pub use decoder::{DecodeFailure, Decoder, RawRecords};
pub use direct::{DirectSource, OfferLimits, RangeReader};
pub use error::SourceError;
pub use file_range::{FileRange, FileStamp};
pub use files::Files;
pub use files_position::FilesPosition;
pub use files_status::FilesStatus;
pub use framing::Framing;
pub use queue::{Pushed, Queue};
pub use receiver::{Receiver, ReceiverContext, ReceiverError};
pub use reference::ReferenceLoader;
pub use reference_file::ReferenceFile;
pub use supervisor::{ReceiverState, ReceiverStatus};
pub use task::ReadSummary;
pub use text_files::TextFiles;

pub(crate) use binary_files::MAX_RECORD_LENGTH;
pub(crate) use decoder::FramesReader;
pub(crate) use direct::{Direct, ErasedDirect};
pub(crate) use framing::MAX_FRAME_BYTES;
pub(crate) use lines::LinesReader;
pub(crate) use memory::MemoryChange;
#[cfg(any(test, feature = "testing"))]
pub(crate) use queue::QueueReceiver;
pub(crate) use rate::{BatchSample, PidRateEstimator, PidSettings};
#[cfg(feature = "testing")]
pub(crate) use records::RecordBlock;
pub(crate) use records::RecordsReader;
#[cfg(any(test, feature = "testing"))]
pub(crate) use records::read_records;
pub(crate) use reference::{Joins, ReferenceInput, ReferenceReader};
pub(crate) use settings::ReceiverSettings;
pub(crate) use socket::SocketFrames;
pub(crate) use stage::SourceNode;
pub(crate) use supervisor::{ReceiverSource, Supervisor};
pub(crate) use task::{TaskBytes, TaskReader, Undecoded};
#[cfg(test)]
pub(crate) use tcp::TcpSettings;
pub(crate) use tcp::address_problem;
