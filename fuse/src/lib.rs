//! A repository as a tree of read-only files, with exact sizes and range reads, and its mount under a mount point.
//!
//! ```text
//!  kernel --> View --> tree --> content --> store
//!             inode    names,   text and    pages, footers, runs of blocks
//!             numbers  sizes    bytes         |
//!                        |         |          v
//!                        +---------+----> cache: one load per value, one memory budget
//! ```
//!
//! Sizes come from pages and footers (SPEC 11.4, `rendered_sizes`), so no block is decoded for `stat` or `ls`. A read decodes only
//! the blocks that it touches. Only [`kernel`] depends on FUSE.
//!
//! | to | see |
//! |---|---|
//! | show a repository | [`View`], [`ViewOptions`] |
//! | get the attributes of a file | [`Attributes`], [`Inode`] |
//! | read a file | [`OpenFile`] |
//! | handle an error | [`ViewError`] |
//! | mount a view | [`kernel`] |
//!
//! Where to find what:
//!
//! | question | look in |
//! |---|---|
//! | which files exist, their names, attributes and contents | `tree/`: one module per family, listed in `tree/mod.rs` |
//! | inode numbers | `tree/inode.rs`, `tree/ephemeral.rs`, `tree/followed.rs` |
//! | what is read of a snapshot, and when | `content/snapshot_reader.rs` |
//! | deadlines of the store | `content/source.rs` |
//! | how a range of a file becomes blocks, and blocks become text | `content/text_file.rs`, `content/blocks.rs`, `content/render.rs` |
//! | memory: budget, eviction, single flight | `cache/budget.rs`, `cache/single_flight.rs` |
//! | `--cache-dir` | `cache/disk.rs` |
//! | error numbers, caching by the kernel, unmounting | `kernel/` |

mod attributes;
mod cache;
mod content;
mod error;
pub mod kernel;
mod open_file;
mod tree;
mod view;

pub use attributes::{Attributes, Entry, Kind, Lifetime, Listed};
pub use error::{Location, ViewError};
pub use open_file::OpenFile;
pub use tree::TopicFilter;
pub use tree::catalogue::Snapshots;
pub use tree::inode::Inode;
pub use tree::part::Part;
pub use view::{CacheDir, Status, Totals, View, ViewOptions};
