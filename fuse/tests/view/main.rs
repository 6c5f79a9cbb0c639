//! The tree without a mount: every file against a model, whatever the store does.

mod support;
mod text;
mod tree;
