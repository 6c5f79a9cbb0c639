//! A snapshot as a tree of files.
