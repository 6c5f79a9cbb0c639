//! Gets the records of a partition out of a repository, in the order of offsets, ascending or descending, and in constant memory.
//!
//! ```text
//! Selection + PartitionState --> ReadPlan --> PartitionReader --> Batch --> Record
//!                                   |                ^
//!                                   |                +--- SegmentFile: one segment, without its repository
//!                                   +--> Needs: what that reads, before it reads anything
//! ```
//!
//! A [`PartitionReader`] is a `BlockReader`, whose blocks are fetched and not decoded, and a `DecodeScratch`, which decodes them; a search on all cores
//! uses the two by themselves. Cursors, of which a caller may have many at a time, share [`DecodedBlocks`], which bound what is decoded of all of them.

mod blocks;
mod cursor;
mod decode;
mod decoded;
mod fetch;
mod gap_reasons;
mod kept;
mod key_blocks;
mod needs;
mod offset_for_time;
mod options;
mod order;
mod part;
mod plan;
mod readahead;
mod reader;
mod runs;
mod selection;
mod source;
mod stored;
mod until_damage;

pub use cursor::RecordCursor;
pub use decoded::{DecodeCounts, DecodedBlocks};
pub use gap_reasons::GapReasons;
pub use needs::Needs;
pub use offset_for_time::offset_for_time;
pub use options::ReadOptions;
pub use order::Order;
pub use plan::ReadPlan;
pub use reader::{Batch, PartitionReader};
pub use selection::Selection;
pub use stored::{StoredBatch, StoredBatches, StoredBlock};

pub(crate) use blocks::{BlockReader, FetchedBlock};
pub(crate) use decode::DecodeScratch;
pub(crate) use part::BlockPart;
pub(crate) use runs::Runs;
