//! `kbk import`: stores the logs of a broker that does not run.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use kbk_format::PartitionNumber;
use kbk_format::repo::Repository;
use kbk_tools::claims::ClaimEvent;
use kbk_tools::import::{
    self, FoundLogs, ImportError, ImportEvents, ImportOptions, ImportReport, ImportedPartition,
};
use kbk_tools::list::{Completeness, IncompletePartition};
use serde::Serialize;

use super::run_progress::RunProgress;
use crate::backup;
use crate::cli::{
    BlockSize, CliError, Column, Compression, Context, MetricsArgs, Outcome, Report, SegmentSize,
    Table, TopicArgs,
};
use crate::human;
use crate::run::Totals;
use crate::select::TopicSelection;

const EXAMPLES: &str = "\
Examples:
  kbk import -r /backup/kafka /var/lib/kafka/data
  kbk import -r /backup/kafka /mnt/snapshot/data-1 /mnt/snapshot/data-2 --topic 'orders*'
  kbk import -r /backup/kafka /var/lib/kafka/data/orders-0 --dry-run

LOGDIR is a folder that `log.dirs` of a broker names, or that of one partition, such as orders-0; also segment
files that tiered storage holds, in a folder of such a name. The broker must not run: stop it, or import a
snapshot of its volume. No broker is contacted, and nothing in LOGDIR is changed. `kbk init` creates the
repository.
Message formats v0, v1 and v2 are read, with every codec. The result is a snapshot like that of `kbk backup`:
records of aborted transactions are left out, and what follows the first open transaction is not stored.
A folder says nothing about configurations, replication factors, groups and ACLs: they are not saved, and
`kbk restore` creates such a topic with the defaults of the cluster.
A topic that the repository has already is stored beside it, as `kbk backup --refresh` does.
Of several brokers, give the folders of enough of them that each partition is there once.
Exit code 3: part of the logs is damaged, cut off, missing between two files, or of a transaction whose end is not
known; nothing can be read of a partition; or the folder is an export of kbk that lacked records, as kbk-gaps in it
says. The snapshot is partial then, and says where.";

/// The arguments of `kbk import`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folders of logs
    #[arg(value_name = "LOGDIR", required = true, num_args = 1..)]
    pub folders: Vec<PathBuf>,

    /// The topics to import.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// zstd, zstd:LEVEL (1 to 19), lz4 or none [default: zstd:3]
    #[arg(long, value_name = "CODEC")]
    pub compression: Option<Compression>,

    /// Raw bytes per block, the unit of compression and of random access; 64KiB to 8MiB
    /// [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub block_size: Option<BlockSize>,

    /// Stored bytes after which a segment is sealed; 1MiB to 4GiB [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    pub segment_size: Option<SegmentSize>,

    /// Import the logs of this cluster even though the newest snapshot is of another one, which it has replaced
    #[arg(long)]
    pub allow_cluster_change: bool,

    /// Only say which logs would be imported
    #[arg(long)]
    pub dry_run: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// What was imported, and what is missing.
#[derive(Debug, Serialize)]
struct Importing {
    /// The logs that were found.
    logs: Vec<LogRow>,
    /// Whether nothing was changed.
    dry_run: bool,
    /// Whether no partition of the snapshot lacks records; null where none was committed.
    complete: Option<bool>,
    /// Those that do.
    incomplete: Vec<IncompletePartition>,
    #[serde(skip)]
    partial: Option<String>,
    #[serde(flatten)]
    report: ImportReport,
}

/// A log that was found.
#[derive(Debug, Serialize)]
struct LogRow {
    /// The topic's name.
    topic: String,
    /// The partition's number.
    partition: PartitionNumber,
    /// The log's folder.
    folder: PathBuf,
    /// Kafka's id of the topic; null where the folder states none.
    kafka_id: Option<String>,
    /// Number of segments; 0 where nothing of it can be read.
    segments: usize,
    /// Their bytes.
    bytes: u64,
}

/// Imports, and prints what was stored.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let mut found = import::find(&args.folders)?;
    select(&mut found, args.topics.selection())?;
    let logs = rows(&found);
    let options = ImportOptions {
        compression: args.compression.unwrap_or_default(),
        block_bytes: args.block_size.unwrap_or_default().bytes() as usize,
        segment_bytes: args.segment_size.unwrap_or_default().bytes(),
        allow_cluster_change: args.allow_cluster_change,
        threads: thread::available_parallelism().map_or(1, usize::from),
        writer: super::writer(),
    };
    if args.dry_run {
        let report = import::dry_run(&repository, found, &options).await;
        let importing = Importing {
            logs,
            dry_run: true,
            complete: None,
            incomplete: Vec::new(),
            partial: None,
            report: report?,
        };
        return conclude(&importing, context);
    }
    let totals = Totals {
        records: None,
        bytes: Some(found.logs.iter().map(|log| log.bytes).sum()),
    };
    let progress = Arc::new(RunProgress::start(context, "importing", totals));
    let events: Arc<dyn ImportEvents> = Arc::clone(&progress) as _;
    let stop = context.cancel.cancelled();
    let claim_events = Arc::new(log);
    let imported = import::import(&repository, found, options, stop, events, claim_events).await;
    // The progress leaves the screen before the result is written.
    drop(progress);
    let report = imported.map_err(failed)?;
    let completeness = committed(&repository, &report, context).await?;
    let importing = Importing {
        logs,
        dry_run: false,
        complete: completeness.as_ref().map(|it| it.complete),
        partial: completeness.as_ref().and_then(Completeness::statement),
        incomplete: completeness.map_or_else(Vec::new, |it| it.incomplete),
        report,
    };
    conclude(&importing, context)
}

/// Prints what was found and done.
fn conclude(importing: &Importing, context: &Context) -> Result<Outcome, CliError> {
    for finding in &importing.report.findings {
        tracing::warn!("{}", finding.message);
    }
    let outcome = match importing.report.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(importing.report.is_whole()),
    };
    context.conclude(importing, outcome)
}

/// Keeps the logs of the selected topics.
fn select(found: &mut FoundLogs, selection: TopicSelection) -> Result<(), CliError> {
    let is_internal = |name: &str| name.starts_with("__");
    let topics: BTreeSet<&str> = found.logs.iter().map(|log| &*log.topic).collect();
    let topics = topics.into_iter().map(|name| (name, is_internal(name)));
    let selected = selection.select(topics)?;
    found
        .logs
        .retain(|log| selected.iter().any(|name| **name == *log.topic));
    match found.logs.is_empty() {
        true => Err(CliError::usage(
            "no log of these folders is selected; internal topics are selected by --topic only",
        )),
        false => Ok(()),
    }
}

/// Returns the completeness of the snapshot that was committed, which listeners hear of.
async fn committed(
    repository: &Repository,
    report: &ImportReport,
    context: &Context,
) -> Result<Option<Completeness>, CliError> {
    let Some(sequence) = report.snapshot else {
        return Ok(None);
    };
    let snapshot = repository.snapshot(sequence).await?;
    if let Some(metrics) = context.metrics() {
        metrics.found_newest(backup::committed(&snapshot));
    }
    Ok(Some(Completeness::of(&snapshot)))
}

fn rows(found: &FoundLogs) -> Vec<LogRow> {
    let row = |log: &import::FoundLog| LogRow {
        topic: log.topic.to_string(),
        partition: log.partition,
        folder: log.folder.clone(),
        kafka_id: log.topic_id.map(|id| id.to_string()),
        segments: log.files.len(),
        bytes: log.bytes,
    };
    found.logs.iter().map(row).collect()
}

fn log(event: &ClaimEvent) {
    if event.is_warning() {
        tracing::warn!("{event}");
    } else {
        tracing::info!("{event}");
    }
}

/// Adds what a failed import leaves.
fn failed(error: ImportError) -> CliError {
    CliError::from(error).hint(
        "no snapshot was created; what was stored of the logs is used by no snapshot, and `kbk prune` removes it",
    )
}

impl Report for Importing {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.dry_run {
            let bytes = self.logs.iter().map(|log| log.bytes).sum();
            // One of which nothing can be read is listed, too.
            let readable = self.logs.iter().filter(|log| log.segments > 0).count();
            let logs = human::counted(readable as u64, "log");
            if !self.report.is_whole() {
                let findings = human::counted(self.report.findings.len() as u64, "finding");
                writeln!(out, "the import would lack records: {findings}")?;
            }
            writeln!(out, "would import {logs}, {}", human::bytes(bytes))?;
            writeln!(
                out,
                "they were found and not read: what is damaged or open in them shows only in the import"
            )?;
            return logs_table(&self.logs).write(out);
        }
        let report = &self.report;
        if let Some(partial) = &self.partial {
            writeln!(out, "{partial}")?;
        }
        let Some(snapshot) = report.snapshot else {
            return writeln!(out, "interrupted: nothing was committed");
        };
        let partitions = human::counted(report.partitions.len() as u64, "partition");
        let records = human::counted(report.records, "record");
        writeln!(
            out,
            "snapshot {snapshot}: imported {partitions}, {records}, {}",
            human::bytes(report.stored_bytes)
        )?;
        table(&report.partitions).write(out)
    }
}

fn table(partitions: &[ImportedPartition]) -> Table {
    let mut table = Table::new([
        Column::Left("PARTITION"),
        Column::Right("RECORDS"),
        Column::Right("LEFT OUT"),
        Column::Right("FROM"),
        Column::Right("END"),
        Column::Right("LOG END"),
    ]);
    for row in partitions {
        table.row([
            format!("{}/{}", row.topic, row.partition),
            human::count(row.records),
            human::count(row.left_out),
            row.base_offset.to_string(),
            row.end_offset.to_string(),
            row.log_end_offset.to_string(),
        ]);
    }
    table
}

fn logs_table(logs: &[LogRow]) -> Table {
    let mut table = Table::new([
        Column::Left("PARTITION"),
        Column::Right("SEGMENTS"),
        Column::Right("SIZE"),
        Column::Left("FOLDER"),
    ]);
    for row in logs {
        table.row([
            format!("{}/{}", row.topic, row.partition),
            row.segments.to_string(),
            human::bytes(row.bytes),
            row.folder.display().to_string(),
        ]);
    }
    table
}
