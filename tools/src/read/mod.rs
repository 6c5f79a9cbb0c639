//! Gets the records of a partition out of a repository, in offset order and in constant memory.
//!
//! ```text
//! Selection + PartitionState --> ReadPlan --> PartitionReader --> Batch --> Record
//!                                   |
//!                                   +--> Needs: what that reads, before it reads anything
//! ```

mod needs;
mod offset_for_time;
mod plan;
mod reader;
mod runs;
mod selection;

pub use needs::Needs;
pub use offset_for_time::offset_for_time;
pub use plan::ReadPlan;
pub use reader::{Batch, PartitionReader};
pub use selection::Selection;

pub(crate) use runs::runs;
