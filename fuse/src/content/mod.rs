//! What is in the files: from the store to bytes.
//!
//! ```text
//! snapshot --> pages --> footers    where in the text a block, an offset, an hour stands
//!                          |
//!              stored blocks --render--> text --> any range of a file
//! ```

pub(crate) mod ahead;
pub(crate) mod blocks;
pub(crate) mod library;
mod lines;
mod offsets;
pub(crate) mod pages;
mod render;
pub(crate) mod snapshot;
pub(crate) mod stored;
pub(crate) mod text;
mod times;
