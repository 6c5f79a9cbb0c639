//! What is in the files: from the store to bytes.
//!
//! ```text
//! snapshot --> pages --> footers    where in the text a block or an offset is, and how much text an hour has
//!                          |
//!              stored blocks --render--> text --> any range of a file
//! ```
//!
//! | to | see |
//! |---|---|
//! | read from the repository, within a deadline | `source`, `store_call` |
//! | keep what was read, and load it once | `caches` |
//! | know what could not be read | `findings` |
//! | find snapshots, pages, indexes and footers | `snapshot_reader`, `snapshot`, `pages` |
//! | know how long the text of blocks is | `text_lengths` |
//! | find offsets in a partition's text | `offsets`, `lines` |
//! | select records by time | `span`, `hours`, `time_file` |
//! | select records by key | `key_file` |
//! | turn blocks into text | `blocks`, `render` |
//! | turn blocks into Kafka's log | `log` |
//! | read files | `text_file`, `time_file`, `key_file`, `block_texts`, `pieces`, `stored_file`, `readahead` |

pub(crate) mod block_texts;
pub(crate) mod blocks;
mod caches;
pub(crate) mod findings;
pub(crate) mod hours;
pub(crate) mod key_file;
mod lines;
pub(crate) mod log;
pub(crate) mod offsets;
pub(crate) mod pages;
mod pieces;
pub(crate) mod readahead;
mod render;
pub(crate) mod snapshot;
pub(crate) mod snapshot_reader;
mod source;
pub(crate) mod span;
mod store_call;
pub(crate) mod stored_file;
pub(crate) mod text_file;
pub(crate) mod text_lengths;
pub(crate) mod time_file;
