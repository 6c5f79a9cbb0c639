//! Everything that works on a repository without Kafka.
//!
//! ```text
//!                 read      Snapshot --> ReadPlan --> PartitionReader --> Batch --> Record
//!                 grep      partitions --> Search, on all cores --> selected records as text
//!                 verify    Snapshot --> every table, segment and byte --> VerifyReport
//!   Repository -- list      Snapshot --> rows of snapshots, topics, partitions, segments, groups
//!                 restores  finished restore --> offset map --> offsets in the cluster
//!                 retention policy --> which snapshots are forgotten, and why
//!                 copy      snapshots --> another repository
//!                 diff      two snapshots --> what differs
//!                 compact   small segments --> large ones, proved to hold the same
//!                 export    records --> files of other formats
//!                 import    logs of a broker --> segments, committed
//!                 claims    what is going to be written --> the right to, while others want it too
//!   FILE.kseg --- recover   damaged copies of a segment --> a new one of what they prove, and what is lost
//!   FILE.kseg --- inspect   one segment, without its repository --> Inspection; SegmentFile reads and verifies it
//! ```
//!
//! Each room answers one question, depends on `kbk-format` alone, and knows neither a cluster nor a command line.
//!
//! Reading the records of a repository, in offset order and in constant memory:
//!
//! ```no_run
//! use kbk_format::Streams;
//! use kbk_format::repo::{Repository, Store};
//! use kbk_tools::filter::RecordFilter;
//! use kbk_tools::read::{ReadPlan, Selection};
//!
//! # async fn example() -> Result<(), kbk_format::repo::RepoError> {
//! let repository = Repository::open(Store::open("/backup/kafka")?).await?;
//! let Some(snapshot) = repository.latest().await? else { return Ok(()) };
//! for topic in &snapshot.topics {
//!     for state in &topic.partitions {
//!         let selection = Selection {
//!             offsets: state.base_offset..state.end_offset,
//!             times: i64::MIN..=1_763_800_000_000,
//!             filter: RecordFilter::all(),
//!         };
//!         let partition = topic.partition_id(state.partition);
//!         let plan = ReadPlan::new(&repository, &snapshot, partition, state, selection).await?;
//!         let mut reader = plan.read(Streams::All, &tokio::runtime::Handle::current());
//!         while let Some(batch) = reader.next().await? {
//!             for record in batch.records() {
//!                 println!("{}", record.offset);
//!             }
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to | see |
//! |---|---|
//! | select records, and estimate what reading them takes | [`read::Selection`], [`read::ReadPlan`], [`read::Needs`] |
//! | select them by key, header or value | [`filter::RecordFilter`] |
//! | read them | [`read::PartitionReader`], [`read::Batch`] |
//! | find the offset at which a time begins, as Kafka defines it | [`read::offset_for_time`] |
//! | search them on all cores (`kbk grep`) | [`grep::Search`] |
//! | verify a repository (`kbk verify`) | [`verify::verify`], [`verify::Finding`] |
//! | check a segment that no table names | [`verify::UnindexedSegment`] |
//! | list snapshots, topics, partitions and segments | [`list`] |
//! | list consumer groups and their lag | [`list::groups`] |
//! | translate offsets by the offset map of a restore | [`restores::FinishedRestore`], [`restores::MapReader`] |
//! | claim partitions before they are written, and see who else has | [`claims::claim`], [`claims::list`] |
//! | decide which snapshots are forgotten (`kbk forget`) | [`retention::plan_policy`], [`retention::Policy`] |
//! | merge small segments, compress them anew, keep the latest record per key (`kbk compact`) | [`compact::compact`] |
//! | compute the numbers of a segment whose writer did not decode it | [`compute`]; of those of a snapshot, in segments of their own (`kbk index`), [`index::index`] |
//! | copy snapshots to another repository (`kbk copy`) | [`copy::copy`] |
//! | compare two snapshots (`kbk diff A B`) | [`diff::diff`], [`diff::SnapshotDifference`] |
//! | store the logs of a broker that does not run (`kbk import`) | [`import::import`] |
//! | write records as files of other formats (`kbk export`) | [`export::export`] |
//! | tell such a run what to do, and hear of it | [`maintenance`] |
//! | look at one segment file (`kbk inspect`) | [`inspect::inspect`] |
//! | recover what damaged segments still prove (`kbk recover`) | [`recover::recover_files`] |
//! | open a segment file without its repository | [`SegmentFile`]; all bytes of any file, past what its disk does not return, [`FileBytes`] |
//! | name offsets that cannot be read | [`UnreadRange`] |
//! | share work among threads | [`share::FairShare`] |

pub mod claims;
pub mod compact;
mod compute;
pub mod copy;
pub mod diff;
pub mod export;
mod file_bytes;
pub mod filter;
pub mod grep;
pub mod import;
pub mod index;
pub mod inspect;
mod large_blocks;
pub mod list;
pub mod maintenance;
pub mod original;
pub mod read;
pub mod recover;
pub mod restores;
pub mod retention;
mod segment_file;
pub mod share;
mod task;
#[cfg(test)]
mod testing;
mod unread_range;
mod unusable;
pub mod verify;

pub use compute::compute;
pub use file_bytes::{FileBytes, FileBytesError, UnreadableBytes};
pub use filter::{KeySelection, RecordFilter};
pub use read::{
    Batch, Needs, Order, PartitionReader, ReadOptions, ReadPlan, Selection, StoredBatch,
    StoredBatches, StoredBlock, offset_for_time,
};
pub use segment_file::{SegmentFile, SegmentFileError};
pub use unread_range::UnreadRange;
