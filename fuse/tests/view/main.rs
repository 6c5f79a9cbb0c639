//! The tree without a mount: every file against a model, whatever the store does.

mod faults;
mod follow;
mod identity;
mod memory;
mod support;
mod text;
mod tree;
