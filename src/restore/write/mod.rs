//! Writes the records of a restore, a transaction at a time.

pub(crate) mod offset_map;
pub(crate) mod partitioner;
pub(crate) mod producers;
pub(crate) mod rate;
pub(crate) mod work;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
