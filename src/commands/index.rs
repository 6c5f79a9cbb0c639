//! `kbk index`: computes what was not computed when batches were stored, and keeps the batches as they are.

use std::io::{self, Write};

use jiff::Timestamp;
use kbk_tools::index::{self, IndexReport, IndexRow};
use kbk_tools::maintenance::MaintenanceOptions;
use serde::Serialize;

use super::maintenance::{self, Progress};
use crate::cli::{CliError, Column, Context, MetricsArgs, Outcome, Report, Table, TopicArgs};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk index -r /backup/kafka
  kbk index -r /backup/kafka --topic orders --dry-run

Batches can be stored as they come, without decoding them: then digests, the smallest timestamps, the
lengths of text and counts of tombstones and null keys are not computed. Everything reads such
segments, and decodes more of them. This computes all of it. The batches stay as they are, byte for
byte; `kbk compact` turns them into columns instead, which are smaller.
Before the new snapshot names a new segment, the store returns all of it, and its records, offsets
and gaps are compared with those of the segment that it replaces.
Older snapshots still name the old segments: `kbk forget` them, then `kbk prune` frees the bytes.
Backups, restores and mounts may run meanwhile. What is interrupted is continued by the same command.
Exit code 3: segments that are damaged stay as they are, and are named.";

/// The arguments of `kbk index`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The topics whose segments are computed.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Only say what would be computed
    #[arg(long)]
    pub dry_run: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// What was computed, or would be.
#[derive(Debug, Serialize)]
struct Indexing {
    /// Whether nothing was changed.
    dry_run: bool,
    /// The options that say which topics are looked at.
    policy: String,
    /// Number of older snapshots, which still name the segments that were replaced.
    older_snapshots: u64,
    #[serde(flatten)]
    report: IndexReport,
}

/// Computes, and prints what was done.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let options = args.options();
    let mut indexing = Indexing {
        dry_run: options.dry_run,
        policy: options.policy.clone(),
        older_snapshots: 0,
        report: IndexReport::default(),
    };
    let Some(newest) = repository.latest_to_change().await? else {
        return context.conclude(&indexing, Outcome::Clean);
    };
    let selection = args.topics.selection().internal_too();
    let topics = selection.select_every(newest.topics.iter())?;
    let events = Progress::start(context, "computing", &newest);
    let done = index::index(&repository, &newest, &topics, &options, events).await;
    // The progress has left the screen before the result is written.
    indexing.report = done.map_err(maintenance::failed)?;
    let older = maintenance::older_snapshots(&repository, &indexing.report.snapshots);
    indexing.older_snapshots = older.await?;
    let report = &indexing.report;
    let outcome = maintenance::outcome(report.interrupted, report.is_whole());
    context.conclude(&indexing, outcome)
}

impl Args {
    fn options(&self) -> MaintenanceOptions {
        let TopicArgs { topic, exclude } = &self.topics;
        let topics = topic.iter().map(|pattern| format!("--topic {pattern}"));
        let excluded = exclude.iter().map(|pattern| format!("--exclude {pattern}"));
        let words: Vec<String> = topics.chain(excluded).collect();
        MaintenanceOptions {
            dry_run: self.dry_run,
            writer: super::writer(),
            policy: words.join(" "),
            now: Timestamp::now(),
        }
    }
}

impl Indexing {
    fn summary(&self) -> String {
        let report = &self.report;
        if report.segments == 0 {
            return match (report.interrupted, report.findings.is_empty()) {
                (true, _) => "interrupted: nothing was computed".to_owned(),
                (false, false) => {
                    "nothing was computed, and damaged segments stay as they are".to_owned()
                }
                (false, true) => "nothing to compute: every segment has its numbers".to_owned(),
            };
        }
        let segments = human::counted(report.segments, "segment");
        let records = human::counted(report.records, "record");
        let what = format!("{segments} with {records}, {}", human::bytes(report.bytes));
        if self.dry_run {
            return format!("would compute {what}");
        }
        let lead = maintenance::lead(report.interrupted, &report.findings);
        let recorded = maintenance::recorded_in(&report.snapshots);
        format!("{lead}computed {what} ({recorded})")
    }
}

impl Report for Indexing {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Right("PARTITIONS"),
            Column::Right("SEGMENTS"),
            Column::Right("RECORDS"),
            Column::Right("BEFORE"),
            Column::Right("AFTER"),
        ]);
        let rows = &self.report.partitions;
        let topics = rows.chunk_by(|a, b| (&a.topic, &a.topic_id) == (&b.topic, &b.topic_id));
        for topic in topics {
            table.row(topic_cells(topic));
        }
        if !rows.is_empty() {
            table.write(out)?;
        }
        let report = &self.report;
        maintenance::write_findings(out, &report.findings)?;
        if self.dry_run && !rows.is_empty() {
            maintenance::write_unchecked(out)?;
        }
        if report.outdated_segments > 0 {
            let segments = human::counted(report.outdated_segments, "segment");
            writeln!(
                out,
                "{segments} were expired or replaced by another run meanwhile, and left to it"
            )?;
        }
        if report.interrupted {
            writeln!(out, "the same command continues")?;
        }
        maintenance::write_older(out, &report.snapshots, self.older_snapshots)
    }
}

/// Returns the cells of partitions of one topic.
fn topic_cells(rows: &[IndexRow]) -> [String; 6] {
    let sum = |of: fn(&IndexRow) -> u64| {
        let rows = rows.iter().map(of);
        rows.fold(0, u64::saturating_add)
    };
    let after: Option<u64> = rows.iter().map(|row| row.new_bytes).sum();
    [
        rows.first()
            .map_or_else(String::new, |row| row.topic.clone()),
        human::count(rows.len() as u64),
        human::count(sum(|row| row.segments)),
        human::count(sum(|row| row.records)),
        human::bytes(sum(|row| row.bytes)),
        after.map_or_else(|| "-".to_owned(), human::bytes),
    ]
}
