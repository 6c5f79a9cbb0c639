//! `kbk diff`: compares two snapshots, or a snapshot with a cluster.

mod live;
mod snapshots;

use crate::cli::{
    CliError, ClientChoice, Context, KafkaArgs, Outcome, RenameArgs, SelectionArgs, SnapshotArg,
    TopicPartitionArgs, WithArgs,
};
use crate::select::PartitionMap;

const EXAMPLES: &str = "\
Examples:
  kbk diff 3 7 -r /backup/kafka
  kbk diff -r /backup/kafka --with s3://dr/kafka
  kbk diff --live -r /backup/kafka -b broker:9092 --topic orders
  kbk diff --live -r /backup/kafka -b broker:9092 --map orders=orders-restored --until 2026-11-22T10:00:00Z

Of two snapshots, A and B, it compares topics and their configurations, the offsets that are covered, lost
or missing, records, committed offsets of consumer groups, and ACLs. With --topic, --exclude or --partition,
groups and ACLs are left out. Topics are paired by name and id. Records are compared by the digests that both
snapshots state, and one by one where these differ, or with --full. That each segment is there, with its
size, is compared with listings. What cannot be read is named, and the rest is compared.

With --live it compares the records that both the cluster and the snapshot hold: key, value,
headers and timestamp, in the order of each partition. --since, --until and the other criteria
apply to both sides. In the topic that was backed up, records are paired by offset; in one that
`kbk restore` wrote, by its offset map; in any other copy, in order. Four things are counted
and are no differences: records of the backup below the start of the cluster's log (TRIMMED),
records with a key that a compacted topic no longer has (COMPACTED), records of the cluster
that `kbk compact` has removed from the backup (REMOVED), and offsets of the cluster after
the end of the snapshot (AFTER END): newer ones, markers of transactions among them, and
those that a partial snapshot lacks. In a copy without an offset map, compacted records count
as missing, and removed ones as differences.
Exit code 3: something differs, is missing where it should not be, is there and not in the
backup, or could not be compared.";

/// The arguments of `kbk diff`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Snapshot to compare, A: its number, or latest
    #[arg(value_name = "A", conflicts_with = "live")]
    pub a: Option<SnapshotArg>,

    /// Snapshot to compare it with, B [default: latest]
    #[arg(value_name = "B", conflicts_with = "live")]
    pub b: Option<SnapshotArg>,

    /// Where B is, if in another repository.
    #[command(flatten)]
    pub with: WithArgs,

    /// Read every record of both snapshots, also where their digests are the same
    #[arg(long, conflicts_with = "live")]
    pub full: bool,

    /// Compare records, and which offsets are covered, lost or missing: not configurations, groups and ACLs, which an import of Kafka's
    /// logs cannot have
    #[arg(long, conflicts_with = "live")]
    pub records_only: bool,

    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// The Kafka client that reads records, with --live. `wire` is kbk's own; a property that it cannot honour is an error. All else is
    /// done by librdkafka in either case
    #[arg(
        long,
        value_enum,
        value_name = "wire|librdkafka",
        default_value_t,
        hide_possible_values = true
    )]
    pub client: ClientChoice,

    /// The topics of the snapshot to compare.
    #[command(flatten)]
    pub topics: TopicPartitionArgs,

    /// The records that are expected.
    #[command(flatten)]
    pub choice: SelectionArgs,

    /// The cluster's records lack the headers of this name, as after `kbk restore --drop-header`; repeatable
    #[arg(long, value_name = "NAME")]
    pub drop_header: Vec<String>,

    /// Compare with a cluster
    #[arg(long)]
    pub live: bool,

    /// Their names in the cluster.
    #[command(flatten)]
    pub names: RenameArgs,

    /// Partitions have other numbers in the cluster, as in `kbk restore --partition-map`
    #[arg(long, value_name = "SOURCE:TARGET,...")]
    pub partition_map: Option<PartitionMap>,

    /// Snapshot to compare with the cluster: its number, or latest [default: latest]
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<SnapshotArg>,
}

/// Compares, and prints the result.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    if args.live {
        return live::run(args, context).await;
    }
    if args.a.is_none() && args.with.with.is_none() {
        return Err(CliError::usage("what to compare is not given").hint(
            "give two snapshots, as in `kbk diff 3 7`, another repository with --with, or --live for a cluster",
        ));
    }
    snapshots::run(args, context).await
}
