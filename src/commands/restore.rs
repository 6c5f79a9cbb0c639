//! `kbk restore`: a snapshot's topics back into a cluster.

use crate::cli::{KafkaArgs, SnapshotArg, TimeArg, TopicArgs, TopicMapping};

const EXAMPLES: &str = "\
Examples:
  kbk restore -r /backup/kafka -b broker:9092 --dry-run
  kbk restore -r /backup/kafka -b broker:9092 --topic orders --map orders=orders-restored
  kbk restore -r /backup/kafka -b broker:9092 --until 2026-11-22T10:00:00Z

Missing topics are created with the saved partition count and configuration. Partition, key, value,
headers and timestamp of every record are kept; offsets are given anew by the cluster.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// The words after `kbk restore`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// Which of the snapshot's topics.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Restore a topic under another name; repeatable
    #[arg(long, value_name = "SOURCE=TARGET")]
    pub map: Vec<TopicMapping>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

    /// Only records with this timestamp or a later one
    #[arg(long, value_name = "TIME")]
    pub since: Option<TimeArg>,

    /// Only records with this timestamp or an earlier one, wherever they stand in the partition
    #[arg(long, value_name = "TIME")]
    pub until: Option<TimeArg>,

    /// Print the plan with exact counts and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Restore into topics that hold records already
    #[arg(long)]
    pub append: bool,

    /// Replication factor of the topics to create [default: the saved one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
}
