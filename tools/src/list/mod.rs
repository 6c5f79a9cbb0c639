//! Lists what a repository holds, as rows that serialize to the JSON of `kbk snapshots`, `kbk ls` and `kbk groups list`.
//!
//! | rows | of |
//! |---|---|
//! | [`snapshots`], [`newest()`], [`restores`], [`sizes`] | a repository |
//! | [`topics`], [`partitions`], [`segments`] | a snapshot |
//! | [`groups`] | a snapshot's consumer groups and their lag |
//! | [`Completeness`] | the partitions of a snapshot that lack records |

mod completeness;
pub mod groups;
mod newest;
mod restores;
mod sizes;
mod snapshots;
mod topics;

pub use completeness::{Completeness, IncompletePartition};
pub use newest::{Newest, NewestSnapshot, newest};
pub use restores::{RestoreContents, RestoreRow, RestoreState, RestoredNames, restores};
pub use sizes::{Sizes, SnapshotSize, TopicSize, sizes};
pub use snapshots::{SnapshotContents, SnapshotRow, snapshots};
pub use topics::{
    ExpiredRow, PartitionRow, SegmentRow, SegmentTotals, TopicRow, partitions, segments, topics,
};
