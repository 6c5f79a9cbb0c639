//! The guarantees of kbk, proved against a real Apache Kafka: one file per guarantee.

mod acls;
mod acls_restore;
mod bad_input;
mod batches;
mod batches_restored;
mod claims;
mod cleaned;
mod client_files;
mod clients;
mod compacted;
mod conditions;
mod copy;
mod damaged_repository;
mod discarded;
mod expired;
mod faults;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests of kbk-tools"
)]
#[path = "../support/forged_index.rs"]
mod forged_index;
mod groups;
mod groups_restore;
mod harness;
mod help_examples;
mod how_to;
mod identity;
mod import_interrupted;
mod incremental;
mod interruption;
mod kafka_log;
mod kill;
mod large_records;
mod leaderless;
mod limits;
mod many_partitions;
mod memory;
mod messages;
mod metrics;
mod mounted_log;
mod oidc;
mod old_brokers;
mod open_transactions;
mod outages;
mod parquet;
mod partition_map;
mod permissions;
mod point_in_time;
mod quotas;
mod rebuilt;
mod recreated;
mod repartition;
mod repo_mode;
mod restored_config;
mod resume;
mod round_trip;
mod secure;
mod selection;
mod status;
mod store_removal;
mod stores;
mod support;
mod target_verify;
mod targets;
mod tiered;
mod unreadable;
mod wire_outages;
mod wire_reading;
mod wire_secure;
mod wire_writing;
