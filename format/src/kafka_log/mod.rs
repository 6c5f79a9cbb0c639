//! A partition as Kafka keeps it on a broker's disk: a folder of segments, each a log and its two indexes.
//!
//! ```text
//! records -- Cut --> batches -- Segments --> 00000000000000000000.log  .index  .timeindex
//!                                            00000000000001048576.log  .index  .timeindex
//!                                            leader-epoch-checkpoint   partition.metadata   kbk-gaps
//! ```
//!
//! No I/O: a [`LogWriter`] hands bytes to a [`LogSink`]. Where batches and segments end follows from the records and the options alone, so
//! the same records always give the same files. Without compression it follows even from the lengths of the records: a [`LogMeasure`] computes
//! the sizes of all files from them, and [`LogBatches`] encodes any part of a log that begins where a batch does.
//!
//! | file | holds |
//! |---|---|
//! | `names` | names of files and folders, in both directions |
//! | `side_files` | the small text files, in both directions |
//! | `gap_file` | kbk's own file: why offsets have no record |
//! | `cut` | where a batch ends |
//! | `segments` | where a segment ends, and its indexes |
//! | `batches` | from records to batches |
//! | `lent` | batches that are stored as Kafka's own, as they are in a log |
//! | `writer` | from records to files |
//! | `measure` | from the lengths of records to the sizes of files |

mod batches;
mod cut;
mod gap_file;
mod lent;
mod measure;
mod names;
mod segments;
mod side_files;
#[cfg(test)]
mod tests;
mod writer;

pub use batches::LogBatches;
pub use cut::BATCH_BYTES;
pub use gap_file::{GAPS_FILE, GapFileReader, GapFileWriter, NextGap};
pub use lent::{LentBlock, LentOffsets, put_lent};
pub use measure::{LogMeasure, LogOutline};
pub use names::{
    CLEANED_OFFSETS_FILE, EPOCHS_FILE, LogFile, METADATA_FILE, START_OFFSETS_FILE,
    partition_folder, partition_of_folder,
};
pub use segments::{BatchExtent, EndedSegment, LogOptions};
pub use side_files::{
    encode_epochs, encode_metadata, read_epochs, read_start_offsets, read_topic_id,
};
pub use writer::{LogSink, LogWriter};
