//! Searches partitions of a snapshot, or segment files, on all cores: which records satisfy a selection, in order.
//!
//! ```text
//! sources --> BlockReader: one at a time, the next ones are begun --> blocks --> cores decode, select, render --> in order --> caller
//!                                                                                                                 |
//!                                                                        SortedRecords: by time, over all sources <-+
//! ```
//!
//! Nothing is written. What is read: the index of each partition, the footers of the segments that offsets and times do not rule out, and the blocks
//! that their footers do not rule out; of these only META where that is all that the selection and the caller need. In memory are at most
//! [`Search`]'s window of blocks, and what the blocks before the one that the caller waits for were rendered as.
//!
//! What cannot be read is skipped and reported as [`Found::Unsearched`], in its place: the absence of a record is known of everything else
//! only. An error of the store, rather than of what it holds, ends the search.
//!
//! | file | holds |
//! |---|---|
//! | `search` | the search itself |
//! | `sources` | partitions and files, one after the other |
//! | `sorted` | records by time, in bounded memory |

mod search;
mod sorted;
mod sources;

pub use search::{Found, FoundRecord, Matches, Search, SearchOptions, Unsearched};
pub use sorted::{SortKey, SortedRecords};
pub use sources::SearchSource;
