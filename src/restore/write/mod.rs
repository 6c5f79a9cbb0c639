//! Writes the records of a restore, a transaction at a time.
//!
//! | file | job |
//! |---|---|
//! | `halt` | why writers stop early |
//! | `work` | the partitions to write, shared by the writers |
//! | `producers` | opens the producers |
//! | `writer` | writes partitions with one producer |
//! | `pace` | how much a transaction may hold |
//! | `partitioner` | the partition of a record by its key |
//! | `offset_map` | where each record went |
//! | `written` | what is in a target, by its offsets |
//! | `claims` | keeps other restores out of the targets |
//! | `takeover` | says which run of this restore writes |
//! | `rate` | the rate limit |

pub(crate) mod claims;
pub(crate) mod halt;
pub(crate) mod offset_map;
pub(crate) mod pace;
pub(crate) mod partitioner;
pub(crate) mod producers;
pub(crate) mod rate;
pub(crate) mod takeover;
pub(crate) mod work;
pub(crate) mod writer;
pub(crate) mod written;

#[cfg(test)]
mod tests;
