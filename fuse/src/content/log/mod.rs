//! A partition as Kafka's log: the files that `kbk export --format kafka-log --compression stored` writes, rendered as they are read.
//!
//! ```text
//! META of blocks of records --measure--> layout: files, their sizes, and chunks of batches in them
//! headers of blocks of batches --|
//!                                    |
//! range of a .log --> chunks --> blocks with their records --render--> batches
//! .index, .timeindex <--measure-- META of the file's blocks
//! ```
//!
//! Without compression, where batches and files end follows from offsets, times and lengths alone (`kbk_format::kafka_log`). So sizes are
//! exact before any value is decoded, and any batch is rendered from its own records. Kafka's own batches that a block has are in the log as they
//! are, compressed or not, and how long they are its header states. A log that cannot be measured, because META of a block is damaged, has no
//! files at all: the sizes of those behind the damage are unknown.
//!
//! | file | holds |
//! |---|---|
//! | `layout` | the files of a log, and where its chunks are |
//! | `measure` | META of blocks of records, read ahead in few requests; headers of blocks of batches |
//! | `render` | from records, and batches as they are, to chunks |
//! | `chunks` | chunks, loaded in runs and cached one by one |
//! | `file` | ranges of a `.log` |

pub(crate) mod chunks;
pub(crate) mod file;
pub(crate) mod layout;
mod measure;
mod render;
