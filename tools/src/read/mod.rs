//! Gets the records of a partition out of a repository, in the order of offsets, ascending or descending, and in constant memory.
//!
//! ```text
//! Selection + PartitionState --> ReadPlan --> PartitionReader --> Batch --> Record
//!                                   |                ^
//!                                   |                +--- SegmentFile: one segment, without its repository
//!                                   +--> Needs: what that reads, before it reads anything
//! ```

mod cursor;
mod fetch;
mod kept;
mod keys;
mod needs;
mod offset_for_time;
mod options;
mod order;
mod plan;
mod readahead;
mod reader;
mod runs;
mod selection;
mod source;

pub use cursor::RecordCursor;
pub use keys::KeySelection;
pub use needs::Needs;
pub use offset_for_time::offset_for_time;
pub use options::ReadOptions;
pub use order::Order;
pub use plan::ReadPlan;
pub use reader::{Batch, PartitionReader};
pub use selection::Selection;

pub(crate) use runs::Runs;
