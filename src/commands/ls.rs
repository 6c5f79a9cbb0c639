//! `kbk ls`: topics, partitions and segments.

use std::io::{self, Write};

use kbk_format::repo::{PartitionState, Repository, Snapshot, TopicState};
use kbk_tools::UnreadRange;
use kbk_tools::list::{self, Completeness, PartitionRow, SegmentRow, SegmentTotals, TopicRow};
use serde::Serialize;

use super::unread::{Done, UnreadRow, UnreadRows};
use crate::cli::{CliError, Column, Context, Outcome, Report, SnapshotArg, Table};
use crate::human;
use crate::select::{TopicPartitions, TopicRef};

const EXAMPLES: &str = "\
Examples:
  kbk ls -r /backup/kafka
  kbk ls -r /backup/kafka 'orders-*'
  kbk ls -r /backup/kafka orders/0-3,7
  kbk ls -r /backup/kafka 'orders-*' --partitions
  kbk ls -r /backup/kafka orders --segments

A topic that is given by its name, or with partitions, is listed partition by partition; globs
and regular expressions list topics, unless --partitions or --segments says otherwise.
FROM is the first offset that the backup covers, END is one past the last.
STATE deleted: the cluster no longer has the topic; replaced: the topic was read again in full since
(--refresh, or a log that did not continue the stored one), and what was stored before is kept;
partial: the backup lacks records that the cluster had.
Exit code 3: a table of the index cannot be read, so that segments of a partition are not listed.";

/// The arguments of `kbk ls`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Topics, or partitions of them, as in orders/0-3,7: a name, a glob, or /a regular expression/ for the whole name; also NAME@ID,
    /// with 8 digits of its id or more [default: all topics]
    #[arg(value_name = "TOPIC[/PARTITIONS]")]
    pub within: Vec<TopicPartitions>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

    /// List every partition
    #[arg(long, conflicts_with = "segments")]
    pub partitions: bool,

    /// List every segment
    #[arg(long)]
    pub segments: bool,
}

/// The contents of a snapshot. Exactly one of the lists is present.
#[derive(Debug, Serialize)]
struct Listing {
    /// The snapshot that is listed.
    snapshot: u64,
    #[serde(flatten)]
    completeness: Completeness,
    #[serde(flatten)]
    rows: Rows,
    /// What could not be listed of the segments: a table of the index cannot be read.
    unlisted: Vec<UnreadRow>,
    /// The same in one line.
    #[serde(skip)]
    statement: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Rows {
    Topics(Vec<TopicRow>),
    Partitions(Vec<PartitionRow>),
    Segments(Vec<SegmentRow>),
}

/// Lists what was selected.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let snapshot = super::snapshot(&repository, args.snapshot).await?;
    let mut unlisted = UnreadRows::new(Done::Listed);
    let listing = Listing {
        snapshot: snapshot.sequence,
        completeness: Completeness::of(&snapshot),
        rows: rows(args, &repository, &snapshot, &mut unlisted).await?,
        statement: unlisted.statement(),
        unlisted: unlisted.into_rows(),
    };
    let outcome = Outcome::clean_if(listing.unlisted.is_empty());
    context.conclude(&listing, outcome)
}

async fn rows(
    args: &Args,
    repository: &Repository,
    snapshot: &Snapshot,
    unlisted: &mut UnreadRows,
) -> Result<Rows, CliError> {
    let all = || snapshot.topics.iter();
    let selected: Vec<(&TopicState, Vec<&PartitionState>)> = match args.within.is_empty() {
        true => all()
            .map(|topic| (topic, topic.partitions.iter().collect()))
            .collect(),
        false => super::partitions(&args.within, snapshot)?,
    };
    if args.segments {
        let mut rows = Vec::new();
        for (topic, state) in super::each_partition(selected) {
            match list::segments(repository, snapshot, topic, state).await {
                Ok(segments) => rows.extend(segments),
                Err(error) => {
                    let error = repository.store().judged(error).await;
                    if !error.is_of_one_object() {
                        return Err(error.into());
                    }
                    let name = format!("{}/{}", TopicRef::of(snapshot, topic), state.partition);
                    let range = UnreadRange::new(state.base_offset..state.end_offset, &error);
                    unlisted.add(&name, (&topic.name, state.partition), range);
                }
            }
        }
        return Ok(Rows::Segments(rows));
    }
    if args.partitions || !args.within.iter().all(TopicPartitions::is_pattern) {
        let mut rows = Vec::new();
        for (topic, states) in selected {
            rows.extend(list::partitions(topic, states));
        }
        return Ok(Rows::Partitions(rows));
    }
    let topics = selected.into_iter().map(|(topic, _)| topic);
    Ok(Rows::Topics(list::topics(snapshot, topics)))
}

impl Report for Listing {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(partial) = self.completeness.statement() {
            writeln!(out, "{partial}")?;
        }
        if let Some(unlisted) = &self.statement {
            writeln!(out, "{unlisted}")?;
        }
        match &self.rows {
            Rows::Topics(rows) => topics_table(rows).write(out),
            Rows::Partitions(rows) => partitions_table(rows).write(out),
            Rows::Segments(rows) => segments_table(rows).write(out),
        }?;
        writeln!(out, "{}", self.rows.totals())
    }
}

impl Rows {
    /// Says how many rows there are, and what they hold together.
    fn totals(&self) -> String {
        let mut totals = SegmentTotals::default();
        let count = |number: usize, noun| human::counted(number as u64, noun);
        let what = match self {
            Rows::Topics(rows) => {
                rows.iter().for_each(|row| totals.add(&row.totals));
                let partitions = rows.iter().map(|row| row.partitions).sum();
                let partitions = human::counted(partitions, "partition");
                format!("{}: {partitions}, ", count(rows.len(), "topic"))
            }
            Rows::Partitions(rows) => {
                rows.iter().for_each(|row| totals.add(&row.totals));
                let segments = rows.iter().map(|row| row.segments).sum();
                let segments = human::counted(segments, "segment");
                format!("{}: {segments}, ", count(rows.len(), "partition"))
            }
            Rows::Segments(rows) => {
                totals = SegmentTotals::of(rows.iter().map(|row| &row.entry));
                format!("{}: ", count(rows.len(), "segment"))
            }
        };
        let records = human::counted(totals.records, "record");
        let stored = human::bytes(totals.stored_bytes);
        let raw = human::bytes(totals.raw_bytes);
        format!("{what}{records}, {stored} stored, {raw} raw")
    }
}

fn topics_table(rows: &[TopicRow]) -> Table {
    // Most repositories have none.
    let has_expired = rows.iter().any(|row| row.expired_offsets > 0);
    let mut columns = vec![
        Column::Left("TOPIC"),
        Column::Right("PARTITIONS"),
        Column::Right("RECORDS"),
        Column::Right("STORED"),
        Column::Right("RAW"),
        Column::Left("FIRST TIME"),
        Column::Left("LAST TIME"),
    ];
    columns.extend(has_expired.then_some(Column::Right("EXPIRED OFFSETS")));
    columns.push(Column::Left("STATE"));
    let mut table = Table::new(columns);
    for row in rows {
        let [first, last] = super::times((row.totals.min_timestamp, row.totals.max_timestamp));
        let state = match (row.replaced_in, row.deleted, row.incomplete_partitions) {
            (Some(_), ..) => "replaced",
            (None, true, _) => "deleted",
            (None, false, 0) => "",
            (None, false, _) => "partial",
        };
        let mut cells = vec![
            super::history_name(&row.topic, &row.topic_id, row.deleted),
            human::count(row.partitions),
            human::count(row.totals.records),
            human::bytes(row.totals.stored_bytes),
            human::bytes(row.totals.raw_bytes),
            first,
            last,
        ];
        let expired = match row.expired_offsets {
            0 => String::new(),
            expired => human::count(expired),
        };
        cells.extend(has_expired.then_some(expired));
        cells.push(state.to_owned());
        table.row(cells);
    }
    table
}

fn partitions_table(rows: &[PartitionRow]) -> Table {
    let mut table = Table::new([
        Column::Left("TOPIC/PARTITION"),
        Column::Right("FROM"),
        Column::Right("END"),
        Column::Right("SEGMENTS"),
        Column::Right("RECORDS"),
        Column::Right("STORED"),
        Column::Right("RAW"),
        Column::Left("FIRST TIME"),
        Column::Left("LAST TIME"),
        Column::Right("LOST OFFSETS"),
        Column::Right("EXPIRED OFFSETS"),
        Column::Left("STATE"),
    ]);
    for row in rows {
        let [first, last] = super::times((row.totals.min_timestamp, row.totals.max_timestamp));
        let lost: u64 = row
            .lost
            .iter()
            .map(|lost| lost.end_offset.abs_diff(lost.base_offset))
            .sum();
        let lost = if lost > 0 {
            human::count(lost)
        } else {
            String::new()
        };
        table.row([
            format!(
                "{}/{}",
                super::history_name(&row.topic, &row.topic_id, row.deleted),
                row.partition
            ),
            row.base_offset.to_string(),
            row.end_offset.to_string(),
            human::count(row.segments),
            human::count(row.totals.records),
            human::bytes(row.totals.stored_bytes),
            human::bytes(row.totals.raw_bytes),
            first,
            last,
            lost,
            expired(row),
            incomplete(row),
        ]);
    }
    table
}

/// Formats how many offsets before those that a partition has were expired.
fn expired(row: &PartitionRow) -> String {
    let offsets = row.expired.as_ref().map(|expired| expired.offsets);
    let offsets = offsets.map(|offsets| offsets.end_offset.abs_diff(offsets.base_offset));
    offsets.map_or_else(String::new, human::count)
}

/// Formats why a partition lacks records, and how many offsets.
fn incomplete(row: &PartitionRow) -> String {
    let Some(incomplete) = &row.incomplete else {
        return String::new();
    };
    let reason = incomplete.reason.in_words();
    match row.missing_offsets {
        Some(missing) => format!("{reason}: {} missing", human::count(missing)),
        None => reason,
    }
}

fn segments_table(rows: &[SegmentRow]) -> Table {
    let mut table = Table::new([
        Column::Left("TOPIC/PARTITION"),
        Column::Right("FROM"),
        Column::Right("END"),
        Column::Right("RECORDS"),
        Column::Right("STORED"),
        Column::Left("FIRST TIME"),
        Column::Left("LAST TIME"),
        Column::Left("OBJECT"),
    ]);
    for SegmentRow {
        topic,
        partition,
        entry,
    } in rows
    {
        let has_records = entry.records > 0;
        let [first, last] = super::times((
            entry.min_timestamp.filter(|_| has_records),
            has_records.then_some(entry.max_timestamp),
        ));
        table.row([
            format!("{topic}/{partition}"),
            entry.base_offset.to_string(),
            entry.end_offset.to_string(),
            human::count(entry.records),
            human::bytes(entry.size),
            first,
            last,
            entry.key.clone(),
        ]);
    }
    table
}
