//! Receivers: sources that push, whose data exists nowhere else once it is taken.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::block::StoreError;
use crate::codec::Record;
use crate::id::{Position, Uid};
use crate::source::records::RecordBlock;
use crate::source::store::BlockStore;
use crate::types::{as_logged, check_record};

/// What ended a receiver; it is reported, and the receiver is started again after the restart delay.
///
/// ```
/// fn fails() -> Result<(), floodmark::ReceiverError> {
///     "many".parse::<u64>()?;
///     Err("there is nothing to receive".into())
/// }
/// assert!(fails().is_err());
/// ```
pub type ReceiverError = Box<dyn std::error::Error + Send + Sync>;

/// A custom push source.
///
/// What a crash may cost depends on how it stores. With [`store`](ReceiverContext::store), what was not yet logged is lost;
/// what was logged counts exactly once. With [`store_block`](ReceiverContext::store_block), nothing that was acknowledged is
/// lost; what the sender sends again is counted again. With [`store_block_at`](ReceiverContext::store_block_at) it is
/// recognized by its position and dropped.
///
/// ```
/// use floodmark::{Position, Receiver, ReceiverContext, ReceiverError};
///
/// struct Ticks(u64);
///
/// impl Receiver for Ticks {
///     type Item = u64;
///
///     async fn on_start(&mut self, context: ReceiverContext<u64>) -> Result<(), ReceiverError> {
///         let Position(next) = context.stored_position().unwrap_or_default();
///         for tick in next..self.0 {
///             context.store_block_at(Position(tick + 1), vec![tick]).await?;
///             // Durable: here the sender would get its acknowledgement.
///         }
///         Ok(())
///     }
/// }
/// # let _ticks = Ticks(3);
/// ```
pub trait Receiver: Send + 'static {
    /// The records of the stream.
    type Item: Record;

    /// Receives, on tokio, until the source has ended (`Ok`) or failed (`Err`: reported, and started again after the
    /// restart delay). A panic counts as a failure.
    ///
    /// Each receiver has a thread of its own, so one that blocks it holds up its own tasks only. The future is dropped when
    /// the receiver is to restart, and at a graceful stop when it has not ended by itself within the
    /// [grace period](crate::StreamingContextBuilder::stop_grace) after [`stopped`](ReceiverContext::stopped). A receiver that
    /// blocks its thread longer than that is left behind: the job stops without it. When the job has stopped receiving, whatever
    /// still has a context (a task that was spawned, a thread) gets [`StoreError::Stopped`].
    fn on_start(
        &mut self,
        context: ReceiverContext<Self::Item>,
    ) -> impl Future<Output = Result<(), ReceiverError>> + Send;

    /// Called after every end of [`on_start`](Self::on_start), however it came. A panic is reported, and has no other effect.
    fn on_stop(&mut self) {}

    /// Whether `on_start` is called again, after the restart delay, when the source has ended: for sources that may come
    /// back. Until it stores something again, the source counts as ended. A panic is reported, and counts as `true`.
    fn restarts_at_end(&self) -> bool {
        false
    }
}

/// What a receiver has of the job. Clones are handles to the same.
///
/// See [`Receiver`] for an example.
pub struct ReceiverContext<T> {
    store: Arc<BlockStore>,
    buffer: Arc<Mutex<RecordBlock>>,
    /// Samples of the type do not show everything: each record is checked.
    checks_each: bool,
    item: PhantomData<fn(T)>,
}

impl<T> Clone for ReceiverContext<T> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            buffer: Arc::clone(&self.buffer),
            checks_each: self.checks_each,
            item: PhantomData,
        }
    }
}

impl<T> fmt::Debug for ReceiverContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverContext").field("source", self.store.uid()).finish_non_exhaustive()
    }
}

impl<T: Record> ReceiverContext<T> {
    pub(crate) fn new(store: Arc<BlockStore>) -> Self {
        Self { store, buffer: Arc::default(), checks_each: as_logged::<T>().is_uncertain, item: PhantomData }
    }

    pub(crate) fn block_store(&self) -> &Arc<BlockStore> {
        &self.store
    }

    fn buffer(&self) -> MutexGuard<'_, RecordBlock> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record to the block in the making, which is logged when the block interval is over or when it is full. This is
    /// not an acknowledgement: a crash may lose the record. Waits while the job takes no more (backpressure, rate).
    ///
    /// # Errors
    /// When the record's serde code fails, the log has failed, or the job has stopped.
    ///
    /// ```
    /// # use floodmark::{ReceiverContext, StoreError};
    /// async fn receive(context: &ReceiverContext<u64>) -> Result<(), StoreError> {
    ///     context.store(42).await
    /// }
    /// ```
    pub async fn store(&self, record: T) -> Result<(), StoreError> {
        self.store.admit(1).await?;
        let bytes = {
            let mut buffer = self.buffer();
            // Under the buffer's lock: what is in the buffer when the job stops receiving is handed in, and nothing comes after.
            self.store.check_open()?;
            self.push(&record, &mut buffer)?;
            buffer.bytes()
        };
        if bytes >= self.store.settings().block_bytes {
            self.cut().await?;
        }
        Ok(())
    }

    /// Makes a block of these records and waits until it is durable: then the source may be acknowledged.
    ///
    /// # Errors
    /// When a record's serde code fails, the records are too many for a block, the log has failed, or the job has stopped.
    /// Nothing is stored then, or it is not known to be: do not acknowledge.
    ///
    /// ```
    /// # use floodmark::{ReceiverContext, StoreError};
    /// async fn receive(context: &ReceiverContext<u64>) -> Result<(), StoreError> {
    ///     context.store_block(vec![1, 2, 3]).await
    ///     // acknowledge here
    /// }
    /// ```
    pub async fn store_block(&self, records: Vec<T>) -> Result<(), StoreError> {
        if records.is_empty() { Ok(()) } else { self.store_records(None, &records).await }
    }

    /// As [`store_block`](Self::store_block), with the source's own position after these records: everything before it has
    /// been taken. If that much is already stored, also before a restart, the records are dropped and acknowledged.
    /// A block is taken or dropped whole: what is sent again must be cut as it was, or begin at
    /// [`stored_position`](Self::stored_position).
    ///
    /// # Errors
    /// As [`store_block`](Self::store_block).
    ///
    /// ```
    /// # use floodmark::{Position, ReceiverContext, StoreError};
    /// async fn receive(context: &ReceiverContext<u64>, offset: u64) -> Result<(), StoreError> {
    ///     context.store_block_at(Position(offset + 3), vec![1, 2, 3]).await
    /// }
    /// ```
    pub async fn store_block_at(&self, position: Position, records: Vec<T>) -> Result<(), StoreError> {
        self.store_records(Some(position), &records).await
    }

    async fn store_records(&self, position: Option<Position>, records: &[T]) -> Result<(), StoreError> {
        self.store.admit(records.len() as u64).await?;
        let mut block = RecordBlock::default();
        for record in records {
            self.push(record, &mut block)?;
        }
        // What was buffered before came before.
        self.cut().await?;
        let (bytes, records) = (block.bytes(), block.records());
        let logged = self.store.hand_in(bytes, || Some((position, records, block.finish()))).await?;
        match logged {
            Some(logged) => logged.durable().await,
            None => Ok(()),
        }
    }

    /// Hands in the buffered records as a block, without waiting for the log.
    pub(crate) async fn cut(&self) -> Result<(), StoreError> {
        if self.buffer().records() == 0 {
            return Ok(());
        }
        let bytes = self.buffer().bytes();
        // The records leave the buffer only when there is room: if this future is dropped before, they stay.
        let take = || {
            let mut buffer = self.buffer();
            let records = buffer.records();
            (records > 0).then(|| (None, records, buffer.finish()))
        };
        self.store.hand_in(bytes, take).await.map(drop)
    }

    /// How far this source's blocks are durable, as given to [`store_block_at`](Self::store_block_at), also before a
    /// restart: receiving goes on from here.
    ///
    /// ```
    /// # use floodmark::{Position, ReceiverContext};
    /// fn begin(context: &ReceiverContext<u64>) -> u64 {
    ///     context.stored_position().map_or(0, |Position(offset)| offset)
    /// }
    /// ```
    #[must_use]
    pub fn stored_position(&self) -> Option<Position> {
        self.store.position()
    }

    /// Reports an error that does not end the receiver; it is logged, counted and shown in the job's status.
    ///
    /// ```
    /// # use floodmark::ReceiverContext;
    /// fn complain(context: &ReceiverContext<u64>) {
    ///     context.report_error("a message had no body");
    /// }
    /// ```
    pub fn report_error(&self, error: impl fmt::Display) {
        self.store.report_error(error);
    }

    /// Has this receiver stopped and started again after `after`; returns at once.
    ///
    /// ```
    /// # use floodmark::ReceiverContext;
    /// fn begin_again(context: &ReceiverContext<u64>) {
    ///     context.restart(std::time::Duration::from_secs(1));
    /// }
    /// ```
    pub fn restart(&self, after: Duration) {
        self.store.request_restart(after);
    }

    /// Whether the job is about to stop: receive no more, store what was received, and return.
    ///
    /// ```
    /// # use floodmark::ReceiverContext;
    /// fn goes_on(context: &ReceiverContext<u64>) -> bool {
    ///     !context.is_stopping()
    /// }
    /// ```
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.store.is_stopping()
    }

    /// Waits until the job is about to stop; for `tokio::select!`.
    ///
    /// ```
    /// # use floodmark::ReceiverContext;
    /// async fn until_the_end(context: &ReceiverContext<u64>) {
    ///     context.stopped().await;
    /// }
    /// ```
    pub async fn stopped(&self) {
        self.store.stopped().await;
    }

    /// The source's uid.
    #[must_use]
    pub fn uid(&self) -> &Uid {
        self.store.uid()
    }

    /// Adds a record to a block, if it can be read again.
    fn push(&self, record: &T, block: &mut RecordBlock) -> Result<(), StoreError> {
        let named = |cause: String| format!("{}: {cause}", std::any::type_name::<T>());
        let checked = if self.checks_each { check_record(record) } else { Ok(()) };
        let pushed = checked.and_then(|()| block.push(record).map_err(named));
        pushed.map_err(|cause| StoreError::Encode { source_uid: self.store.uid().to_string(), cause })
    }
}
