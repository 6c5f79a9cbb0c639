//! Reads what finished restores left in the repository: where each record went.
//!
//! | to | see |
//! |---|---|
//! | translate offsets of the backup into offsets of the cluster | [`FinishedRestore::translate`] |
//! | count records that a restore put into a range of the cluster | [`FinishedRestore::count`] |
//! | read an offset map page by page, or run by run | [`MapReader`], [`MapRuns`] |
//! | remove pages that are not part of any map | [`sweep_map_pages`] |

mod finished;
mod map_reader;
mod overlap;
mod sweep;
mod translation;

pub use finished::{FinishedRestore, OffsetMapError};
pub use map_reader::{MapReader, MapRuns};
pub use overlap::Overlap;
pub use sweep::sweep_map_pages;
pub use translation::{Landing, Translated};

use kbk_format::repo::MapRun;

/// Returns one past the last source offset of a run.
fn source_end(run: &MapRun) -> i64 {
    run.source_offset.saturating_add_unsigned(run.records)
}
