//! Which topics, groups, partitions and offsets a run covers, and which names and partitions they are restored to.
//!
//! Each value parses from the text of an option (`FromStr`) and prints as that text; none knows the command line itself.
//!
//! | value | file |
//! |---|---|
//! | topics and groups by name, glob or regular expression | `pattern` |
//! | one of several topics of a name | `topic_ref` |
//! | topics of a snapshot | `saved` |
//! | partitions by number | `partitions` |
//! | topics, or some of their partitions | `topic_partitions` |
//! | offsets by a CSV file | `offset_ranges` |
//! | other topic names | `topic`, `rewrite`, `rename` |
//! | other partition numbers | `partition_map` |
//! | headers to leave out | `drop_headers` |
//! | names that resemble a mistyped one | `nearest` |

mod drop_headers;
mod nearest;
mod offset_ranges;
mod partition_map;
mod partitions;
mod pattern;
mod rename;
mod rewrite;
mod saved;
mod topic;
mod topic_partitions;
mod topic_ref;

pub use self::drop_headers::DropHeaders;
pub(crate) use self::nearest::nearest;
pub use self::offset_ranges::{OffsetRange, OffsetRanges, OffsetRangesError};
pub use self::partition_map::{PartitionMap, PartitionMapError};
pub use self::partitions::{NoPartition, PartitionSet, PartitionsError};
pub use self::pattern::{NamePattern, PatternError, SelectError, TopicSelection, select_groups};
pub use self::rename::{RenameError, rename_topics, target_names};
pub use self::rewrite::{RewriteError, TopicRewrite};
pub use self::saved::SavedTopics;
pub use self::topic::{TopicError, TopicMapping};
pub use self::topic_partitions::{SelectedPartitions, TopicPartitions};
pub use self::topic_ref::TopicRef;
