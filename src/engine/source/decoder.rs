//! What makes records of the frames of a stream of bytes, on the workers.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::source::error::SourceError;
use crate::source::failures::Failures;
use crate::source::framing::Framing;
use crate::source::task::{ReadSummary, TaskBytes, TaskReader, Undecoded, unexpected};
use floodmark_base::bytes::Bytes;
use floodmark_base::codec::{self, Record};
use floodmark_base::error::{Error, ErrorKind, Result};
use floodmark_store::recovery::descriptor::StoredType;

/// Why a frame is no record; it is shown to whoever operates the job.
///
/// ```
/// fn decode(frame: &[u8]) -> Result<u64, floodmark::DecodeFailure> {
///     Ok(u64::from_be_bytes(frame.try_into()?))
/// }
/// assert!(decode(b"short").is_err());
/// ```
pub type DecodeFailure = Box<dyn std::error::Error + Send + Sync>;

/// Cuts a stream of bytes into records: says how they follow one another, and what each of them is. Spark: the `converter` of
/// `socketStream`.
///
/// The bytes are logged as they came, in blocks of whole frames; decoding runs on the workers, once for every time that a
/// block is computed, also when it is recomputed after a crash. So both methods must depend on nothing but the bytes. Mostly
/// [`Framing::decode_with`] is enough to make one.
///
/// ```
/// use floodmark::{Bytes, DecodeFailure, Decoder, Framing};
///
/// /// Temperatures: a sensor's number and tenths of a degree, in frames of six bytes.
/// struct Readings;
///
/// impl Decoder for Readings {
///     type Item = (u32, i16);
///
///     fn framing(&self) -> Framing {
///         Framing::fixed(6)
///     }
///
///     fn decode(&self, frame: Bytes) -> Result<(u32, i16), DecodeFailure> {
///         let (sensor, tenths) = frame.split_at(4);
///         Ok((u32::from_be_bytes(sensor.try_into()?), i16::from_be_bytes(tenths.try_into()?)))
///     }
/// }
/// # assert_eq!(Readings.decode(b"\0\0\0\x07\0\xd7".as_slice().into()).unwrap(), (7, 215));
/// ```
pub trait Decoder: Send + Sync + 'static {
    /// The records of the stream.
    type Item: Record;

    /// How frames follow one another; asked once, when the source is declared.
    fn framing(&self) -> Framing;

    /// What the bytes of a frame are, as text. Blocks in the log keep it: a start is refused where frames that wait, or have to be
    /// decoded again, were of another type. Give another text whenever the decoder cannot decode older frames any more.
    fn frame_type(&self) -> String {
        String::new()
    }

    /// The record that a frame is.
    ///
    /// # Errors
    /// Why it is none: the frame is counted (`Status::failed_records`) and skipped, the first of a block is reported with the
    /// reason, and the frames around it are taken.
    ///
    /// # Panics
    /// A panic fails the attempt at the batch, as one in any other function of the job. With
    /// [`dead_letters`](crate::StreamingContextBuilder::dead_letters) the frame is set aside after the last attempt.
    fn decode(&self, frame: Bytes) -> Result<Self::Item, DecodeFailure>;
}

/// A framing and a function; see [`Framing::decode_with`].
pub(crate) struct DecodeWith<T, F> {
    framing: Framing,
    decode: F,
    item: PhantomData<fn() -> T>,
}

impl<T, F> DecodeWith<T, F> {
    pub fn new(framing: Framing, decode: F) -> Self {
        Self { framing, decode, item: PhantomData }
    }
}

impl<T: Record, F: Fn(Bytes) -> Result<T, DecodeFailure> + Send + Sync + 'static> Decoder for DecodeWith<T, F> {
    type Item = T;

    fn framing(&self) -> Framing {
        self.framing.clone()
    }

    fn decode(&self, frame: Bytes) -> Result<T, DecodeFailure> {
        (self.decode)(frame)
    }
}

/// Records as `raw_socket_stream` takes them: each is a frame behind its length (4 bytes, big-endian), and its encoding is that
/// of everything Floodmark stores: bincode 2, standard configuration.
///
/// [`append`](Self::append) is the sender's side. As a [`Decoder`] for `socket_stream` it takes records of up to 1 MiB.
///
/// ```
/// use floodmark::RawRecords;
///
/// let mut bytes = Vec::new();
/// RawRecords::append(&("apples".to_string(), 3_u64), &mut bytes)?;
/// assert_eq!(bytes, b"\0\0\0\x08\x06apples\x03");
/// # Ok::<(), floodmark::Error>(())
/// ```
pub struct RawRecords<T>(PhantomData<fn() -> T>);

impl<T> Default for RawRecords<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for RawRecords<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawRecords").field(&std::any::type_name::<T>()).finish()
    }
}

impl<T: Record> RawRecords<T> {
    /// Appends a record to `bytes` as a sender must send it.
    ///
    /// # Errors
    /// `Configuration` when the record's own serde code fails, or its encoding has 4 GiB or more; `bytes` are as they were then.
    pub fn append(record: &T, bytes: &mut Vec<u8>) -> Result<()> {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        let encoded = codec::encode_into(record, bytes).map_err(|error| error.to_string()).and_then(|()| {
            let length = bytes.len() - start - 4;
            u32::try_from(length).map_err(|_| format!("its encoding has {length} bytes, the limit is {}", u32::MAX))
        });
        match encoded {
            Ok(length) => {
                bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            Err(cause) => {
                bytes.truncate(start);
                let what = format!("a record of type {} cannot be framed", std::any::type_name::<T>());
                Err(Error::caused_by(ErrorKind::Configuration, what, cause))
            }
        }
    }
}

impl<T: Record> Decoder for RawRecords<T> {
    type Item = T;

    /// The text of `T`, as checkpoints write types.
    fn frame_type(&self) -> String {
        StoredType::of::<T>().text().to_string()
    }

    fn framing(&self) -> Framing {
        Framing::length_prefixed()
    }

    fn decode(&self, frame: Bytes) -> Result<T, DecodeFailure> {
        codec::decode(&frame).map_err(|error| format!("not a {}: {error}", std::any::type_name::<T>()).into())
    }
}

/// Reads the blocks of a source of frames.
pub(crate) struct FramesReader<D> {
    decoder: D,
    framing: Framing,
    /// What its blocks are called in reports.
    whence: String,
}

impl<D: Decoder> FramesReader<D> {
    pub fn new(uid: &str, decoder: D) -> Self {
        Self { framing: decoder.framing(), decoder, whence: format!("a block of source \"{uid}\"") }
    }
}

impl<D: Decoder> FramesReader<D> {
    /// Hands every frame that is not too long to `decode`, which says why it is no record.
    fn for_each(
        &self,
        bytes: TaskBytes<'_>,
        mut decode: impl FnMut(Bytes) -> std::result::Result<(), DecodeFailure>,
    ) -> std::result::Result<ReadSummary, SourceError> {
        let TaskBytes::Block(block) = bytes else {
            return Err(unexpected(&self.whence));
        };
        let (mut failures, mut records) = (Failures::new(&self.whence, self.framing.noun()), 0);
        let whole = self.framing.for_each(&block, |frame| {
            if frame.len() > self.framing.limit() {
                failures.too_long(frame.start, frame.len(), self.framing.limit());
                return;
            }
            let start = frame.start;
            match decode(Bytes::from_view(block.slice(frame))) {
                Ok(()) => records += 1,
                Err(error) => failures.undecodable(start, &*error),
            }
        });
        failures.report();
        let failed = failures.count();
        match whole {
            Ok(()) => Ok(ReadSummary { records, failed }),
            Err(cause) => Err(SourceError::Decode { what: self.whence.clone(), cause }),
        }
    }
}

impl<D: Decoder> TaskReader<D::Item> for FramesReader<D> {
    fn read(
        &self,
        bytes: TaskBytes<'_>,
        emit: &mut dyn FnMut(D::Item),
    ) -> std::result::Result<ReadSummary, SourceError> {
        self.for_each(bytes, |frame| self.decoder.decode(frame).map(&mut *emit))
    }

    fn read_each(
        &self,
        bytes: TaskBytes<'_>,
        emit: &mut dyn FnMut(std::result::Result<D::Item, Undecoded>),
    ) -> std::result::Result<ReadSummary, SourceError> {
        self.for_each(bytes, |frame| {
            // Caught here, where it is known that the next frame can be read all the same.
            match catch_unwind(AssertUnwindSafe(|| self.decoder.decode(frame.clone()))) {
                Ok(decoded) => emit(Ok(decoded?)),
                Err(panic) => emit(Err(Undecoded { frame, panic })),
            }
            Ok(())
        })
    }
}
