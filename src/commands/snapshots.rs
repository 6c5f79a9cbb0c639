//! `kbk snapshots`: what the repository holds.

/// The words after `kbk snapshots`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {}
