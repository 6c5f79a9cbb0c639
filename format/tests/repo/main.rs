//! The guarantees of the repository: what was committed stays complete and readable, whatever happens next.
#![cfg(feature = "repo")]

#[path = "../support/mod.rs"]
mod support;

mod carry_over;
mod crash;
mod damage;
mod incomplete;
mod index_reads;
mod location;
mod lost_response;
mod race;
mod upload;
mod world;
