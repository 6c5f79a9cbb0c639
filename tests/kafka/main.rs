//! The guarantees of kbk, proved against a real Apache Kafka: one file per guarantee.

mod harness;
mod support;
