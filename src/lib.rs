//! kbk: back up and restore Apache Kafka.
pub mod commands;
pub mod cli;
pub mod kafka;
pub mod backup;
pub mod restore;
pub mod demo;
