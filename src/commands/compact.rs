//! `kbk compact`: merges small segments into large ones, compresses them anew, and keeps the latest record per key.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::ValueEnum;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use kbk_format::repo::{Digested, Id, Repository, Snapshot, TopicName};
use kbk_format::{Compression, WriterOptions};
use kbk_tools::compact::{self, CompactOptions, CompactReport, CompactRow, KeepLatest, KeyFilters};
use kbk_tools::maintenance::MaintenanceOptions;
use serde::Serialize;

use super::history_names::HistoryNames;
use super::maintenance::{self, Progress};
use crate::cli::{
    CliError, Column, Context, KeyFilterArg, KeyMemory, MetricsArgs, Outcome, Report, SegmentSize,
    Table, TopicArgs, time,
};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk compact -r /backup/kafka --dry-run
  kbk compact -r /backup/kafka --older-than 7d --compression zstd:12
  kbk compact -r /backup/kafka --topic orders --key-filter
  kbk compact -r /backup/kafka --keep latest-per-key --keep-tombstones 30d --dry-run

Segments of a partition that are small are merged up to --segment-size. One that is larger than all
that would join it stays, so that a run per night does not write the same records every night. With
--compression, large ones are compressed anew, too, once. Records keep their offsets, timestamps and
everything else.
With --key-filter, `kbk grep --key` and `kbk cat --key` read a few KiB per segment, and the blocks that may
have the key. It takes about one and a half bytes per key; older programs cannot read such segments.
Before the new snapshot names a new segment, the store returns all of it, and its digests, offsets
and gaps are compared with those of the segments that it replaces.
--keep latest-per-key removes records of which a later one has the same key, as Kafka does with
topics that have cleanup.policy=compact. The snapshot and the segments say what was removed.
Older snapshots still name the old segments: `kbk forget` them, then `kbk prune` frees the bytes.
Backups, restores and mounts may run meanwhile. What is interrupted is continued by the same command.
Exit code 3: segments that are damaged stay as they are, and are named.";

/// The arguments of `kbk compact`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The topics to compact.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Only segments whose records are all older than this, for example 30d; with --keep, those before the first younger one
    #[arg(long, value_name = "SPAN", value_parser = time::parse_span)]
    pub older_than: Option<Span>,

    /// Compress with this, and anew what was compressed with another setting: zstd, zstd:LEVEL (1 to 19), lz4 or none
    /// [default: the setting that all segments state that are merged into one, else zstd:3; the rest stays]
    #[arg(long, value_name = "CODEC")]
    pub compression: Option<Compression>,

    /// Add a filter by which grep and cat skip blocks without the key that they look for, also to large segments without one;
    /// BITS: one block in 2^BITS is read in vain, 0 to 20 [default: 10, or as the filter there is]; none: remove filters
    /// [without this option: a new segment has one where a segment has that it replaces]
    #[arg(long, value_name = "BITS", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub key_filter: Option<KeyFilterArg>,

    /// Stored bytes that segments are merged up to; 1MiB to 4GiB [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    pub segment_size: Option<SegmentSize>,

    /// Which records are kept; all without this option. Removes the others from the newest snapshot
    #[arg(long, value_name = "WHICH")]
    pub keep: Option<Keep>,

    /// Remove tombstones that are older than this, for example 30d, once nothing is left that they delete; all are kept without this option
    #[arg(long, value_name = "SPAN", value_parser = time::parse_span, requires = "keep")]
    pub keep_tombstones: Option<Span>,

    /// Keep the latest records per key even of topics that have no cleanup.policy=compact
    #[arg(long, requires = "keep")]
    pub allow_uncompacted: bool,

    /// Memory for keys: where a partition has more, it is read several times; 1MiB to 64GiB [default: 384MiB]
    #[arg(long, value_name = "SIZE", requires = "keep")]
    pub key_memory: Option<KeyMemory>,

    /// Only say what would be merged and removed
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask for confirmation before records are removed
    #[arg(long)]
    pub yes: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// Which records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// Of each key, the record with the highest offset; all records without a key
    LatestPerKey,
}

/// What was compacted, or would be.
#[derive(Debug, Serialize)]
struct Compacting {
    /// Whether nothing was changed.
    dry_run: bool,
    /// The options that say what is merged and removed.
    policy: String,
    /// Number of older snapshots, which still name the segments that were replaced.
    older_snapshots: u64,
    /// Topics that were left out, since they have no cleanup.policy=compact and --allow-uncompacted was not given.
    uncompacted_topics: Vec<String>,
    /// Whether nothing is asked for but to merge what is small.
    #[serde(skip)]
    merges_only: bool,
    #[serde(skip)]
    key_filters: KeyFilters,
    #[serde(flatten)]
    report: CompactReport,
}

/// Compacts, and prints what was done.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let now = Timestamp::now();
    let mut options = args.options(now)?;
    let Some(newest) = repository.latest_to_change().await? else {
        let report = args.report(&options, Vec::new(), CompactReport::default());
        return context.conclude(&report, Outcome::Clean);
    };
    let (topics, left_out) = args.topics(&newest)?;
    if args.keep.is_some() && !args.dry_run && !args.yes {
        let mut plan = options.clone();
        plan.run.dry_run = true;
        let planned = compact(&repository, &newest, &topics, &plan, context).await?;
        let removed = planned.removed_records;
        if removed > 0 && !planned.interrupted {
            context
                .output
                .step(&args.report(&plan, left_out.clone(), planned))?;
            let counted = human::counted(removed, "record");
            context.confirm(&format!("this removes {counted}"), &counted)?;
        }
        options.run.now = Timestamp::now();
    }
    let report = compact(&repository, &newest, &topics, &options, context).await?;
    let mut compacting = args.report(&options, left_out, report);
    let report = &compacting.report;
    let older = maintenance::older_snapshots(&repository, &report.snapshots);
    compacting.older_snapshots = older.await?;
    let report = &compacting.report;
    let outcome = maintenance::outcome(report.interrupted, report.is_whole());
    context.conclude(&compacting, outcome)
}

async fn compact(
    repository: &Repository,
    newest: &Digested<Snapshot>,
    topics: &BTreeSet<(TopicName, Id)>,
    options: &CompactOptions,
    context: &Context,
) -> Result<CompactReport, CliError> {
    let title = if options.run.dry_run {
        "planning"
    } else {
        "compacting"
    };
    // The progress leaves the screen before the result is written.
    let events = Progress::start(context, title, newest);
    let done = compact::compact(repository, newest, topics, options, events).await;
    done.map_err(maintenance::failed)
}

/// Histories of topics, by name and id.
type ChosenIds = BTreeSet<(TopicName, Id)>;

impl Args {
    fn options(&self, now: Timestamp) -> Result<CompactOptions, CliError> {
        let older_than = self.older_than.map(|span| moment(now, span)).transpose()?;
        let tombstones_from = self.keep_tombstones.map(|span| moment(now, span));
        let tombstones_from = tombstones_from.transpose()?;
        Ok(CompactOptions {
            segment_bytes: self.segment_size.unwrap_or_default().bytes(),
            block_bytes: WriterOptions::DEFAULT_BLOCK_BYTES,
            compression: self.compression,
            key_filters: self
                .key_filter
                .map(KeyFilterArg::filters)
                .unwrap_or_default(),
            older_than,
            keep: self
                .keep
                .map(|Keep::LatestPerKey| KeepLatest { tombstones_from }),
            key_memory: self.key_memory.unwrap_or_default().bytes(),
            run: MaintenanceOptions {
                dry_run: self.dry_run,
                writer: super::writer(),
                policy: self.in_words(),
                now,
            },
        })
    }

    /// Returns the topics to compact, and the names of those that are left out.
    ///
    /// # Errors
    ///
    /// If a topic was asked for by name or pattern that the cluster does not compact.
    fn topics(&self, newest: &Snapshot) -> Result<(ChosenIds, Vec<String>), CliError> {
        let selection = match self.keep {
            None => self.topics.selection().internal_too(),
            Some(_) => self.topics.selection(),
        };
        let mut chosen = selection.select_every(newest.topics.iter())?;
        if self.keep.is_none() || self.allow_uncompacted {
            return Ok((chosen, Vec::new()));
        }
        let others = newest.topics.iter().filter(|topic| {
            let id = (topic.name.clone(), topic.topic_id);
            !topic.is_compacted() && chosen.contains(&id)
        });
        let others: Vec<_> = others.map(|it| (it.name.clone(), it.topic_id)).collect();
        let names: BTreeSet<String> = others.iter().map(|(name, _)| name.to_string()).collect();
        let names: Vec<String> = names.into_iter().collect();
        if !names.is_empty() && !self.topics.topic.is_empty() {
            let shown = human::some_of(&names);
            let message = format!(
                "nothing was removed: in the saved configuration, these topics have no cleanup.policy=compact, so that every record of theirs \
                 counts: {shown}"
            );
            let hint = "select others; give --allow-uncompacted if only the latest record per key is to stay";
            return Err(CliError::new(message).hint(hint));
        }
        others.iter().for_each(|id| {
            chosen.remove(id);
        });
        Ok((chosen, names))
    }

    fn report(
        &self,
        options: &CompactOptions,
        uncompacted_topics: Vec<String>,
        report: CompactReport,
    ) -> Compacting {
        Compacting {
            dry_run: options.run.dry_run,
            policy: options.run.policy.clone(),
            older_snapshots: 0,
            uncompacted_topics,
            merges_only: self.keep.is_none()
                && self.compression.is_none()
                && self.key_filter.is_none()
                && self.older_than.is_none(),
            key_filters: options.key_filters,
            report,
        }
    }

    /// Returns the options as they were given.
    fn in_words(&self) -> String {
        let mut words = Vec::new();
        let TopicArgs { topic, exclude } = &self.topics;
        words.extend(topic.iter().map(|pattern| format!("--topic {pattern}")));
        words.extend(exclude.iter().map(|pattern| format!("--exclude {pattern}")));
        words.extend(self.older_than.map(|span| format!("--older-than {span:#}")));
        words.extend(self.compression.map(|it| format!("--compression {it}")));
        words.extend(self.key_filter.map(|it| it.to_string()));
        words.extend(self.segment_size.map(|it| format!("--segment-size {it}")));
        words.extend(self.keep.map(|_| "--keep latest-per-key".to_owned()));
        let tombstones = self.keep_tombstones;
        words.extend(tombstones.map(|span| format!("--keep-tombstones {span:#}")));
        words.extend(
            self.allow_uncompacted
                .then(|| "--allow-uncompacted".to_owned()),
        );
        words.join(" ")
    }
}

/// Returns the moment that is this span before now, in milliseconds.
fn moment(now: Timestamp, span: Span) -> Result<i64, CliError> {
    let moment = now.to_zoned_datetime(TimeZone::UTC).checked_sub(span);
    let moment = moment.map(|moment| moment.timestamp().as_millisecond());
    moment.map_err(|error| {
        CliError::usage(format!("{span:#} ago is before all dates")).caused_by(error)
    })
}

impl Compacting {
    fn summary(&self) -> String {
        let report = &self.report;
        if report.segments == 0 {
            return match report.interrupted {
                true => "interrupted: nothing was merged".to_owned(),
                false if !report.findings.is_empty() => {
                    "nothing was merged, and damaged segments stay as they are".to_owned()
                }
                false if self.merges_only => {
                    "nothing to merge: segments that are alone, as large as asked for, or larger than all that would join them stay; with \
                     --compression, they are compressed anew"
                        .to_owned()
                }
                false => {
                    let filters = match self.key_filters {
                        KeyFilters::Kept => "",
                        KeyFilters::All(_) => ", and no segment to give a key filter",
                        KeyFilters::Dropped => ", and no key filter to drop",
                    };
                    format!("nothing to merge{filters}")
                }
            };
        }
        let (segments, records) = (
            human::counted(report.segments, "segment"),
            human::counted(report.records, "record"),
        );
        let what = format!("{segments} with {records}, {}", human::bytes(report.bytes));
        let tombstones = report.removed_tombstones;
        let superseded = report.removed_records.saturating_sub(tombstones);
        let superseded = match superseded {
            0 => None,
            some => Some(human::counted(some, "superseded record")),
        };
        let tombstones = match tombstones {
            0 => None,
            some => Some(human::counted(some, "old tombstone")),
        };
        let removed: Vec<String> = superseded.into_iter().chain(tombstones).collect();
        let removed = match removed.is_empty() {
            true => String::new(),
            false => format!(", without {}", removed.join(" and ")),
        };
        let filters = match self.key_filters {
            KeyFilters::Kept => "",
            KeyFilters::All(_) => " with key filters",
            KeyFilters::Dropped => " without key filters",
        };
        let new = human::counted(report.new_segments, "segment");
        if self.dry_run {
            return format!("would merge {what}, into about {new}{filters}{removed}");
        }
        let bytes = human::bytes(report.new_bytes.unwrap_or(0));
        let lead = maintenance::lead(report.interrupted, &report.findings);
        let recorded = maintenance::recorded_in(&report.snapshots);
        format!("{lead}merged {what}, into {new}{filters}, {bytes}{removed} ({recorded})")
    }
}

impl Report for Compacting {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Right("PARTITIONS"),
            Column::Right("SEGMENTS"),
            Column::Right("BEFORE"),
            Column::Right("NEW SEGMENTS"),
            Column::Right("AFTER"),
            Column::Right("RECORDS REMOVED"),
            Column::Right("OLD TOMBSTONES"),
        ]);
        let rows = &self.report.partitions;
        let names = HistoryNames::of(rows.iter().map(|row| (&row.topic, &row.topic_id)));
        let topics = rows.chunk_by(|a, b| (&a.topic, &a.topic_id) == (&b.topic, &b.topic_id));
        for topic in topics {
            table.row(topic_cells(topic, &names));
        }
        if !rows.is_empty() {
            table.write(out)?;
        }
        let report = &self.report;
        maintenance::write_findings(out, &report.findings)?;
        if self.dry_run && !rows.is_empty() {
            maintenance::write_unchecked(out)?;
        }
        if report.adopted_segments > 0 {
            let adopted = human::counted(report.adopted_segments, "segment");
            writeln!(
                out,
                "{adopted} of an interrupted run were there, and are proved again"
            )?;
        }
        if report.outdated_groups > 0 {
            let groups = human::counted(report.outdated_groups, "group");
            writeln!(
                out,
                "{groups} of segments were expired or replaced by another run meanwhile, and left to it"
            )?;
        }
        if !self.uncompacted_topics.is_empty() {
            let topics = human::some_of(&self.uncompacted_topics);
            writeln!(
                out,
                "left out, since they have no cleanup.policy=compact: {topics}"
            )?;
        }
        if report.interrupted {
            writeln!(
                out,
                "the same command continues: it uses the new segments that are durable"
            )?;
        }
        maintenance::write_older(out, &report.snapshots, self.older_snapshots)
    }
}

/// Returns the cells of partitions of one topic.
fn topic_cells(rows: &[CompactRow], names: &HistoryNames) -> [String; 8] {
    let sum = |of: fn(&CompactRow) -> u64| {
        let rows = rows.iter().map(of);
        rows.fold(0, u64::saturating_add)
    };
    let after: Option<u64> = rows.iter().map(|row| row.new_bytes).sum();
    [
        rows.first()
            .map_or_else(String::new, |row| names.name(&row.topic, &row.topic_id)),
        human::count(rows.len() as u64),
        human::count(sum(|row| row.segments)),
        human::bytes(sum(|row| row.bytes)),
        human::count(sum(|row| row.new_segments)),
        after.map_or_else(|| "-".to_owned(), human::bytes),
        human::count(sum(|row| row.removed_records)),
        human::count(sum(|row| row.removed_tombstones)),
    ]
}
