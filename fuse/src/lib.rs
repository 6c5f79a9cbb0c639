//! A repository as a tree of files: exact sizes, range reads; and, in [`kernel`] alone, what puts it under a mount point.
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
//! | mount one | [`kernel`] |

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
pub use view::{CacheDir, Status, Totals, View, ViewOptions};
