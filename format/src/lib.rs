//! The kbk segment format: bytes to types and back. SPEC.md at the top of the repository is normative.
//!
//! A *segment* is one sealed, immutable, self-describing object that holds records of one Kafka partition:
//!
//! ```text
//! | file header | block | block | ... | footer: index, statistics, gaps | trailer |
//! ```
//!
//! Write one, and read it back:
//!
//! ```
//! use kbk_format::{
//!     BlockDecoder, Columns, FileHeader, GapReason, Headers, IsolationLevel, Record, Segment,
//!     SegmentWriter, Streams, TimestampType, WriterOptions,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let header = FileHeader {
//!     segment_id: [7; 16],
//!     topic_id: [0; 16],
//!     topic: "orders".to_owned(),
//!     partition: 0.into(),
//!     timestamp_type: TimestampType::CreateTime,
//!     isolation_level: IsolationLevel::ReadCommitted,
//!     base_offset: 100,
//!     cluster_id: None,
//!     writer: None,
//!     created_at: None,
//!     compression: None,
//! };
//! let mut writer = SegmentWriter::new(Vec::new(), header, WriterOptions::default())?;
//! writer.push(&Record {
//!     offset: 100,
//!     timestamp: 1_763_800_000_000,
//!     control: false,
//!     key: Some(b"customer-1"),
//!     value: None,
//!     headers: Headers::EMPTY,
//! })?;
//! // Offset 101 was a transaction marker: covered, without a record.
//! let (bytes, _sealed) = writer.seal(102, GapReason::NotDelivered)?;
//!
//! let segment = Segment::open_whole(&bytes)?;
//! let block = segment.index().block_of_offset(100).expect("covered");
//! let range = segment.index().range(block..block + 1).expect("a block");
//! let stored = &bytes[range.start as usize..range.end as usize];
//! let mut columns = Columns::new();
//! segment.block(block, stored)?.decode(&mut BlockDecoder::new(), Streams::All, &mut columns)?;
//! let record = columns.get(0).expect("one record");
//! assert_eq!(record.key, Some(&b"customer-1"[..]));
//! assert_eq!(record.value, None, "a tombstone");
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | write records | [`SegmentWriter`], or in parallel [`BlockBuilder`], [`Encoder`] and [`SegmentAssembler`] |
//! | open and search | [`Segment`], [`BlockIndex`], [`MappedSegment`] |
//! | decode | [`BlockDecoder`] into [`Columns`], which return borrowed [`Record`]s |
//! | salvage | [`Salvage`]; block by block, [`Scanner`] |
//! | read and write Kafka's own record batches | [`batch`] |
//! | store them as they are, and lend them again | [`BatchesBuilder`], [`Block::batches`](segment::Block::batches) |
//! | write a partition as Kafka keeps it on disk | [`kafka_log`] |
//! | verify | [`verify`], [`Digests`] |
//! | render as text | [`render`]; in other formats, [`text`] |
//! | store many segments | `repo` (feature `repo`) |
//!
//! No input causes a panic: the crate denies indexing and unwrapping, and bounds every number from outside before use.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test should stop at the first unexpected value"
    )
)]

// Files of tests/support/ name this crate as other crates do.
#[cfg(test)]
extern crate self as kbk_format;

pub mod assembler;
pub mod batch;
pub mod batch_bounds;
pub mod block;
pub mod codec;
pub mod columns;
pub mod computed_copy;
pub mod counted;
pub mod digest;
pub mod error;
mod footer;
pub mod gaps;
pub mod header;
pub mod hours;
pub mod index;
pub mod kafka_log;
pub mod key_filter;
pub mod layout;
pub mod mapped;
mod meta;
pub mod offset_span;
pub mod partition;
pub mod record;
pub mod render;
mod render_time;
#[cfg(feature = "repo")]
pub mod repo;
pub mod salvage;
pub mod scan;
pub mod segment;
#[cfg(test)]
#[path = "../../tests/support/split_mix.rs"]
mod split_mix;
pub mod statistics;
pub mod text;
mod trailer;
mod varint;
pub mod verify;
pub mod whole_lines;
mod wire;
pub mod writer;

pub use assembler::{SegmentAssembler, SegmentFeatures, SegmentSummary, WriteError};
pub use batch_bounds::{BatchBounds, BatchCodecs};
pub use block::{
    BatchesBuilder, BlockBody, BlockBuilder, BlockDecoder, BlockHeader, BlockKind, BlockNumbers,
    EncodedBlock, Encoder, NotStorable, Push, PushBatch, StreamId, Streams,
};
pub use codec::{Codec, Compression};
pub use columns::Columns;
pub use counted::counted;
pub use digest::Digests;
pub use error::{ErrorClass, FormatError};
pub use footer::RenderedSizes;
pub use gaps::{Gap, GapReason, Gaps};
pub use header::FileHeader;
pub use hours::{Hour, HourSize, Hours};
pub use index::{BlockIndex, IndexEntry, MinTimestamps};
pub use key_filter::{KeyFilter, KeyFilterBits, KeyHash, KeyHasher};
pub use mapped::MappedSegment;
pub use offset_span::OffsetSpan;
pub use partition::PartitionNumber;
pub use record::{Header, Headers, IsolationLevel, Record, TimestampType};
pub use render::Renderer;
pub use salvage::Salvage;
pub use scan::Scanner;
pub use segment::{Block, Open, Segment};
pub use statistics::{RecordStatistics, Statistics};
pub use text::{TextFormat, TextRenderer};
pub use whole_lines::WholeLines;
pub use writer::{SegmentWriter, WriterOptions};
