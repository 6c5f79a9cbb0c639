//! The repository's promises: what is committed stays whole and readable, whatever happens next.
#![cfg(feature = "repo")]

#[path = "../support/mod.rs"]
mod support;

mod carry_over;
mod crash;
mod damage;
mod location;
mod lost_answer;
mod race;
mod upload;
mod world;
