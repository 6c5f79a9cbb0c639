//! In-memory repositories, their records, and ways to read them.

pub(crate) mod read;
pub(crate) mod records;
pub(crate) mod watched;
pub(crate) mod world;
