//! `save_as_text_files`: every committed batch as a directory of text files.

use std::fmt::Display;
use std::path::Path;

use crate::dstream::DStream;
use crate::sink::directory::BatchDirectories;
use crate::sink::layout::Layout;
use crate::sink::part::Lines;
use floodmark_base::codec::Record;

impl<T: Record + Display> DStream<'_, T> {
    /// Saves every batch as text, a line per record, in a directory `<prefix>-<time>[.<suffix>]`. Spark:
    /// `DStream.saveAsTextFiles`; there it is at least once, and a batch that is there is an error.
    ///
    /// The prefix may lead through directories, which are made. The time is the batch's, in milliseconds since 1970 (after
    /// a window, the time of its boundary), and an empty suffix is left out. A directory holds a file `part-<partition>` for
    /// each partition that has records, none for an empty batch (which has its directory, as in Spark: that it is there says that
    /// the batch is over); and `_SUCCESS`, which tells other programs that the batch
    /// is whole. What the batch is made of stands in `_batch`.
    ///
    /// Exactly once: the directory appears as a whole, after the batch is committed, and is never changed; a batch that
    /// comes again after a crash is compared with it. An older driver that wakes up is shut out. A file system that fails,
    /// or another batch under the same name, stops the job: nothing is skipped. Each batch costs a sync for each partition
    /// that has records, and four more. A record whose text contains a line end becomes several lines. Keeps nothing in a
    /// checkpoint.
    ///
    /// A prefix that ends in `/`, or whose last part begins with `.` or `_`, and a suffix with a `/` are errors when the
    /// job starts.
    ///
    /// ```
    /// use floodmark::testing::TestJob;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let prefix = directory.path().join("out/numbers");
    /// let mut job = TestJob::new(move |context| {
    ///     let (numbers, stream) = context.queue_stream::<u64>("numbers");
    ///     stream.save_as_text_files("saved", &prefix, "txt");
    ///     numbers
    /// })?;
    /// job.handles().push(vec![1, 2])?; // a block each
    /// job.handles().push(vec![3])?;
    /// let batch = job.run_batch()?;
    ///
    /// let saved = directory.path().join(format!("out/numbers-{}.txt", batch.time));
    /// assert_eq!(std::fs::read_to_string(saved.join("part-00000"))?, "1\n2\n");
    /// assert_eq!(std::fs::read_to_string(saved.join("part-00001"))?, "3\n");
    /// assert!(saved.join("_SUCCESS").exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_as_text_files(&self, uid: &str, prefix: impl AsRef<Path>, suffix: &str) {
        match Layout::by_time(prefix.as_ref(), suffix) {
            Ok((directory, layout)) => {
                self.sink(uid, BatchDirectories::new(directory, layout, Lines).on_disk(self.graph.disk()));
            }
            Err(problem) => self.graph.report_problem(format!("save_as_text_files \"{uid}\": {problem}")),
        }
    }
}
