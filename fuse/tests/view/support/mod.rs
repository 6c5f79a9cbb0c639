//! In-memory repositories, their records, and ways to read them.

#[path = "../../../../tests/support/delegate.rs"]
pub(crate) mod delegate;
pub(crate) mod groups;
pub(crate) mod log;
pub(crate) mod read;
pub(crate) mod records;
#[path = "../../../../tests/support/watched.rs"]
pub(crate) mod watched;
pub(crate) mod world;
