//! In-memory repositories, their records, and ways to read them.

#[path = "../../../../tests/support/change.rs"]
pub(crate) mod change;
#[path = "../../../../tests/support/delegate.rs"]
pub(crate) mod delegate;
pub(crate) mod groups;
pub(crate) mod log;
pub(crate) mod read;
pub(crate) mod records;
#[expect(dead_code, reason = "shared with the tests of kbk-tools")]
#[path = "../../../../tests/support/watched.rs"]
pub(crate) mod watched;
pub(crate) mod world;
