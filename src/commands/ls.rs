//! `kbk ls`: topics, partitions and segments.

use crate::cli::{SnapshotArg, TopicPlace};

/// The words after `kbk ls`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A topic, to list its partitions, or one partition; without it, all topics
    #[arg(value_name = "TOPIC[/PARTITION]")]
    pub place: Option<TopicPlace>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

    /// List every segment
    #[arg(long)]
    pub segments: bool,
}
