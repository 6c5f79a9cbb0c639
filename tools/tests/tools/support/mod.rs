//! Helpers that several tests share.

#[path = "../../../../tests/support/delegate.rs"]
pub(crate) mod delegate;
pub(crate) mod rounds;
mod watched;
#[expect(dead_code, reason = "shared with the tests of kbk-fuse")]
#[path = "../../../../tests/support/watched.rs"]
pub(crate) mod watched_store;
mod world;

pub(crate) use watched::watched;
pub use world::*;
