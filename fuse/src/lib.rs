//! A snapshot as files: exact sizes, range reads, no FUSE types.
//!
//! ```text
//! partition's segments --footers--> exact sizes, block by block --read_at--> decode the blocks it needs, render, slice
//! ```
//!
//! | to | see |
//! |---|---|
//! | read any range of a partition as text | [`view::PartitionFile`] |

pub mod view;
