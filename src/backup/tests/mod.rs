//! Backups of logs in memory, without a broker.

mod adopt;
mod allocations;
mod continuity;
#[path = "../../../tests/support/counting.rs"]
mod counting;
#[path = "../../../tests/support/delegate.rs"]
mod delegate;
mod epochs;
mod pipeline;
mod recheck;
mod refresh;
mod world;
