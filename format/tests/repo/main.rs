//! The guarantees of the repository: what was committed stays complete and readable, whatever happens next.
#![cfg(feature = "repo")]

#[path = "../../../tests/support/change.rs"]
mod change;
#[path = "../../../tests/support/store_contract.rs"]
mod store_contract;
#[path = "../support/mod.rs"]
mod support;

mod carry_over;
mod crash;
mod damage;
mod incomplete;
mod index_reads;
mod location;
mod lost_response;
mod one_copy;
mod race;
mod read_buffers;
mod stores;
mod upload;
mod world;
