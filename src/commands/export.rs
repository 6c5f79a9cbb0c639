//! `kbk export`: writes records as files of other formats.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use kbk_format::batch::BatchCodec;
use kbk_format::kafka_log::LogOptions;
use kbk_format::repo::{Hex, Id, PartitionState, TopicState};
use kbk_tools::Selection;
use kbk_tools::export::{
    self, ExportError, ExportEvents, ExportFormat, ExportOptions, ExportPlan, ExportReport,
    ExportedPartition, ParquetFolders, ParquetLayout,
};
use kbk_tools::list::Completeness;
use serde::Serialize;

use super::run_progress::RunProgress;
use crate::cli::{
    CliError, Column, Compression, Context, FileSize, MetricsArgs, OffsetArg, OffsetRangeArg,
    Outcome, Report, SnapshotArg, Table, TimeArg, time_range,
};
use crate::human;
use crate::run::Totals;
use crate::select::{PartitionSet, TopicPartitions};

const EXAMPLES: &str = "\
Examples:
  kbk export -r /backup/kafka --format kafka-log /restore/logs
  kbk export -r /backup/kafka --format kafka-log /restore/some orders/0-3 'prod-*'
  kbk export -r /backup/kafka --format jsonl /exports orders --since 7d
  kbk export -r /backup/kafka --format kafka-log /restore/one orders --topic-id nZ3vC0p1TzmfTSJrHLPq9g
  kbk export -r /backup/kafka --format parquet /exports/lake orders --partition-by topic,partition,date

FORMAT is one of
    kafka-log  a folder TOPIC-PARTITION as Kafka keeps it on a broker's disk: .log, .index, .timeindex,
               leader-epoch-checkpoint and partition.metadata. kafka-dump-log reads it, and a stopped
               broker of the topic can be started on it: docs/how-to.md says how. kbk-gaps, which brokers
               ignore, tells `kbk import` why offsets have no record, where some have none
    jsonl      a file TOPIC-PARTITION.jsonl, as `kbk cat` prints it
    parquet    a folder TOPIC-PARTITION with files of Apache Parquet, for DuckDB, Spark, pandas and others:
               docs/reference/formats.md has the columns. With --partition-by, the folders are Hive's
Offsets are kept, gaps included: the first file is named after the first selected offset, and a broker
that is started on the folder of kafka-log appends after the last one. Each partition is written under a
temporary name, flushed to the disk, and renamed. Nothing that exists is replaced without --overwrite.
What is damaged in the repository or cannot be read is named and left out, and the exit code is 3; 3 also where the
snapshot itself lacks records of what is selected. What exists of a partition that has such damage stays as it is,
with --overwrite, too: it may have the records. Once `kbk recover` has stated the loss, it is replaced.
OFFSET is first, last, end (one past the last), a number, or -100 for 100 before the end.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// The arguments of `kbk export`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder to write to; it is created where there is none
    #[arg(value_name = "OUT")]
    pub out: PathBuf,

    /// Topics, or partitions of them, as in orders/0-3,7: a name, a glob, or /a regular expression/ for the whole name; also NAME@ID,
    /// with 8 digits of its id or more [default: all topics that are not deleted]
    #[arg(value_name = "TOPIC[/PARTITIONS]")]
    pub within: Vec<TopicPartitions>,

    /// What to write
    #[arg(short, long, value_name = "FORMAT")]
    pub format: FormatArg,

    /// Only these partitions of each topic: numbers and ranges, as in 0-3,7; repeatable
    #[arg(short, long, value_name = "LIST")]
    pub partition: Vec<PartitionSet>,

    /// Start at this offset of each partition
    #[arg(
        long,
        visible_alias = "offset",
        value_name = "OFFSET",
        default_value = "first",
        allow_hyphen_values = true
    )]
    pub from_offset: OffsetArg,

    /// End before this offset of each partition
    #[arg(
        long,
        value_name = "OFFSET",
        default_value = "end",
        allow_hyphen_values = true
    )]
    pub to_offset: OffsetArg,

    /// Only records with this timestamp or a later one
    #[arg(long, value_name = "TIME")]
    pub since: Option<TimeArg>,

    /// Only records with this timestamp or an earlier one, wherever they are in the partition
    #[arg(long, value_name = "TIME")]
    pub until: Option<TimeArg>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

    /// How record batches of kafka-log are compressed: all of them with none, gzip, snappy, lz4 or zstd; with stored, Kafka's own batches are
    /// as they are stored, and others are not compressed. For parquet, how pages are: none, zstd or zstd:LEVEL (1 to 19) [default: zstd, but
    /// kafka-log has Kafka's own batches as they are stored]
    #[arg(long, value_name = "CODEC")]
    pub compression: Option<String>,

    /// Bytes after which the log of kafka-log begins another segment, as `segment.bytes` of a topic; at least 1048576 [default: 1073741824]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..=i32::MAX as u64))]
    pub segment_bytes: Option<u64>,

    /// Bytes of kafka-log after which its indexes get an entry, as `index.interval.bytes` of a topic [default: 4096]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(0..=i32::MAX as u64))]
    pub index_interval_bytes: Option<u64>,

    /// The topic id that partition.metadata of kafka-log states, as Kafka prints it or in hex: that of the topic in the cluster of the
    /// broker, for one topic [default: the id that the topic had when it was backed up]
    #[arg(long, value_name = "ID", value_parser = parse_topic_id)]
    pub topic_id: Option<Id>,

    /// Name the folders of parquet as Hive does, and leave these columns out of the files: topic,partition or topic,partition,date.
    /// The date is that of the timestamp, UTC [default: a folder TOPIC-PARTITION]
    #[arg(long, value_name = "COLUMNS")]
    pub partition_by: Option<FoldersArg>,

    /// Bytes after which parquet begins another file of a partition; 1MiB to 1TiB [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub file_size: Option<FileSize>,

    /// Replace the files and folders of partitions that exist, each as a whole, unless selected records cannot be read: with --since, or
    /// another selection, what an earlier export wrote of other records goes, too, folders of other dates included
    #[arg(long)]
    pub overwrite: bool,

    /// Only say what would be exported: records are counted and not read, so that damage of their bytes is not seen
    #[arg(long)]
    pub dry_run: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// What is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatArg {
    /// Kafka's own log segments
    KafkaLog,
    /// A JSON object per line
    Jsonl,
    /// Apache Parquet
    Parquet,
}

/// What folders are named after.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldersArg {
    /// topic=TOPIC/partition=PARTITION
    #[value(name = "topic,partition")]
    Partition,
    /// topic=TOPIC/partition=PARTITION/date=YYYY-MM-DD
    #[value(name = "topic,partition,date")]
    Date,
}

fn batch_codec(text: &str) -> Result<BatchCodec, CliError> {
    BatchCodec::named(text).ok_or_else(|| {
        CliError::usage(format!(
            "`{text}` is not a codec of Kafka; give none, gzip, snappy, lz4, zstd or stored"
        ))
    })
}

/// Returns the level of zstd; `None` for none.
fn page_compression(text: &str) -> Result<Option<i32>, CliError> {
    match text.parse() {
        Ok(Compression::None) => Ok(None),
        Ok(Compression::Zstd(level)) => Ok(Some(level)),
        _ => Err(CliError::usage(format!(
            "`{text}` is not a compression of --format parquet; give `zstd`, `zstd:LEVEL` with a level of 1 to 19, or `none`"
        ))),
    }
}

fn parse_topic_id(text: &str) -> Result<Id, String> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
    let bytes = bytes.or_else(|_| HEXLOWER_PERMISSIVE.decode(text.as_bytes()));
    let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Hex).ok_or_else(|| {
        format!("`{text}` is not a topic id; `kafka-topics --describe` prints it in 22 characters")
    })
}

impl Args {
    fn format(&self) -> Result<ExportFormat, CliError> {
        self.check_options()?;
        let compression = self.compression.as_deref();
        match self.format {
            FormatArg::KafkaLog => {
                let default = LogOptions::default();
                let interval = self.index_interval_bytes;
                let (codec, keeps_batches) = match compression {
                    None => (BatchCodec::Zstd, true),
                    Some("stored") => (BatchCodec::None, true),
                    Some(codec) => (batch_codec(codec)?, false),
                };
                Ok(ExportFormat::KafkaLog {
                    codec,
                    keeps_batches,
                    log: LogOptions {
                        segment_bytes: self.segment_bytes.unwrap_or(default.segment_bytes),
                        index_interval_bytes: interval.unwrap_or(default.index_interval_bytes),
                    },
                    topic_id: self.topic_id,
                })
            }
            FormatArg::Jsonl => Ok(ExportFormat::JsonLines),
            FormatArg::Parquet => Ok(ExportFormat::Parquet(ParquetLayout {
                zstd_level: page_compression(compression.unwrap_or("zstd"))?,
                folders: match self.partition_by {
                    None => ParquetFolders::Plain,
                    Some(FoldersArg::Partition) => ParquetFolders::Hive,
                    Some(FoldersArg::Date) => ParquetFolders::HiveByDate,
                },
                file_bytes: self.file_size.unwrap_or_default().bytes(),
            })),
        }
    }

    /// Fails on an option that another format has.
    fn check_options(&self) -> Result<(), CliError> {
        use FormatArg::{KafkaLog, Parquet};
        let interval = self.index_interval_bytes;
        let given: [(&str, bool, &str, &[FormatArg]); 6] = [
            (
                "--compression",
                self.compression.is_some(),
                "kafka-log and parquet",
                &[KafkaLog, Parquet],
            ),
            (
                "--segment-bytes",
                self.segment_bytes.is_some(),
                "kafka-log",
                &[KafkaLog],
            ),
            (
                "--index-interval-bytes",
                interval.is_some(),
                "kafka-log",
                &[KafkaLog],
            ),
            (
                "--topic-id",
                self.topic_id.is_some(),
                "kafka-log",
                &[KafkaLog],
            ),
            (
                "--partition-by",
                self.partition_by.is_some(),
                "parquet",
                &[Parquet],
            ),
            (
                "--file-size",
                self.file_size.is_some(),
                "parquet",
                &[Parquet],
            ),
        ];
        let wrong = given
            .into_iter()
            .find(|(_, is_given, _, formats)| *is_given && !formats.contains(&self.format));
        match wrong {
            Some((option, _, formats, _)) => Err(CliError::usage(format!(
                "{option} is for --format {formats} only"
            ))),
            None => Ok(()),
        }
    }

    fn topics(&self) -> Result<Vec<TopicPartitions>, CliError> {
        let all = || "*".parse().map(|all| vec![all]);
        let topics = match self.within.is_empty() {
            true => all().map_err(|error| CliError::usage(format!("{error}")))?,
            false => self.within.clone(),
        };
        super::topic_partitions(&topics, &self.partition)
    }
}

/// What was exported, and from where.
#[derive(Debug, Serialize)]
struct Exporting {
    /// The snapshot that was read.
    snapshot: u64,
    /// The folder that was written to.
    out: PathBuf,
    /// Whether nothing was written.
    dry_run: bool,
    #[serde(flatten)]
    completeness: Completeness,
    #[serde(flatten)]
    report: ExportReport,
}

/// Exports, and prints what was written.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let format = args.format()?;
    let times = time_range(args.since.as_ref(), args.until.as_ref())?;
    let offsets = OffsetRangeArg::new(args.from_offset, args.to_offset)?;
    let topics = args.topics()?;
    let repository = super::repository(context).await?;
    let snapshot = super::snapshot(&repository, args.snapshot).await?;
    let chosen = super::partitions(&topics, &snapshot)?;
    if args.topic_id.is_some() && chosen.len() > 1 {
        let message = format!(
            "--topic-id is for one topic, and {} are selected",
            chosen.len()
        );
        return Err(CliError::usage(message).hint("export each topic on its own"));
    }
    let chosen = super::each_partition(chosen);
    let is_judged = |(_, state): &(&TopicState, &PartitionState)| {
        let (base, end) = (state.base_offset, state.end_offset);
        let reaches_end = offsets.reaches_end(base, end);
        state.is_judged_by(offsets.resolve(base, end), reaches_end)
    };
    let judged = chosen.iter().copied().filter(is_judged);
    let mut completeness = Completeness::of_partitions(snapshot.sequence, judged);
    let mut plan = ExportPlan::default();
    for (topic, state) in chosen {
        let selection = Selection {
            offsets: offsets.resolve(state.base_offset, state.end_offset),
            times: times.clone(),
            ..Selection::all()
        };
        plan.add(&repository, &snapshot, (topic, state), selection, &format)
            .await?;
    }
    let options = ExportOptions {
        out: args.out.clone(),
        format,
        overwrite: args.overwrite,
        threads: thread::available_parallelism().map_or(1, usize::from),
    };
    let report = match args.dry_run {
        true => export::dry_run(plan, &options).await,
        false => {
            let totals = Totals {
                records: None,
                bytes: Some(plan.stored_bytes()),
            };
            warn_of_removal(&plan, &options)?;
            let progress = Arc::new(RunProgress::start(context, "exporting", totals));
            let events: Arc<dyn ExportEvents> = Arc::clone(&progress) as _;
            // The progress leaves the screen before the result is written.
            export::export(plan, &options, events).await
        }
    };
    let report = report.map_err(failed)?;
    // What cannot be read or is not written is not there either, whatever the snapshot says.
    completeness.complete &= !report.interrupted && !report.lacks_records();
    let exporting = Exporting {
        snapshot: snapshot.sequence,
        out: args.out.clone(),
        dry_run: args.dry_run,
        completeness,
        report,
    };
    if exporting.report.is_whole() && exporting.report.records == 0 {
        tracing::warn!(
            "no record is selected: no partition has any of these offsets and times; `kbk ls TOPIC` lists what there is"
        );
    }
    for finding in &exporting.report.findings {
        tracing::warn!("{}", finding.message);
    }
    let whole = exporting.report.is_whole() && exporting.completeness.complete;
    let outcome = match exporting.report.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(whole),
    };
    context.conclude(&exporting, outcome)
}

/// Says beforehand which folders go, besides those that are written again.
fn warn_of_removal(plan: &ExportPlan, options: &ExportOptions) -> Result<(), CliError> {
    let removed = plan.removes(options).map_err(failed)?;
    if let Some(folders) = names_in_words(&removed, "folder") {
        tracing::warn!("--overwrite replaces each partition as a whole: {folders} go with it");
    }
    Ok(())
}

/// Counts `things`, and names the first and the last one; `None` where there is none.
fn names_in_words(names: &[String], things: &str) -> Option<String> {
    let count = human::counted(names.len() as u64, things);
    match names {
        [] => None,
        [one] => Some(format!("{count} ({one})")),
        [first, .., last] => Some(format!("{count} ({first} to {last})")),
    }
}

/// Tells invalid arguments from failures.
fn failed(error: ExportError) -> CliError {
    match error {
        ExportError::SameName { .. } | ExportError::Exists { .. } => {
            CliError::usage(error.to_string())
        }
        error => error.into(),
    }
}

impl Report for Exporting {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if let Some(partial) = self.completeness.statement() {
            writeln!(out, "{partial}")?;
        }
        if report.interrupted {
            writeln!(
                out,
                "interrupted: partitions that are not listed were not written"
            )?;
        }
        if !report.findings.is_empty() {
            let findings = human::counted(report.findings.len() as u64, "finding");
            writeln!(out, "the export is not whole: {findings}")?;
        }
        let (stay, written): (Vec<_>, Vec<_>) =
            report.partitions.iter().partition(|it| it.not_replaced);
        let stay: Vec<String> = stay.into_iter().map(|it| it.name.clone()).collect();
        if let Some(names) = names_in_words(&stay, "partition") {
            let replaced = match self.dry_run {
                true => "would not be replaced",
                false => "not replaced",
            };
            writeln!(
                out,
                "{replaced}: {names}, since the earlier export may have the records that cannot be read; export to another folder to get the others"
            )?;
        }
        let partitions = human::counted(written.len() as u64, "partition");
        let records = human::counted(report.records, "record");
        let (snapshot, to) = (self.snapshot, self.out.display());
        match self.dry_run {
            true => writeln!(
                out,
                "would export {partitions} of snapshot {snapshot} to {to}: {records}, counted and not read"
            )?,
            false => writeln!(
                out,
                "exported {partitions} of snapshot {snapshot} to {to}: {records}, {}",
                human::bytes(report.bytes)
            )?,
        }
        if report.not_decoded_records > 0 {
            let records = human::counted(report.not_decoded_records, "record");
            writeln!(
                out,
                "not decoded: the batches of {records}, of which the checksums were compared; `kbk verify --depth records` decodes them"
            )?;
        }
        if report.unread_records > 0 {
            writeln!(
                out,
                "whether they are intact is not known: damage of their bytes shows only in the export, and in `kbk verify`"
            )?;
        }
        let replaced = report.partitions.iter().filter(|it| it.replaced).count();
        if replaced > 0 {
            let replaced = human::counted(replaced as u64, "partition");
            match self.dry_run {
                true => writeln!(
                    out,
                    "would be replaced as a whole, if all selected records can be read: {replaced}"
                )?,
                false => writeln!(out, "replaced as a whole: {replaced}")?,
            }
        }
        let removed = report.partitions.iter().flat_map(|partition| {
            let folders = partition.removed.iter();
            folders.map(|folder| format!("{}/{folder}", partition.name))
        });
        let removed: Vec<String> = removed.collect();
        if let Some(folders) = names_in_words(&removed, "folder") {
            match self.dry_run {
                true => writeln!(
                    out,
                    "{folders} would be removed, and any other without a selected record"
                )?,
                false => writeln!(out, "{folders} removed with what was replaced")?,
            }
        }
        table(&written, self.dry_run).write(out)
    }
}

fn table(partitions: &[&ExportedPartition], is_dry: bool) -> Table {
    let columns = [
        Column::Left("NAME"),
        Column::Right("RECORDS"),
        Column::Right("FROM"),
        Column::Right("END"),
    ];
    let size = (!is_dry).then_some(Column::Right("SIZE"));
    let columns: Vec<Column> = columns.into_iter().chain(size).collect();
    let mut table = Table::new(columns);
    for row in partitions {
        let cells = [
            row.name.clone(),
            human::count(row.records),
            row.base_offset.to_string(),
            row.end_offset.to_string(),
        ];
        let size = (!is_dry).then(|| human::bytes(row.bytes));
        let cells: Vec<String> = cells.into_iter().chain(size).collect();
        table.row(cells);
    }
    table
}
