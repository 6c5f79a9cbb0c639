//! `kbk verify`: is every byte and every offset there.

use crate::cli::{SnapshotsArg, TopicArgs};

/// The words after `kbk verify`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Snapshot number, latest or all
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotsArg,

    /// Which of its topics.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Decompress every block too, and check the records against the content digests
    #[arg(long)]
    pub full: bool,
}
