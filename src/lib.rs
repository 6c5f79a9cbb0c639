//! kbk: back up and restore Apache Kafka.
//!
//! ```text
//! cluster --kafka::Consumer--> backup --segments, pages, snapshot--> repository --tools--> verify, ls, cat, inspect
//! cluster <--kafka::Producer-- restore <--selection, reader------- repository
//! ```
//!
//! The format and the repository are the crate `kbk-format`, what reads a repository is `kbk-tools`; here is what needs a cluster, and
//! the program.
//!
//! | to | see |
//! |---|---|
//! | know the words of a call, and how the program answers | [`cli`], [`commands`] |
//! | read a cluster into a repository | [`backup`] |
//! | write a snapshot into a cluster | [`restore`], its [`groups`] and [`acls`] |
//! | see both at work on a broker in this process | [`demo`] |
//! | exchange records with a cluster | [`records`], the seam between those and a client |
//! | talk to Kafka | [`kafka`], the one place that names its client |

pub mod acls;
pub mod app;
pub mod backup;
mod blocking;
pub mod cli;
pub mod commands;
pub mod demo;
pub mod groups;
pub mod human;
pub mod kafka;
mod memory;
pub mod records;
pub mod restore;
pub mod run;
pub mod select;
