//! Receivers: sources that push, whose data exists nowhere else once it is taken.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::source::store::BlockStore;
use floodmark_base::codec::Record;
use floodmark_base::id::{Position, Uid};
use floodmark_base::types::as_logged;
use floodmark_store::block::StoreError;

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

    /// The name of this sort of receiver. Checkpoints keep it, and a start is refused where a position is stored of another kind of
    /// source under the same uid: it would mean something else. Give each sort of receiver with positions its own.
    fn kind(&self) -> String {
        "receiver_stream".to_string()
    }
}

/// What a receiver has of the job. Clones are handles to the same, and may be used by several tasks at once.
///
/// # Order
/// [`store`](Self::store), [`store_block`](Self::store_block) and [`store_block_at`](Self::store_block_at) take their place among the
/// calls of the source when they are called, not when their future is first polled, and records stand in the log in the order of
/// the calls. The futures borrow nothing: they can be joined, kept in a list, or spawned. A future that is dropped before its turn
/// gives its place up, and its records are not stored; later it makes no difference any more.
///
/// # After the stop
/// A job that stops waits for what was called for before its receivers have ended. After that every call is answered
/// [`StoreError::Stopped`]. A task that a receiver spawns is its own: end it with [`stopped`](Self::stopped), or when a call says
/// `Stopped`.
///
/// See [`Receiver`] for an example.
pub struct ReceiverContext<T> {
    store: Arc<BlockStore>,
    /// How many blocks were lost when the stored position was last asked for through this handle.
    known_losses: AtomicU64,
    /// Samples of the type do not show everything: each record is checked.
    checks_each: bool,
    item: PhantomData<fn(T)>,
}

impl<T> Clone for ReceiverContext<T> {
    fn clone(&self) -> Self {
        let known_losses = AtomicU64::new(self.known_losses.load(Ordering::Acquire));
        Self { store: Arc::clone(&self.store), known_losses, checks_each: self.checks_each, item: PhantomData }
    }
}

impl<T> fmt::Debug for ReceiverContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverContext").field("source", self.store.uid()).finish_non_exhaustive()
    }
}

impl<T: Record> ReceiverContext<T> {
    /// A context that knows of everything that was lost.
    pub(crate) fn new(store: Arc<BlockStore>) -> Self {
        let (known_losses, checks_each) = (AtomicU64::new(store.losses()), as_logged::<T>().is_uncertain);
        Self { store, known_losses, checks_each, item: PhantomData }
    }

    pub(crate) fn block_store(&self) -> &Arc<BlockStore> {
        &self.store
    }

    /// Adds a record to the block in the making, which is logged when the block interval is over or when it is full. This is
    /// not an acknowledgement: a crash may lose the record. Waits while the job takes no more (backpressure, rate). Where nothing
    /// holds it up, the record is in the block when this function returns, before the future is polled.
    ///
    /// # Errors
    /// When the record's serde code fails, the record is too large for a block, the log has failed, or the job has stopped.
    ///
    /// ```
    /// # use floodmark::{ReceiverContext, StoreError};
    /// async fn receive(context: &ReceiverContext<u64>) -> Result<(), StoreError> {
    ///     context.store(42).await
    /// }
    /// ```
    pub fn store(&self, record: T) -> impl Future<Output = Result<(), StoreError>> + Send + use<T> {
        let taken = self.store.store_record(&record, self.checks_each);
        async move {
            match taken? {
                None => Ok(()),
                Some(ticket) => ticket.await,
            }
        }
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
    pub fn store_block(&self, records: Vec<T>) -> impl Future<Output = Result<(), StoreError>> + Send + use<T> {
        let placed =
            (!records.is_empty()).then(|| self.store.store_block(None, &records, self.checks_each)).transpose();
        async move {
            match placed? {
                None => Ok(()),
                Some(ticket) => ticket.await,
            }
        }
    }

    /// As [`store_block`](Self::store_block), with the source's own position after these records: everything before it has
    /// been taken. If that much is already stored, also before a restart, the records are dropped and acknowledged.
    /// A block is taken or dropped whole: what is sent again must be cut as it was, or begin at
    /// [`stored_position`](Self::stored_position).
    ///
    /// Calls may overlap, in rising order of their positions. A block is stored only if everything up to its position is: when a call
    /// with a lower position before it is dropped, refused or fails, the block is refused as well ([`StoreError::Gap`]), and so is
    /// every higher one, until the missing block is stored, or the receiver has asked for its stored position again or was started
    /// again. A position below one that is already on its way to the log is refused ([`StoreError::OutOfOrder`]), unless it is that of
    /// a block on its way, with which it is then acknowledged.
    ///
    /// # Errors
    /// As [`store_block`](Self::store_block), and as above.
    ///
    /// ```
    /// # use floodmark::{Position, ReceiverContext, StoreError};
    /// async fn receive(context: &ReceiverContext<u64>, offset: u64) -> Result<(), StoreError> {
    ///     context.store_block_at(Position(offset + 3), vec![1, 2, 3]).await
    /// }
    ///
    /// /// Two blocks at once: called in order, waited for on another task.
    /// fn pipeline(context: &ReceiverContext<u64>, offset: u64) {
    ///     let first = context.store_block_at(Position(offset + 3), vec![1, 2, 3]);
    ///     let second = context.store_block_at(Position(offset + 4), vec![4]);
    ///     tokio::spawn(async move {
    ///         first.await?;
    ///         // Acknowledge the first three.
    ///         second.await
    ///     });
    /// }
    /// ```
    pub fn store_block_at(
        &self,
        position: Position,
        records: Vec<T>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<T> {
        let known_losses = self.known_losses.load(Ordering::Acquire);
        let placed = self.store.store_block(Some((position, known_losses)), &records, self.checks_each);
        async move { placed?.await }
    }

    /// How far this source's blocks are durable, as given to [`store_block_at`](Self::store_block_at), also before a
    /// restart: receiving goes on from here.
    ///
    /// Blocks that are stored through this handle from now on, and through clones that are made of it from now on, are taken to go on
    /// from here, whatever was refused or given up before. Ask when none of this handle's calls is under way: one that is may be stored
    /// after the answer. To only look, as a display does, use a clone.
    ///
    /// ```
    /// # use floodmark::{Position, ReceiverContext};
    /// fn begin(context: &ReceiverContext<u64>) -> u64 {
    ///     context.stored_position().map_or(0, |Position(offset)| offset)
    /// }
    /// ```
    #[must_use]
    pub fn stored_position(&self) -> Option<Position> {
        self.known_losses.store(self.store.losses(), Ordering::Release);
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

    /// Waits until the job is about to stop; for `tokio::select!`. Tasks that the receiver has spawned end by it, too.
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
}
