//! `kbk backup`: adds a snapshot of the current state of the topics.

use std::io::{self, Write};
use std::time::Duration;

use clap::builder::PossibleValue;

use super::check_mode;
use crate::backup::{
    self, BackupError, BackupNotice, BackupReport, DamagedSnapshots, Encoding, SaveAcls, SavedAcls,
};
use crate::cli::{
    BlockSize, CliError, ClientChoice, Compression, Context, KafkaArgs, MetricsArgs, Outcome,
    RepoMode, Report, SegmentSize, SnapshotRange, TopicArgs, time,
};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk backup --init -r /backup/kafka -b broker:9092
  kbk backup -r /backup/kafka -b broker:9092 --topic 'orders*' --exclude '*-test'
  kbk backup -c /etc/kbk.toml --command-config client.properties --json

The snapshot has every record up to the end offsets at the start of the run, the committed
offsets of all consumer groups, and the ACLs if the cluster returns them. A later run to the
same repository stores only what is new; after an interruption, run the same command again.

It lists what is stored of the topics that it continues: exit code 3 where a segment or a part of the index is
missing or has another size than the index states. It does not read segments again; `kbk verify` does. With
--refresh --topic TOPIC, a topic whose stored records are damaged is stored again from the cluster.

Batches of snappy, lz4 and zstd are stored without a look at their records, unless --encoding is records. `kbk
verify --depth records` decodes them and finds those that a faulty producer has written, and `kbk index` computes their
digests, times and sizes, which mounts, and restores up to a time, otherwise compute when they need them.";

/// The arguments of `kbk backup`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// The Kafka client that reads records. `wire` is kbk's own; a property that it cannot honour is an error. All else is done by
    /// librdkafka in either case
    #[arg(
        long,
        value_enum,
        value_name = "wire|librdkafka",
        default_value_t,
        hide_possible_values = true
    )]
    pub client: ClientChoice,

    /// The topics of the cluster to back up.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Create the repository if there is none. Without this option that is an error, so that a mistyped location or a folder that
    /// is not mounted never starts a new one; `kbk init` creates a repository, too
    #[arg(long)]
    pub init: bool,

    /// Mode of the files of the repository that --init creates, as for `kbk init` [default: 0600]
    #[arg(long, value_name = "MODE", requires = "init")]
    pub repo_mode: Option<RepoMode>,

    /// Let --init accept a bucket that lets two writers create the same object, as for `kbk init`
    #[arg(long, requires = "init")]
    pub single_writer: bool,

    /// Continue from the snapshot before this one, which is damaged or missing, or before several such as 3-7; repeatable. Their segments
    /// that are intact are used. They stay as they are, and the exit code is 3
    #[arg(long, value_name = "N")]
    pub ignore_damaged_snapshot: Vec<SnapshotRange>,

    /// How records are stored: `batches`, as Kafka's own batches, byte for byte; `records`, by field, compressed anew; `auto`, as batches
    /// where the source compresses them. Messages of formats v0 and v1 are stored by field in any case. `batches` needs --client wire.
    /// Batches that are compressed with snappy, lz4 or zstd are not decompressed: their checksums are compared, and no more
    #[arg(
        long,
        value_enum,
        value_name = "auto|records|batches",
        default_value_t,
        hide_possible_values = true
    )]
    pub encoding: Encoding,

    /// zstd, zstd:LEVEL (1 to 19), lz4 or none, for what is stored by field, and for batches that are not compressed [default: zstd:3]
    #[arg(long, value_name = "CODEC")]
    pub compression: Option<Compression>,

    /// Raw bytes per block, the unit of compression and of random access; 64KiB to 8MiB
    /// [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub block_size: Option<BlockSize>,

    /// Stored bytes after which a segment is sealed; 1MiB to 4GiB [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    pub segment_size: Option<SegmentSize>,

    /// How long to wait for transactions that are open at the start. If some stay open, the records
    /// after them are left to the next run, and the exit code is 3
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = time::parse_duration)]
    pub open_transactions_wait: Duration,

    /// Exit with 0 even if open transactions held records back
    #[arg(long)]
    pub accept_open_transactions: bool,

    /// Do not save the consumer groups and their committed offsets; the snapshot keeps those of the
    /// last one
    #[arg(long)]
    pub no_groups: bool,

    /// Fail unless all ACLs of the cluster can be saved. Without this option they are saved if the principal may list them, which
    /// requires DESCRIBE on CLUSTER kafka-cluster; otherwise a warning is reported
    #[arg(long, conflicts_with = "no_acls")]
    pub acls: bool,

    /// Do not save the ACLs; the snapshot keeps those of the last one
    #[arg(long)]
    pub no_acls: bool,

    /// Read the selected topics again in full, and store them beside what is stored. Compacted topics that were last backed up longer
    /// ago than their `delete.retention.ms`, and have new records, are always read again: tombstones may have come and gone since
    #[arg(long)]
    pub refresh: bool,

    /// Back up this cluster even though the newest snapshot is of another one, which it has replaced: topics that it lacks are
    /// marked as deleted, and topics of the same name are stored beside those of the old cluster
    #[arg(long)]
    pub allow_cluster_change: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

impl clap::ValueEnum for Encoding {
    fn value_variants<'a>() -> &'a [Encoding] {
        &Encoding::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl Args {
    fn save_acls(&self) -> SaveAcls {
        match (self.acls, self.no_acls) {
            (true, _) => SaveAcls::All,
            (false, true) => SaveAcls::No,
            (false, false) => SaveAcls::IfAllowed,
        }
    }
}

/// Backs up, and prints what was added.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    check_mode(args.repo_mode, context.repo()?)?;
    if args.client == ClientChoice::Librdkafka && args.encoding == Encoding::Batches {
        return Err(CliError::usage(
            "--encoding batches needs --client wire: librdkafka shows records, and no batches",
        ));
    }
    let options = backup::BackupOptions {
        location: context.location()?,
        ignored_snapshots: args
            .ignore_damaged_snapshot
            .iter()
            .map(|range| range.0.clone())
            .collect(),
        create: args.init,
        single_writer: args.single_writer,
        kafka: args.kafka.settings_for(args.client)?,
        client: args.client,
        selection: args.topics.selection(),
        encoding: args.encoding,
        compression: args.compression.unwrap_or_default(),
        block_bytes: args.block_size.unwrap_or_default().bytes() as usize,
        segment_bytes: args.segment_size.unwrap_or_default().bytes(),
        open_transactions_wait: args.open_transactions_wait,
        groups: !args.no_groups,
        acls: args.save_acls(),
        refresh: args.refresh,
        allow_cluster_change: args.allow_cluster_change,
    };
    note_newest(context).await;
    let run = backup::run(&options, &context.cancel, context.events("backing up")).await;
    if let (Some(mode), Some(folder)) = (args.repo_mode, context.repo()?.folder()) {
        mode.warn_if_other(folder);
    }
    let Some(report) = run.map_err(failed)? else {
        tracing::warn!("stopped before anything was read: no snapshot was created");
        return Ok(Outcome::Interrupted);
    };
    for finding in &report.findings {
        tracing::warn!("{finding}");
    }
    let damage = |finding: &backup::BackupNotice| finding.is_damage(args.accept_open_transactions);
    let outcome = match report.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(!report.findings.iter().any(damage)),
    };
    context.conclude(&report, outcome)?;
    if report.interrupted {
        tracing::warn!("stopped early: run the same command again to continue");
    }
    Ok(outcome)
}

/// Notes the newest snapshot in the metrics before the cluster is contacted, so that those of a run that fails have its time. Without
/// one, or where it cannot be read, that time is not known; the backup says why.
async fn note_newest(context: &Context) {
    const LIMIT: Duration = Duration::from_secs(30);
    let Some(metrics) = context.metrics() else {
        return;
    };
    let newest = async { super::repository(context).await.ok()?.latest().await.ok()? };
    if let Ok(Some(newest)) = tokio::time::timeout(LIMIT, newest).await
        && newest.has_backup()
    {
        metrics.found_newest(backup::committed(&newest));
    }
}

/// Adds what a failed backup leaves, and what to do about damaged snapshots, which the backup would continue.
fn failed(error: BackupError) -> CliError {
    let hint = match &error {
        BackupError::DamagedSnapshots(damaged) => Some(way_past(damaged)),
        BackupError::ClaimLost(lost) if lost.is_committed() => Some(
            "what this run has stored of partitions that another one has committed is used by no snapshot; `kbk prune` removes it"
                .to_owned(),
        ),
        BackupError::Pipeline(_) | BackupError::ClaimLost(_) => Some(
            "no snapshot was created, and those that there are stay as they are; the next backup uses the segments that this one has \
             stored so far"
                .to_owned(),
        ),
        _ => None,
    };
    let error = CliError::from(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn way_past(damaged: &DamagedSnapshots) -> String {
    let (first, last) = (damaged.first, damaged.last);
    let (range, them) = match first == last {
        true => (last.to_string(), format!("snapshot {last}")),
        false => (
            format!("{first}-{last}"),
            format!("the snapshots {first} to {last}"),
        ),
    };
    let from = match damaged.intact {
        Some(intact) => format!("continues from snapshot {intact}"),
        None => "begins anew, since no other snapshot is intact".to_owned(),
    };
    format!(
        "without an intact copy, `kbk backup --ignore-damaged-snapshot {range}` {from}: the segments of {them} that are intact are used, \
         and nothing is removed; without a cluster, `kbk recover --rebuild` uses them"
    )
}

/// Returns what makes the exit code 3 besides incomplete partitions and stored objects: the first such finding, and how many more there are.
/// The warnings say it, too, but not with --quiet.
fn other_damage(findings: &[BackupNotice]) -> Option<String> {
    let mut others = findings.iter().filter(|finding| {
        finding.is_damage(false)
            && !finding.is_about_stored_objects()
            && !finding.is_about_incomplete_partitions()
    });
    let first = others.next()?;
    Some(match others.count() as u64 {
        0 => first.to_string(),
        more => format!(
            "{first}\nand {} that make the exit code 3: --json lists all",
            human::counted(more, "other finding"),
        ),
    })
}

impl Report for BackupReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut findings = self.findings.iter();
        let is_damaged = |finding: &&BackupNotice| finding.is_about_stored_objects();
        if let Some(damaged) = findings.find(is_damaged) {
            writeln!(out, "{damaged}")?;
        }
        if let Some(partial) = self.completeness.statement() {
            writeln!(out, "{partial}")?;
        }
        if let Some(other) = other_damage(&self.findings) {
            writeln!(out, "{other}")?;
        }
        write!(
            out,
            "snapshot {} of {}: {} in {}",
            self.snapshot,
            self.repository,
            human::counted(self.topics as u64, "topic"),
            human::counted(self.partitions as u64, "partition"),
        )?;
        if let Some(groups) = self.groups {
            write!(out, ", {}", human::counted(groups as u64, "consumer group"))?;
        }
        match &self.acls {
            None => writeln!(out)?,
            Some(SavedAcls {
                authorizer: false, ..
            }) => writeln!(out, ", no ACLs (the cluster has no authorizer)")?,
            Some(acls) => writeln!(out, ", {}", human::counted(acls.saved as u64, "ACL"))?,
        }
        let duration = human::duration(Duration::from_secs_f64(self.seconds));
        if self.records == 0 && self.segments == 0 {
            return writeln!(out, "nothing new to add ({duration})");
        }
        writeln!(
            out,
            "added {}: {} stored as {} in {} ({duration})",
            human::counted(self.records, "record"),
            human::bytes(self.raw_bytes),
            human::bytes(self.stored_bytes),
            human::counted(self.segments as u64, "segment"),
        )?;
        match self.not_computed_segments as u64 {
            0 => Ok(()),
            segments => writeln!(
                out,
                "not decoded: the batches of {}, of which the checksums were compared; `kbk index` computes their digests, times and sizes",
                human::counted(segments, "segment"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::OffsetSpan;

    use super::*;

    #[test]
    fn what_no_statement_of_a_partial_snapshot_covers_is_said_with_the_number_of_others() {
        let topic = || "orders".parse().expect("a topic name");
        let lost = |partition: u16| BackupNotice::Lost {
            topic: topic(),
            partition: partition.into(),
            offsets: OffsetSpan::from(7..9),
        };
        let groups = || BackupNotice::GroupsUnreadable {
            groups: vec!["n".to_owned()],
        };
        let recreated = || BackupNotice::RecreatedMeanwhile { topic: topic() };
        let folder = || BackupNotice::MissingFolder {
            folder: "data".to_owned(),
        };
        let harmless = || BackupNotice::Deleted { topic: topic() };
        let said = |findings: &[BackupNotice]| other_damage(findings);
        assert_eq!(said(&[recreated(), folder(), harmless()]), None);
        assert_eq!(
            said(&[harmless(), recreated(), groups()]),
            Some(groups().to_string())
        );
        let more = "and 2 other findings that make the exit code 3: --json lists all";
        assert_eq!(
            said(&[lost(1), folder(), lost(2), harmless(), groups()]),
            Some(format!("{}\n{more}", lost(1)))
        );
    }
}
