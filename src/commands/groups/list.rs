//! `kbk groups list`: lists the groups of a snapshot, and how far each had read.

use std::io::{self, Write};

use jiff::Timestamp;
use kbk_format::repo::GroupState;
use kbk_tools::list::Completeness;
use kbk_tools::list::groups::{self, GroupRow, Lag};
use kbk_tools::original;
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, SnapshotArg, Table};
use crate::human;
use crate::select::{NamePattern, select_groups};

const EXAMPLES: &str = "\
Examples:
  kbk groups list -r /backup/kafka
  kbk groups list -r /backup/kafka --group 'billing-*' --offsets
  kbk groups list -r /backup/kafka --snapshot 12 --json

BEHIND is the number of records of the snapshot that a group had not read yet, or `at most`
that many if some of the offsets have no record, as after compaction and transactions.";

/// The arguments of `kbk groups list`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Groups to list: a name, a glob, or /a regular expression/ for the whole name; repeatable
    /// [default: all]
    #[arg(long, value_name = "PATTERN")]
    pub group: Vec<NamePattern>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

    /// List every committed offset; --json always includes them
    #[arg(long)]
    pub offsets: bool,
}

/// The groups of a snapshot.
#[derive(Debug, Serialize)]
struct Listing {
    /// The snapshot that is listed.
    snapshot: u64,
    #[serde(flatten)]
    completeness: Completeness,
    /// The snapshot whose backup read the groups from the cluster, with its number in the repository that was backed up where this one is a
    /// copy.
    seen: u64,
    /// The same for people.
    #[serde(skip)]
    seen_in_words: String,
    /// When it read them.
    taken_at: Timestamp,
    groups: Vec<GroupRow>,
    #[serde(skip)]
    offsets: bool,
}

/// Lists the groups.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let snapshot = crate::commands::snapshot(&repository, args.snapshot).await?;
    let Some(found) = repository.groups(&snapshot).await? else {
        let message = format!(
            "snapshot {} has no consumer groups: {}",
            snapshot.sequence,
            original::never_saved(&snapshot)
        );
        let hint = snapshot.origin.as_ref().map(original::copy_again);
        let hint = hint.unwrap_or_else(|| "`kbk backup` without --no-groups saves them".to_owned());
        return Err(CliError::new(message).hint(hint));
    };
    let names: Vec<&str> = found.groups.iter().map(|g| g.group.as_str()).collect();
    let chosen = select_groups(&args.group, &names)?;
    let is_chosen = |group: &&GroupState| chosen.contains(group.group.as_str());
    let rows = found.groups.iter().filter(is_chosen);
    let listing = Listing {
        snapshot: snapshot.sequence,
        completeness: Completeness::of(&snapshot),
        seen: found.seen,
        seen_in_words: original::numbered(&snapshot, found.seen),
        taken_at: found.taken_at,
        groups: rows.map(|group| groups::row(&snapshot, group)).collect(),
        offsets: args.offsets,
    };
    context.conclude(&listing, Outcome::Clean)
}

impl Report for Listing {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(partial) = self.completeness.statement() {
            writeln!(out, "{partial}")?;
        }
        if self.offsets {
            offsets_table(&self.groups).write(out)?;
        } else {
            groups_table(&self.groups).write(out)?;
        }
        writeln!(
            out,
            "{} as of {} ({}), {} old",
            human::counted(self.groups.len() as u64, "group"),
            human::moment(self.taken_at),
            self.seen_in_words,
            human::age_of(self.taken_at, Timestamp::now())
        )?;
        for (what, taken_at) in older(&self.groups) {
            writeln!(out, "older: {what} as of {}", human::moment(taken_at))?;
        }
        Ok(())
    }
}

/// Lists the groups, and the topics of groups, that an earlier backup read and the cluster did not report again, each with its time.
fn older(rows: &[GroupRow]) -> Vec<(String, Timestamp)> {
    let mut older = Vec::new();
    for row in rows {
        let group = human::group_id(&row.group);
        if let Some(taken_at) = row.taken_at {
            older.push((format!("group {group}"), taken_at));
        }
        for offset in &row.offsets {
            if let Some(taken_at) = offset.taken_at {
                let what = format!("the offsets of group {group} in {}", offset.topic);
                older.push((what, taken_at));
            }
        }
    }
    older.dedup();
    older
}

fn groups_table(rows: &[GroupRow]) -> Table {
    let mut table = Table::new([
        Column::Left("GROUP"),
        Column::Left("TYPE"),
        Column::Left("STATE"),
        Column::Right("TOPICS"),
        Column::Right("PARTITIONS"),
        Column::Right("BEHIND"),
    ]);
    for row in rows {
        table.row([
            human::group_id(&row.group),
            row.r#type.clone().unwrap_or_else(|| "-".to_owned()),
            row.state.clone().unwrap_or_else(|| "-".to_owned()),
            human::count(row.topics),
            human::count(row.partitions),
            behind(row.behind),
        ]);
    }
    table
}

fn offsets_table(rows: &[GroupRow]) -> Table {
    let mut table = Table::new([
        Column::Left("GROUP"),
        Column::Left("TOPIC/PARTITION"),
        Column::Right("NEXT OFFSET"),
        Column::Right("STORED END"),
        Column::Right("BEHIND"),
        Column::Left("METADATA"),
    ]);
    let offsets = rows
        .iter()
        .flat_map(|group| group.offsets.iter().map(move |offset| (group, offset)));
    for (group, row) in offsets {
        let stored = row.stored_end_offset;
        table.row([
            human::group_id(&group.group),
            format!("{}/{}", row.topic, row.committed.partition),
            row.committed.offset.to_string(),
            stored.map_or_else(|| "-".to_owned(), |end| end.to_string()),
            behind(row.behind),
            human::printable(&row.committed.metadata),
        ]);
    }
    table
}

/// Formats a lag; `-` for a partition that is not stored, of which it is unknown.
fn behind(behind: Option<Lag>) -> String {
    match behind {
        None => "-".to_owned(),
        Some(Lag { records, at_most }) => {
            let limit = if at_most { "at most " } else { "" };
            format!("{limit}{}", human::count(records))
        }
    }
}
