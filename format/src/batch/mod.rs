//! Kafka's own record batches, as they are in a broker's log and in Fetch and Produce: bytes to records and back.
//!
//! ```text
//! log, or a Fetch answer   | batch | batch | message set | batch | part of one |
//!
//! batch (magic 2)          | header 61 | records, as a whole compressed or not |
//! message (magic 0, 1)     | offset, size, CRC, attributes, timestamp | key | value |
//! message set              a message whose value is messages, compressed
//! ```
//!
//! No I/O and no panic. [`frame_length`] says how many bytes to bring, [`RecordBatch::parse`] looks at one, [`RecordBatch::check`] proves it, in a
//! [`CheckedBatch`], and a [`BatchDecoder`] lends its records: either all of a batch, or an error and none.
//!
//! ```
//! use kbk_format::batch::{BatchBuilder, BatchCodec, BatchDecoder, BatchOptions, RecordBatches};
//! use kbk_format::{Headers, Record};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = BatchBuilder::new(BatchOptions {
//!     codec: BatchCodec::Zstd,
//!     ..BatchOptions::default()
//! });
//! builder.push(&Record {
//!     offset: 100,
//!     timestamp: 1_763_800_000_000,
//!     control: false,
//!     key: Some(b"customer-1"),
//!     value: None,
//!     headers: Headers::EMPTY,
//! })?;
//! let mut log = Vec::new();
//! // Offset 101 has no record: the batch covers it.
//! builder.finish(101, &mut log)?;
//!
//! let mut decoder = BatchDecoder::new();
//! for batch in RecordBatches::new(&log, 0) {
//!     let batch = batch?;
//!     batch.check_crc()?;
//!     assert_eq!(batch.header().last_offset, 101);
//!     for record in decoder.decode(&batch)? {
//!         assert_eq!(record.key, Some(&b"customer-1"[..]));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `layout` | positions of the fields, by Kafka's `DefaultRecordBatch` and `LegacyRecord` |
//! | `header` | what a batch says about itself without being decoded |
//! | `frame` | one batch in bytes: its length, its CRC; and the walk over many |
//! | `checked` | one whose checksum matches, and many of them |
//! | `codec` | which codecs there are, and how much they can expand |
//! | `inflate`, `lz4_frame`, `snappy_frame` | decompression within a bound |
//! | `deflate` | compression |
//! | `varint` | Kafka's varints, which may be longer than they need to be |
//! | `records` | records of format v2 |
//! | `messages` | messages of formats v0 and v1, and sets of them |
//! | `decode` | from a batch to its records |
//! | `encode` | from records to a batch of format v2 |
//! | `bound` | how much a batch decompresses to at most, without decompressing it |
//! | `control` | transaction markers |
//! | `adopt` | other producer fields in a header, without a pass over the batch; what Kafka does not let a client produce |
//! | `merge` | one batch of several small ones |
//! | `crc` | CRC-32C of concatenations and of changes |
//!
//! # Limits
//!
//! A batch states its length in 31 bits; who reads one from a file or a socket bounds it by what there is, with [`frame_length`]. What a
//! batch decompresses to is bounded by [`DECODED_BYTES`], and grows in memory only with what really comes out: no length that a codec
//! states is allocated. A zstd window is at most 128 MiB, as in Kafka's own client. A record count never reserves anything.
//!
//! All errors are [`FormatError`]s, whose position is that of the batch: *truncated*, *checksum*, *inconsistent*, *limit*, and *unsupported*
//! where magic or codec are none of Kafka's.

mod adopt;
mod bound;
mod checked;
mod codec;
mod control;
mod crc;
mod decode;
mod deflate;
mod encode;
mod frame;
mod header;
mod inflate;
pub(crate) mod layout;
mod lz4_frame;
mod merge;
mod messages;
mod records;
#[cfg(test)]
mod rewrite_tests;
mod snappy_frame;
#[cfg(test)]
mod tests;
mod varint;

pub use adopt::{Adoption, NotProducible};
pub(crate) use bound::decoded_bytes;
pub use checked::{CheckedBatch, CheckedBatches};
pub use codec::BatchCodec;
pub use control::ControlRecord;
pub use crc::{BatchesCrc, crc32c_combine};
pub use decode::{BatchDecoder, BatchRecords};
pub use encode::{BatchBuilder, BatchOptions, RecordSize, record_size};
pub use frame::{RecordBatch, RecordBatches, frame_length};
pub use header::{Attributes, BatchHeader, Producer};
pub use inflate::DECODED_BYTES;
pub use layout::{HEADER_LENGTH, PREFIX_LENGTH};
pub use merge::{BatchMerger, CannotMerge, Merge, MergeOptions};
pub use records::BatchHeaders;

use crate::error::{ErrorClass, FormatError};

/// Creates an error about the batch at `position`.
fn error(class: ErrorClass, position: u64, detail: impl Into<String>) -> FormatError {
    FormatError::new(class, "record batch", position, detail)
}
