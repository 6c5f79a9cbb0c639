//! kbk: back up and restore Apache Kafka.
pub mod commands;
pub mod cli;
