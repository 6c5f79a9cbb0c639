//! `kbk cat`: records as JSON lines.

use crate::cli::{OffsetArg, SnapshotArg, TimeArg, TopicName};

const EXAMPLES: &str = "\
Examples:
  kbk cat -r /backup/kafka orders -n 10
  kbk cat -r /backup/kafka orders -p 3 --offset 12345 -n 1
  kbk cat -r /backup/kafka orders --offset -100
  kbk cat -r /backup/kafka orders --since 2026-11-22T10:00:00Z --until 2026-11-22T11:00:00Z

OFFSET is first, last, a number, or -100 for the last 100.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// The words after `kbk cat`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The topic
    pub topic: TopicName,

    /// Only this partition; repeatable
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Vec<i32>,

    /// From this offset of each partition on
    #[arg(
        long,
        visible_alias = "offset",
        value_name = "OFFSET",
        default_value = "first",
        allow_hyphen_values = true
    )]
    pub from_offset: OffsetArg,

    /// Up to and with this offset of each partition
    #[arg(
        long,
        value_name = "OFFSET",
        default_value = "last",
        allow_hyphen_values = true
    )]
    pub to_offset: OffsetArg,

    /// At most so many records in all
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,

    /// Only records with this timestamp or a later one
    #[arg(long, value_name = "TIME")]
    pub since: Option<TimeArg>,

    /// Only records with this timestamp or an earlier one, wherever they stand in the partition
    #[arg(long, value_name = "TIME")]
    pub until: Option<TimeArg>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,
}
