//! `save_as_object_files`: every committed batch as a directory of files that `read_object_files` reads.

use std::path::Path;

use crate::dstream::DStream;
use crate::sink::directory::BatchDirectories;
use crate::sink::layout::Layout;
use crate::sink::object_files::ObjectFormat;
use floodmark_base::codec::Record;

impl<T: Record> DStream<'_, T> {
    /// Saves every batch in the encoding of its records, in a directory `<prefix>-<time>[.<suffix>]`, for
    /// [`read_object_files`](crate::read_object_files). Spark: `DStream.saveAsObjectFiles`.
    ///
    /// Names, directories, guarantee (exactly once) and cost are those of
    /// [`save_as_text_files`](Self::save_as_text_files). A part file carries the schema of `T` and checksums
    /// (`docs/formats/object-files.md`), so that damage is found and another type's file is not misread; a record takes its
    /// encoding and four bytes. A record whose encoding is longer than 4 GiB, or whose own serde code fails, stops the job.
    /// Keeps nothing in a checkpoint.
    ///
    /// Errors when the job starts: those of `save_as_text_files`, and a type without a schema that can be stored (serde
    /// attributes such as `flatten` and `untagged`).
    ///
    /// ```
    /// use floodmark::{read_object_files, testing::TestJob};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let prefix = directory.path().join("words");
    /// let mut job = TestJob::new(move |context| {
    ///     let (words, stream) = context.queue_stream::<String>("words");
    ///     stream.map(|word| (word, 1_u64)).save_as_object_files("saved", &prefix, "obj");
    ///     words
    /// })?;
    /// job.handles().push(vec!["to".into(), "be".into()])?;
    /// let batch = job.run_batch()?;
    ///
    /// let saved = directory.path().join(format!("words-{}.obj", batch.time));
    /// let pairs = read_object_files::<(String, u64)>(saved)?;
    /// assert_eq!(pairs.collect(), [("to".to_string(), 1), ("be".to_string(), 1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_as_object_files(&self, uid: &str, prefix: impl AsRef<Path>, suffix: &str) {
        let place = Layout::by_time(prefix.as_ref(), suffix);
        if let Some(problem) = floodmark_base::types::as_logged::<T>().problem {
            self.graph.report_problem(format!("save_as_object_files \"{uid}\": {problem}"));
            return;
        }
        let format = ObjectFormat::<T>::new().map_err(|reason| {
            let type_name = std::any::type_name::<T>();
            format!("{type_name} has no schema that can be stored: {reason}")
        });
        match (place, format) {
            (Ok((directory, layout)), Ok(format)) => {
                self.sink(uid, BatchDirectories::new(directory, layout, format).on_disk(self.graph.disk()));
            }
            (Err(problem), _) | (_, Err(problem)) => {
                self.graph.report_problem(format!("save_as_object_files \"{uid}\": {problem}"));
            }
        }
    }
}
