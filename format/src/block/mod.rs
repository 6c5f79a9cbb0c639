//! Blocks: the unit of compression, checksum and random access (SPEC 2.3, 2.4).
//!
//! | | |
//! |---|---|
//! | [`header`] | the block header and its directory of streams |
//! | [`encode`] | [`BlockBuilder`] collects records, [`Encoder`] compresses, [`EncodedBlock`] is ready to be written |
//! | [`decode`] | [`BlockDecoder`] checks and decodes into [`Columns`](crate::columns::Columns) |

pub mod decode;
pub mod encode;
pub mod header;

pub use decode::{BlockDecoder, Streams};
pub use encode::{BlockBuilder, EncodedBlock, Encoder, Push};
pub use header::{BlockHeader, StreamId};
