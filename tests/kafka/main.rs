//! The guarantees of kbk, proved against a real Apache Kafka: one file per guarantee.

mod acls;
mod acls_restore;
mod bad_input;
mod choice;
mod groups;
mod groups_restore;
mod harness;
mod incremental;
mod interruption;
mod kill;
mod large_records;
mod memory;
mod open_transactions;
mod permissions;
mod point_in_time;
mod proof;
mod repartition;
mod resume;
mod round_trip;
mod secure;
mod shape;
mod support;
