//! A repository as a tree of files: exact sizes, range reads, no FUSE types.
//!
//! ```text
//! kernel or program --> View --> tree --> files
//!                                           |  which blocks?  pages -> footers
//!                                           v
//!            store <-- runs of blocks <-- cache, single flight, one budget of memory --> text
//! ```
//!
//! Sizes come from pages and footers (SPEC 11.4, rendered_sizes), so nothing is decoded to tell them; a read decodes the blocks
//! that it touches.
//!
//! | to | see |
//! |---|---|
//! | show a repository | [`View`] |
//! | know what a file is | [`Attributes`], [`Inode`] |
//! | read one | [`OpenFile`] |
//! | tell a program why not | [`ViewError`] |

mod attributes;
mod blocks;
mod cache;
mod catalogue;
mod damage;
mod documents;
mod error;
mod extended;
mod inode;
mod library;
mod lines;
mod named;
mod names;
mod offsets;
mod open_file;
mod pages;
mod render;
mod snapshot;
mod stored;
mod text;
mod times;
mod tree;
mod view;

pub use attributes::{Attributes, Entry, Kind, Lifetime, Listed};
pub use catalogue::Snapshots;
pub use error::{Location, ViewError};
pub use inode::Inode;
pub use open_file::OpenFile;
pub use tree::TopicFilter;
pub use view::{CacheDir, Status, Totals, View, ViewOptions};
