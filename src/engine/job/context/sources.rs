//! The sources of a job: the methods that declare them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::driver::inputs::DirectInput;
use crate::dstream::DStream;
use crate::job::context::StreamingContext;
use crate::operator::narrow::union::union_of;
use crate::operator::reference::Reference;
use crate::source::{
    BinaryFiles, Decoder, Direct, DirectSource, FramesReader, Framing, LinesReader, MAX_FRAME_BYTES, MAX_RECORD_LENGTH,
    Queue, RawRecords, Receiver, ReceiverSource, RecordsReader, ReferenceInput, ReferenceLoader, ReferenceReader,
    SocketFrames, SourceNode, TaskReader, TextFiles, address_problem,
};
use floodmark_base::bytes::Bytes;
use floodmark_base::codec::Record;
use floodmark_base::id::Uid;
use floodmark_base::place::url_problem;
use floodmark_base::text::Text;
use floodmark_base::types::{as_key, as_logged, as_position};
use floodmark_store::recovery::descriptor::{SourceDescriptor, StoredType};

impl StreamingContext {
    /// The lines that a server sends, as [`Text`]. Spark: `socketTextStream`.
    ///
    /// A line ends at `\n`; a `\r` before it is dropped; a last line without an end counts at the end of the stream. Bytes that
    /// are not UTF-8 fail their line with a counted, reported error. A refused or closed connection, and a host that does not resolve,
    /// are tried again after 2 s. A peer that vanishes without closing the connection is noticed by
    /// [TCP keepalive](crate::StreamingContextBuilder::tcp_keepalive), one that stalls by the
    /// [idle time-out](crate::StreamingContextBuilder::socket_idle_timeout), if there is one.
    ///
    /// Unreliable receiver: a crash of the driver may cost what was not yet logged; what was logged counts exactly once.
    ///
    /// ```no_run
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// context.socket_text_stream("lines", "127.0.0.1:9999").print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn socket_text_stream(&self, uid: &str, address: &str) -> DStream<'_, Text> {
        let reader = Arc::new(LinesReader { max_line_bytes: MAX_FRAME_BYTES });
        self.receive_frames(uid, address, Framing::lines(), "", reader)
    }

    /// The records that a server sends, as `decoder` cuts them from the stream of bytes. Spark: `socketStream`.
    ///
    /// [`Framing`] has the usual ways in which records follow one another: lines as bytes, frames of one size, frames behind
    /// their lengths; it is a decoder by itself, to which a function can be added. Bytes are logged as they came and decoded on
    /// the workers. A frame longer than the limit (1 MiB unless the framing says otherwise) is dropped; it, and a frame that the
    /// decoder refuses, is no record: it is counted and reported, and the others go on. A frame that the end of the stream cuts
    /// off is dropped and reported. Connections are tried again as for [`socket_text_stream`](Self::socket_text_stream).
    ///
    /// Unreliable receiver: a crash of the driver may cost what was not yet logged; what was logged counts exactly once. Keeps
    /// nothing in a checkpoint.
    ///
    /// ```no_run
    /// use floodmark::Framing;
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// let readings = Framing::fixed(8).decode_with(|frame| Ok(f64::from_be_bytes(frame.as_ref().try_into()?)));
    /// context.socket_stream("readings", "127.0.0.1:9999", readings).print(10);
    /// // Lines of which nothing says that they are UTF-8.
    /// context.socket_stream("lines", "127.0.0.1:9998", Framing::lines()).print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn socket_stream<D: Decoder>(&self, uid: &str, address: &str, decoder: D) -> DStream<'_, D::Item> {
        let framing = decoder.framing();
        if let Some(problem) = framing.problem() {
            self.graph.report_problem(format!("the framing of source \"{uid}\" cannot be used: {problem}"));
        }
        let frame_type = decoder.frame_type();
        self.receive_frames(uid, address, framing, &frame_type, Arc::new(FramesReader::new(uid, decoder)))
    }

    /// Records that a server sends in their encoding, each behind its length. Spark: `rawSocketStream`, where a frame is a block
    /// of records: here it is one, so that every limit and count is of records. To send many at once, let `T` be a `Vec` and
    /// flatten it.
    ///
    /// [`RawRecords::append`] makes the bytes that a sender must send, and says what they are. As
    /// [`socket_stream`](Self::socket_stream) otherwise: a frame of more than 1 MiB is dropped, and it, and one that is not the
    /// encoding of a `T`, is no record: it is counted and reported, and the others go on.
    ///
    /// Unreliable receiver: a crash of the driver may cost what was not yet logged; what was logged counts exactly once. Keeps
    /// nothing in a checkpoint.
    ///
    /// ```no_run
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// let sales = context.raw_socket_stream::<(String, u64)>("sales", "127.0.0.1:9999");
    /// sales.print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn raw_socket_stream<T: Record>(&self, uid: &str, address: &str) -> DStream<'_, T> {
        self.check_type("the records of source", uid, as_logged::<T>().problem);
        self.socket_stream(uid, address, RawRecords::default())
    }

    /// The lines of files that appear in a directory by an atomic move, as [`Text`]. Spark: `textFileStream`.
    ///
    /// Files are taken in order of modification time, then name; each once; hidden and temporary names are not taken. Files
    /// whose names end with `.gz`, `.bz2` or `.zst` are decompressed. Direct source: a crash costs nothing, exactly once into
    /// state. See [`TextFiles`] for limits, and for what becomes of files and directories that are not as they should be.
    ///
    /// ```no_run
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// context.text_file_stream("files", "./incoming").print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn text_file_stream(&self, uid: &str, directory: impl Into<PathBuf>) -> DStream<'_, Text> {
        let directory = self.local_directory(uid, directory.into());
        self.direct_stream(uid, TextFiles::new(directory))
    }

    /// The records, of `record_length` bytes each, of files that appear in a directory by an atomic move. Spark:
    /// `binaryRecordsStream`.
    ///
    /// Files are taken in order of modification time, then name; each once; hidden and temporary names are not taken. A file
    /// whose size is no multiple of the record length stops the job with an error that names file, size and record length,
    /// before anything of it is taken. Direct source: a crash costs nothing, exactly once into state. A checkpoint keeps an
    /// entry in the state for each file that was taken and is still there. See [`BinaryFiles`] for limits.
    ///
    /// A `record_length` that is not between 1 and 1 GiB is reported when the job starts.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let incoming = tempfile::tempdir().unwrap();
    /// std::fs::write(incoming.path().join("numbers"), [0, 7, 1, 0]).unwrap();
    /// let directory = incoming.path().to_path_buf();
    /// let mut job = TestJob::new(move |context| {
    ///     let records = context.binary_records_stream("numbers", &directory, 2);
    ///     records.map(|record| u16::from_be_bytes([record[0], record[1]])).collect("all")
    /// })?;
    /// job.run_batch()?;
    /// assert_eq!(job.handles().last(), [7, 256]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn binary_records_stream(
        &self,
        uid: &str,
        directory: impl Into<PathBuf>,
        record_length: usize,
    ) -> DStream<'_, Bytes> {
        if record_length == 0 || record_length as u64 > MAX_RECORD_LENGTH {
            self.graph.report_problem(format!(
                "the record length of source \"{uid}\" is {record_length} bytes: expected 1 to {MAX_RECORD_LENGTH}"
            ));
        }
        let directory = self.local_directory(uid, directory.into());
        self.direct_stream(uid, BinaryFiles::new(directory, record_length))
    }

    /// The directory of a source, which is reported when the job starts if it is a URL.
    fn local_directory(&self, uid: &str, directory: PathBuf) -> PathBuf {
        if let Some(problem) = url_problem(&directory) {
            self.graph.report_problem(format!("the directory of source \"{uid}\" cannot be used: {problem}"));
        }
        directory
    }

    /// A stream that the program fills itself; each push is a block. Spark: `queueStream`, but what is pushed is logged, so it
    /// survives a crash.
    ///
    /// Reliable receiver: nothing that [`Queue::push`] has confirmed is lost.
    ///
    /// ```no_run
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// let (queue, numbers) = context.queue_stream::<u64>("numbers");
    /// numbers.print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn queue_stream<T: Record>(&self, uid: &str) -> (Queue<T>, DStream<'_, T>) {
        let (queue, receiver) = Queue::new();
        (queue, self.receiver_stream(uid, receiver))
    }

    /// The records that a receiver of the user's takes in. Spark: `receiverStream`.
    ///
    /// With `store_block` it is a reliable receiver: nothing acknowledged is lost, and the sender may send again what was not;
    /// with `store_block_at` that is dropped, without it it counts again. With `store` it is unreliable.
    ///
    /// ```no_run
    /// # fn example(receiver: impl floodmark::Receiver<Item = u64>) -> floodmark::Result<()> {
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// context.receiver_stream("numbers", receiver).print(10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn receiver_stream<R: Receiver>(&self, uid: &str, receiver: R) -> DStream<'_, R::Item> {
        self.check_type("the records of source", uid, as_logged::<R::Item>().problem);
        self.receive(uid, receiver, StoredType::of::<R::Item>(), Arc::new(RecordsReader::default()))
    }

    /// The records of a replayable source of the user's: ranges are planned, not logged, and read again after a crash.
    ///
    /// Direct source: a crash costs nothing, exactly once into state.
    ///
    /// ```no_run
    /// # fn example(source: impl floodmark::DirectSource<Item = u64>) -> floodmark::Result<()> {
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// context.direct_stream("numbers", source).print(10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn direct_stream<S: DirectSource>(&self, uid: &str, source: S) -> DStream<'_, S::Item> {
        self.check_type("the ranges of source", uid, as_position::<S::Range>());
        self.check_type("the position of source", uid, as_position::<S::Position>());
        let uid = Uid::from(uid);
        let (position, ranges) = (StoredType::of::<S::Position>(), StoredType::of::<S::Range>());
        let descriptor = SourceDescriptor::direct(uid.clone(), source.kind(), position, ranges);
        let direct = Direct::new(source);
        let reader = Arc::new(direct.task_reader());
        self.sources.borrow_mut().directs.push(DirectInput { uid, source: Box::new(direct) });
        self.source(descriptor, reader)
    }

    /// Data that streams are joined with and that is loaded again when it changes: a blacklist, prices, names.
    ///
    /// At every plan the loader is asked for a new version; [`ReferenceFile`](crate::ReferenceFile) looks at a file. A version is
    /// planned with the batch, as a whole, and holds from that batch on: it is durable before anything is computed with it, and a
    /// replay sees the same one whatever became of the file. The first batch of a fresh job always has one. Join it with
    /// [`join_reference`](crate::DStream::join_reference), [`left_outer_join_reference`](crate::DStream::left_outer_join_reference)
    /// or [`subtract_reference`](crate::DStream::subtract_reference).
    ///
    /// Each version is written to the log once, so it costs its size there until a checkpoint lets the log go, and is kept in
    /// memory by every operator that joins with it; at most 1 GiB. For what never changes while the job runs, a value that a
    /// closure captures is enough: it is code, is not stored, and may be another after a restart, which a replay then
    /// sees (give the job a new [version](crate::StreamingContextBuilder::job_version) in that case).
    ///
    /// A load that fails stops the job while there is no version yet; later the old version stays, and the failure is reported
    /// once.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// # let place = tempfile::tempdir().unwrap();
    /// # let path = place.path().join("prices");
    /// # std::fs::write(&path, "apple 3\n").unwrap();
    /// use floodmark::ReferenceFile;
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(move |context| {
    ///     let prices = context.reference_data("prices", ReferenceFile::new(&path, |line| {
    ///         let (fruit, cents) = line.split_once(' ')?;
    ///         Some((fruit.to_string(), cents.parse::<u64>().ok()?))
    ///     }));
    ///     let (sales, stream) = context.queue_stream::<(String, u64)>("sales");
    ///     let amounts = stream.join_reference("priced", &prices).map(|(_, (count, cents))| count * cents);
    ///     (sales, amounts.collect("amounts"))
    /// })?;
    /// let (sales, amounts) = job.handles();
    /// sales.push(vec![("apple".into(), 5)])?;
    /// job.run_batch()?;
    /// assert_eq!(amounts.last(), [15]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reference_data<L: ReferenceLoader>(&self, uid: &str, loader: L) -> Reference<'_, L::Key, L::Value> {
        self.check_type("the keys of reference data", uid, as_key::<L::Key>().problem);
        self.check_type("the values of reference data", uid, as_logged::<L::Value>().problem);
        let uid = Uid::from(uid);
        let (position, version) = (ReferenceInput::<L>::position_type(), StoredType::of::<Vec<(L::Key, L::Value)>>());
        let descriptor = SourceDescriptor::direct(uid.clone(), "reference_data".to_string(), position, version);
        let input = ReferenceInput::new(uid.clone(), loader);
        let joins = input.joins();
        self.sources.borrow_mut().directs.push(DirectInput { uid, source: Box::new(input) });
        Reference::new(self.source(descriptor, Arc::new(ReferenceReader::default())), joins)
    }

    /// The records of many streams of this context in one. Spark: `StreamingContext.union`.
    ///
    /// Narrow; a move per record, however many streams there are; keeps nothing in a checkpoint. The partitions of the
    /// first stream come first, then those of the next. All must slide alike. No streams at all, or one of another context, is reported
    /// when the job starts.
    ///
    /// ```
    /// # fn main() -> floodmark::Result<()> {
    /// use floodmark::testing::TestJob;
    ///
    /// let mut job = TestJob::new(|context| {
    ///     let (queues, streams): (Vec<_>, Vec<_>) =
    ///         ["a", "b", "c"].iter().map(|uid| context.queue_stream::<u64>(uid)).unzip();
    ///     (queues, context.union(&streams).collect("all"))
    /// })?;
    /// let (queues, all) = job.handles();
    /// for (queue, number) in queues.iter().zip(1..) {
    ///     queue.push(vec![number])?;
    /// }
    /// job.run_batch()?;
    /// assert_eq!(all.last(), [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn union<'c, T: Record>(&'c self, streams: &[DStream<'c, T>]) -> DStream<'c, T> {
        if streams.is_empty() {
            self.graph.report_problem("a union of no streams: expected one at least");
        }
        union_of(&self.graph, streams)
    }

    fn check_type(&self, what: &str, uid: &str, problem: Option<String>) {
        if let Some(problem) = problem {
            self.graph.report_problem(format!("{what} \"{uid}\": {problem}"));
        }
    }

    fn receive_frames<T: Record>(
        &self,
        uid: &str,
        address: &str,
        framing: Framing,
        frame_type: &str,
        reader: Arc<dyn TaskReader<T>>,
    ) -> DStream<'_, T> {
        // The name is resolved by the receiver whenever it connects: a start waits for no name server.
        if let Some(problem) = address_problem(address) {
            self.graph
                .report_problem(format!("the address \"{address}\" of source \"{uid}\" cannot be used: {problem}"));
        }
        let records = StoredType::of_text(framing.block_type(frame_type));
        self.receive(uid, SocketFrames::new(address, framing), records, reader)
    }

    fn receive<R: Receiver<Item = T>, T: Record>(
        &self,
        uid: &str,
        receiver: R,
        records: StoredType,
        reader: Arc<dyn TaskReader<T>>,
    ) -> DStream<'_, T> {
        let descriptor = SourceDescriptor::receiver(Uid::from(uid), receiver.kind(), records);
        let source = ReceiverSource::new(descriptor.uid.clone(), self.settings.receiver, receiver);
        self.sources.borrow_mut().receivers.push(source);
        self.source(descriptor, reader)
    }

    fn source<T: Record>(&self, descriptor: SourceDescriptor, reader: Arc<dyn TaskReader<T>>) -> DStream<'_, T> {
        let node = self.graph.add_source(&descriptor.uid.clone(), Arc::new(SourceNode { descriptor, reader }));
        DStream::new(&self.graph, node)
    }
}
