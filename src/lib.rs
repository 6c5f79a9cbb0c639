//! kbk: back up and restore Apache Kafka.
pub mod backup;
pub mod cli;
pub mod commands;
pub mod demo;
pub mod kafka;
pub mod restore;
