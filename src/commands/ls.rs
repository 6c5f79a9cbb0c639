//! `kbk ls`: topics, partitions and segments.

use std::io::{self, Write};

use kbk_format::repo::{PartitionState, Repository, Snapshot, TopicState};
use kbk_tools::list::{self, Completeness, PartitionRow, SegmentRow, TopicRow};
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, SnapshotArg, Table};
use crate::human;
use crate::select::TopicOrPartition;

/// The arguments of `kbk ls`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A topic (a name, or NAME@ID with 8 digits of its id or more), to list its partitions, or one partition; without it, all topics
    #[arg(value_name = "TOPIC[/PARTITION]")]
    pub within: Option<TopicOrPartition>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

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
    let listing = Listing {
        snapshot: snapshot.sequence,
        completeness: Completeness::of(&snapshot),
        rows: rows(args, &repository, &snapshot).await?,
    };
    context.conclude(&listing, Outcome::Clean)
}

async fn rows(args: &Args, repository: &Repository, snapshot: &Snapshot) -> Result<Rows, CliError> {
    if args.segments {
        return segments(args, repository, snapshot).await;
    }
    let Some(within) = &args.within else {
        let rows = list::topics(repository, snapshot).await?;
        return Ok(Rows::Topics(rows));
    };
    let topic = super::topic(snapshot, &within.topic)?;
    let mut rows = list::partitions(repository, topic).await?;
    if let Some(number) = within.partition {
        super::partition(topic, number)?;
        rows.retain(|row| row.partition == number);
    }
    Ok(Rows::Partitions(rows))
}

async fn segments(
    args: &Args,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Rows, CliError> {
    let mut rows = Vec::new();
    for (topic, state) in selected(args, snapshot)? {
        rows.extend(list::segments(repository, topic, state).await?);
    }
    Ok(Rows::Segments(rows))
}

/// Returns the partitions whose segments are listed.
fn selected<'a>(
    args: &Args,
    snapshot: &'a Snapshot,
) -> Result<Vec<(&'a TopicState, &'a PartitionState)>, CliError> {
    let all = |topic: &'a TopicState| topic.partitions.iter().map(move |state| (topic, state));
    let Some(within) = &args.within else {
        return Ok(snapshot.topics.iter().flat_map(all).collect());
    };
    let topic = super::topic(snapshot, &within.topic)?;
    match within.partition {
        Some(number) => Ok(vec![(topic, super::partition(topic, number)?)]),
        None => Ok(all(topic).collect()),
    }
}

impl Report for Listing {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(partial) = self.completeness.statement() {
            writeln!(out, "{partial}")?;
        }
        match &self.rows {
            Rows::Topics(rows) => topics_table(rows).write(out),
            Rows::Partitions(rows) => partitions_table(rows).write(out),
            Rows::Segments(rows) => segments_table(rows).write(out),
        }
    }
}

fn topics_table(rows: &[TopicRow]) -> Table {
    let mut table = Table::new([
        Column::Left("TOPIC"),
        Column::Right("PARTITIONS"),
        Column::Right("RECORDS"),
        Column::Right("STORED"),
        Column::Right("RAW"),
        Column::Left("FIRST TIME"),
        Column::Left("LAST TIME"),
        Column::Left("STATE"),
    ]);
    for row in rows {
        let [first, last] = super::times((row.totals.min_timestamp, row.totals.max_timestamp));
        let state = match (row.deleted, row.incomplete_partitions) {
            (true, _) => "deleted",
            (false, 0) => "",
            (false, _) => "partial",
        };
        table.row([
            topic_name(&row.topic, &row.topic_id, row.deleted),
            human::count(row.partitions),
            human::count(row.totals.records),
            human::bytes(row.totals.stored_bytes),
            human::bytes(row.totals.raw_bytes),
            first,
            last,
            state.to_owned(),
        ]);
    }
    table
}

/// Formats the name of a topic as --topic and the mount take it.
fn topic_name(topic: &str, id: &str, deleted: bool) -> String {
    match deleted {
        true => format!("{topic}@{id}"),
        false => topic.to_owned(),
    }
}

fn partitions_table(rows: &[PartitionRow]) -> Table {
    let mut table = Table::new([
        Column::Left("TOPIC/PARTITION"),
        Column::Right("FROM OFFSET"),
        Column::Right("TO OFFSET"),
        Column::Right("SEGMENTS"),
        Column::Right("RECORDS"),
        Column::Right("STORED"),
        Column::Right("RAW"),
        Column::Left("FIRST TIME"),
        Column::Left("LAST TIME"),
        Column::Right("LOST OFFSETS"),
        Column::Left("STATE"),
    ]);
    for row in rows {
        let [first, last] = super::times((row.totals.min_timestamp, row.totals.max_timestamp));
        let lost: u64 = row
            .lost
            .iter()
            .map(|lost| lost.to.abs_diff(lost.from))
            .sum();
        let lost = if lost > 0 {
            human::count(lost)
        } else {
            String::new()
        };
        table.row([
            format!("{}/{}", row.topic, row.partition),
            row.base_offset.to_string(),
            last_offset(row.base_offset, row.end_offset),
            human::count(row.segments),
            human::count(row.totals.records),
            human::bytes(row.totals.stored_bytes),
            human::bytes(row.totals.raw_bytes),
            first,
            last,
            lost,
            incomplete(row),
        ]);
    }
    table
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
        Column::Right("FROM OFFSET"),
        Column::Right("TO OFFSET"),
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
        let bounds = (entry.records > 0).then_some((entry.min_timestamp, entry.max_timestamp));
        let [first, last] = super::times(bounds.unzip());
        table.row([
            format!("{topic}/{partition}"),
            entry.base_offset.to_string(),
            last_offset(entry.base_offset, entry.end_offset),
            human::count(entry.records),
            human::bytes(entry.size),
            first,
            last,
            entry.key.clone(),
        ]);
    }
    table
}

/// Formats the last covered offset, or nothing.
fn last_offset(base: i64, end: i64) -> String {
    if base < end {
        (end - 1).to_string()
    } else {
        "-".to_owned()
    }
}
