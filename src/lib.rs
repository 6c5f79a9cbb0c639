//! kbk: back up and restore Apache Kafka.
//!
//! ```text
//! cluster --kafka::Consumer--> backup --segments, pages, snapshot--> repository --tools--> verify, ls, cat, inspect
//! cluster <--kafka::Producer-- restore <--selection, reader------- repository
//! ```
//!
//! The format and the repository are in the crate `kbk-format`, and everything that works on a repository without Kafka is in
//! `kbk-tools`. This crate has what needs a cluster, and the program. `tests/architecture/` holds the order of its modules.
//!
//! | to | see |
//! |---|---|
//! | know how the program starts and ends | [`app`] |
//! | see its options and output | [`cli`], [`commands`] |
//! | read a cluster into a repository | [`backup`] |
//! | write a snapshot to a cluster | [`restore`], [`groups`], [`acls`] |
//! | select topics, groups, partitions and offsets | [`select`] |
//! | stop a run, or follow its progress | [`run`] |
//! | count what a run does, for Prometheus | [`metrics`] |
//! | see everything work on a broker in this process | [`demo`] |
//! | exchange records with a cluster | [`records`], the seam between the engine and a Kafka client |
//! | talk to Kafka | [`kafka`], the one place that names its client |

pub mod acls;
pub mod app;
pub mod backup;
mod blocking;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod demo;
pub mod groups;
pub mod human;
pub mod kafka;
mod memory;
pub mod metrics;
pub mod records;
pub mod restore;
pub mod run;
pub mod select;
#[cfg(test)]
mod testing;
