//! The guarantees of kbk, proved against a real Apache Kafka: one file per guarantee.

mod acls;
mod acls_restore;
mod bad_input;
mod damaged_repository;
mod groups;
mod groups_restore;
mod harness;
mod incremental;
mod interruption;
mod kill;
mod large_records;
mod limits;
mod memory;
mod open_transactions;
mod partition_map;
mod permissions;
mod point_in_time;
mod repartition;
mod restored_config;
mod resume;
mod round_trip;
mod secure;
mod selection;
mod support;
mod target_verify;
mod targets;
