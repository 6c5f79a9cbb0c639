//! Programs over the kbk format that need no Kafka.
//!
//! ```text
//! Snapshot --> ReadPlan --> PartitionReader --> Batch --> Record     get records out
//! Snapshot --> verify -------------------------------------> Report       is everything there?
//! Snapshot --> listing, groups ----------------------------> rows         what is there?
//! FILE.kseg -> Inspection                                                 what does one segment say?
//! ```
//!
//! Reading the records of a partition, in offset order and in constant memory:
//!
//! ```no_run
//! use kbk_format::Streams;
//! use kbk_format::repo::{Repository, Store};
//! use kbk_tools::{ReadPlan, Selection};
//!
//! # async fn example() -> Result<(), kbk_format::repo::RepoError> {
//! let repository = Repository::open(Store::open("/backup/kafka")?).await?;
//! let Some(snapshot) = repository.latest().await? else { return Ok(()) };
//! for topic in &snapshot.topics {
//!     for state in &topic.partitions {
//!         let selection = Selection {
//!             offsets: state.base_offset..state.end_offset,
//!             times: i64::MIN..=1_763_800_000_000,
//!         };
//!         let place = topic.place(state.partition);
//!         let plan = ReadPlan::new(&repository, place, state, selection).await?;
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
//! | choose records, and see what will be read | [`Selection`], [`ReadPlan`], [`Needs`] |
//! | know where a time begins, as Kafka means it | [`offset_for_time`] |
//! | read them | [`PartitionReader`], [`Batch`] |
//! | prove a repository | [`verify`], [`Finding`] |
//! | list what it holds | [`listing`] |
//! | see how far consumer groups had read | [`groups`] |
//! | know where a restore put an offset | [`offset_map`] |
//! | look at one segment | [`inspect`] |

pub mod finding;
pub mod groups;
pub mod inspect;
pub mod listing;
mod needs;
mod offset_for_time;
pub mod offset_map;
mod plan;
mod reader;
mod runs;
mod select;
pub mod verify;

pub use finding::{Finding, Kind, Offsets, Severity};
pub use needs::Needs;
pub use offset_for_time::offset_for_time;
pub use plan::ReadPlan;
pub use reader::{Batch, PartitionReader};
pub use select::Selection;
