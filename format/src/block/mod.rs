//! Blocks: the unit of compression, checksum and random access (SPEC 2.3, 2.4, 2.10).
//!
//! | | |
//! |---|---|
//! | [`header`] | the block header and its directory of streams |
//! | [`encode`] | [`BlockBuilder`] collects records, [`Encoder`] compresses, [`EncodedBlock`] is ready to be written |
//! | [`batches`] | records as Kafka's own batches: [`BatchesBuilder`] collects, and a decoder reads them into the same columns |
//! | `measured` | what is stated of the records: statistics, and the lengths of their text |
//! | [`decode`] | [`BlockDecoder`] checks and decodes into [`Columns`](crate::columns::Columns) |
//!
//! A [`BlockBody`] is what a block's records are stored as: columns, or batches. Above this module nothing depends on it.

pub mod batches;
pub mod decode;
pub mod encode;
pub mod header;
mod measured;

pub use batches::{BatchesBuilder, NotStorable, PushBatch};
pub use decode::{BlockDecoder, Streams};
pub use encode::{BlockBody, BlockBuilder, EncodedBlock, Encoder, Push};
pub use header::{BlockHeader, BlockKind, BlockNumbers, StreamId};
pub use measured::BlockText;
