//! The sources of a job: the methods that declare them.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::Record;
use crate::context::StreamingContext;
use crate::dataflow::graph::Operator;
use crate::driver::inputs::DirectInput;
use crate::dstream::DStream;
use crate::id::Uid;
use crate::source::{
    Direct, DirectSource, LinesReader, MAX_LINE_BYTES, Queue, Receiver, ReceiverSource, RecordsReader, SocketLines,
    SourceNode, TaskReader, TextFiles,
};
use crate::text::Text;

impl StreamingContext {
    /// The lines that a server sends, as [`Text`]. Spark: `socketTextStream`.
    ///
    /// A line ends at `\n`; a `\r` before it is dropped; a last line without an end counts at the end of the stream. Bytes that
    /// are not UTF-8 fail their line with a counted, reported error. A refused or closed connection is tried again after 2 s.
    ///
    /// Unreliable receiver: a crash of the driver may cost what was not yet logged; what was logged counts exactly once.
    ///
    /// ```no_run
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// context.socket_text_stream("lines", "127.0.0.1:9999").print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn socket_text_stream(&self, uid: &str, address: &str) -> DStream<'_, Text> {
        if let Err(error) = address.to_socket_addrs() {
            self.graph.report_problem(format!("the address \"{address}\" of source \"{uid}\" cannot be used: {error}"));
        }
        self.receive(
            uid,
            SocketLines::new(address, MAX_LINE_BYTES),
            Arc::new(LinesReader { max_line_bytes: MAX_LINE_BYTES }),
        )
    }

    /// The lines of files that appear in a directory by an atomic move, as [`Text`]. Spark: `textFileStream`.
    ///
    /// Files are taken in order of modification time, then name; each once; hidden and temporary names are not taken. Direct
    /// source: a crash costs nothing, exactly once into state. See [`TextFiles`] for limits.
    ///
    /// ```no_run
    /// # let context = floodmark::StreamingContext::builder("job").checkpoint("./state").build()?;
    /// context.text_file_stream("files", "./incoming").print(10);
    /// # Ok::<(), floodmark::Error>(())
    /// ```
    pub fn text_file_stream(&self, uid: &str, directory: impl Into<PathBuf>) -> DStream<'_, Text> {
        self.direct_stream(uid, TextFiles::new(directory))
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
        self.receive(uid, receiver, Arc::new(RecordsReader::default()))
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
        let direct = Direct::new(source);
        let reader = Arc::new(direct.task_reader());
        let uid = Uid::from(uid);
        self.sources.borrow_mut().directs.push(DirectInput { uid: uid.clone(), source: Box::new(direct) });
        self.source(uid, reader)
    }

    fn receive<R: Receiver<Item = T>, T: Record>(
        &self,
        uid: &str,
        receiver: R,
        reader: Arc<dyn TaskReader<T>>,
    ) -> DStream<'_, T> {
        let uid = Uid::from(uid);
        let source = ReceiverSource::new(uid.clone(), self.settings.receiver, receiver);
        self.sources.borrow_mut().receivers.push(source);
        self.source(uid, reader)
    }

    fn source<T: Record>(&self, uid: Uid, reader: Arc<dyn TaskReader<T>>) -> DStream<'_, T> {
        self.graph.claim(&uid);
        let name = uid.as_str().to_string();
        let node = self.graph.add(name, Vec::new(), Operator::Source(Arc::new(SourceNode { uid, reader })));
        DStream::new(&self.graph, node)
    }
}
