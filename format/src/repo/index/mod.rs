//! The index: rows about topics, partitions and segments, in tables, in runs (SPEC section 11.4). No I/O.
//!
//! ```text
//! snapshot --names--> runs, the newest first
//! run      --is-----> tables with ascending keys, or a list of them
//! table    --is-----> rows in the order of their keys; of all rows with one key, that of the newest run counts
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `key.rs` | the keys of rows, and their order |
//! | `range.rs` | the ranges of keys and times that readers ask for |
//! | `row.rs`, `line.rs` | what rows state, and their JSON |
//! | `table.rs` | tables and the references to them |
//! | `table_writer.rs` | where a table ends and the next one begins |
//! | `run.rs` | runs and lists of tables |
//! | `merge.rs` | which runs a writer merges |
//! | `merged_rows.rs` | the rows of several runs as one sequence |

mod key;
mod line;
mod merge;
mod merged_rows;
mod range;
mod row;
mod run;
mod table;
mod table_writer;
#[cfg(test)]
mod tests;

pub use key::RowKey;
pub(super) use merge::{MergePlan, plan_merge};
pub(super) use merged_rows::{MergedRows, Step};
pub(super) use range::{KeyRange, RowFilter};
pub(super) use row::{PartitionRow, Row, TopicLine, check_line};
pub use run::Run;
pub(super) use run::{RunTables, read_list, run_of};
pub use table::TableRef;
pub(super) use table::{Table, TableRow};
pub(super) use table_writer::{FinishedTable, TableSizes, TableWriter};
