//! `kbk snapshots`: lists the snapshots of the repository.

use std::io::{self, Write};

use jiff::Timestamp;
use kbk_tools::list::{self, SnapshotContents, SnapshotRow};
use kbk_tools::original;
use kbk_tools::recover::REBUILD;
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::human;

/// The arguments of `kbk snapshots`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {}

/// The snapshots of a repository, ascending.
#[derive(Debug, Serialize)]
struct Snapshots {
    #[serde(skip)]
    repository: String,
    snapshots: Vec<SnapshotRow>,
}

/// Lists the snapshots. A damaged one is listed too, and is a finding.
pub async fn run(_args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let listed = Snapshots {
        repository: repository.store().url().to_owned(),
        snapshots: list::snapshots(&repository).await?,
    };
    let damaged = listed.snapshots.iter().any(|row| row.contents.is_none());
    context.conclude(&listed, Outcome::clean_if(!damaged))
}

impl Report for Snapshots {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.snapshots.is_empty() {
            let repository = &self.repository;
            return writeln!(
                out,
                "{repository} has no snapshots yet; `kbk backup` creates one"
            );
        }
        // The newest counts most.
        if let Some(damage) = self.snapshots.last().and_then(|row| row.damage.as_ref()) {
            writeln!(out, "{damage}")?;
        }
        for row in self.snapshots.iter().rev() {
            if let Some(partial) = row.contents.as_ref().and_then(|it| it.partial.as_ref()) {
                writeln!(out, "{partial}")?;
            }
        }
        let mut table = Table::new([
            Column::Right("SNAPSHOT"),
            Column::Left("STATE"),
            Column::Left("CREATED"),
            Column::Right("AGE"),
            Column::Right("TOPICS"),
            Column::Right("PARTITIONS"),
            Column::Right("RECORDS"),
            Column::Right("STORED"),
            Column::Right("NEW RECORDS"),
            Column::Right("NEW STORED"),
        ]);
        let now = Timestamp::now();
        for row in &self.snapshots {
            table.row(cells(row, now));
        }
        table.write(out)?;
        writeln!(out, "{}", self.totals())?;
        if let Some(copies) = self.copies() {
            writeln!(out, "{copies}")?;
        }
        for row in &self.snapshots {
            if let Some(contents) = &row.contents
                && let Some(command) = &contents.maintenance
            {
                let (sequence, backup) = (row.sequence, contents.backup);
                let what = match command.as_str() {
                    "expire" => "what has not expired of the backup",
                    _ => "the backup",
                };
                let of = match backup {
                    // Without a snapshot before it, nothing says which backup the segments are of.
                    _ if command == REBUILD && contents.parent.is_none() => {
                        "what segments prove that no readable snapshot named".to_owned()
                    }
                    0 => "nothing".to_owned(),
                    backup => {
                        let is_copy = contents.origin.is_some();
                        let of = original::of_copy(is_copy, backup);
                        format!("{what} of {of}{}", without(contents))
                    }
                };
                writeln!(
                    out,
                    "snapshot {sequence} is of `kbk {}`, and holds {of}",
                    human::printable(command)
                )?;
            }
            let is_newest = row.sequence == self.snapshots.last().map_or(0, |it| it.sequence);
            if let Some(damage) = row.damage.as_ref().filter(|_| !is_newest) {
                writeln!(out, "snapshot {}: {damage}", row.sequence)?;
            }
        }
        Ok(())
    }
}

impl Snapshots {
    /// Says which are copies, and of what; `None` where none is.
    fn copies(&self) -> Option<String> {
        let contents = self.snapshots.iter().filter_map(|row| {
            let contents = row.contents.as_ref()?;
            Some((
                row.sequence,
                contents.origin?,
                contents.origin_repository.as_ref()?,
            ))
        });
        let copies: Vec<(u64, u64, &String)> = contents.collect();
        let (first, _, repository) = copies.first()?;
        let (last, origin, _) = copies.last()?;
        let which = match copies.len() {
            1 => format!("snapshot {last} is a copy"),
            _ => format!("the snapshots {first} to {last} are copies"),
        };
        Some(format!(
            "{which} of repository {repository}, up to its snapshot {origin}"
        ))
    }

    /// Says how many there are and, where every one can be read, what they added.
    fn totals(&self) -> String {
        let count = human::counted(self.snapshots.len() as u64, "snapshot");
        let added = self.snapshots.iter().map(|row| {
            let contents = row.contents.as_ref()?;
            Some((contents.new_records?, contents.new_bytes?))
        });
        let added: Option<Vec<(u64, u64)>> = added.collect();
        let Some(added) = added else {
            return count;
        };
        let sum = |sum: u64, added: &u64| sum.saturating_add(*added);
        let records = added.iter().map(|(records, _)| records).fold(0, sum);
        let bytes = added.iter().map(|(_, bytes)| bytes).fold(0, sum);
        let records = human::counted(records, "record");
        format!("{count}: {records}, {} stored", human::bytes(bytes))
    }
}

/// Says how many records of its backup a snapshot lacks. What has expired is what its sentence is about.
fn without(contents: &SnapshotContents) -> String {
    match contents.removed_records {
        Some(removed @ 1..) if contents.maintenance.as_deref() != Some("expire") => {
            format!(" without {}", human::counted(removed, "record"))
        }
        _ => String::new(),
    }
}

fn cells(row: &SnapshotRow, now: Timestamp) -> [String; 10] {
    let sequence = row.sequence.to_string();
    let Some(contents) = &row.contents else {
        let [a, b, c, d, e, f, g, h] = [const { String::new() }; 8];
        return [sequence, "damaged".to_owned(), a, b, c, d, e, f, g, h];
    };
    let state = match (contents.backup, contents.complete) {
        (0, _) => "no backup",
        (_, true) => "complete",
        (_, false) => "partial",
    };
    let known =
        |number: Option<u64>, show: fn(u64) -> String| number.map_or_else(|| "-".to_owned(), show);
    [
        sequence,
        state.to_owned(),
        human::moment(contents.created_at),
        human::age_of(contents.created_at, now),
        human::count(contents.topics),
        human::count(contents.partitions),
        human::count(contents.records),
        human::bytes(contents.stored_bytes),
        known(contents.new_records, human::count),
        known(contents.new_bytes, human::bytes),
    ]
}
