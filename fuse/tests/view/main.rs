//! The tree without a mount: every file against a model, on intact and on faulty stores.

mod by_key;
mod faults;
mod follow;
mod identity;
mod inodes;
mod large;
mod listing;
mod log;
mod memory;
mod support;
mod text;
mod tree;
mod unreadable;
