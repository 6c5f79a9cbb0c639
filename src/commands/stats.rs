//! `kbk stats`: what takes how many bytes.

use std::io::{self, Write};

use jiff::Timestamp;
use kbk_format::repo::{RepoError, RepoErrorKind};
use kbk_tools::list::{self, Sizes, SnapshotSize};
use serde::Serialize;

use super::prune::{self, PruneReport};
use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk stats -r /backup/kafka
  kbk stats -r /backup/kafka --json

UNIQUE is what only this snapshot needs, and what forgetting it alone would free. Snapshots share
most of what they need: a snapshot has the records of all that are older.
Exit code 3: a snapshot cannot be read, so that some sizes are not known.";

/// The arguments of `kbk stats`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

/// The sizes of a repository.
#[derive(Debug, Serialize)]
struct Stats {
    #[serde(flatten)]
    sizes: Sizes,
    /// What a prune would delete and what stays; null where a snapshot cannot be read, so that nobody knows.
    prune: Option<PruneReport>,
}

/// Prints the sizes.
pub async fn run(_args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = super::repository(context).await?;
    let sizes = list::sizes(&repository).await?;
    let prune = match prune::would_prune(&repository, prune::DEFAULT_GRACE).await {
        Ok(report) => Some(report),
        Err(error) if is_unknown(&error) => None,
        // A snapshot that cannot be read is named in its row.
        Err(error) if repository.store().is_about_one_object(&error).await => None,
        Err(error) => return Err(error.into()),
    };
    let stats = Stats { sizes, prune };
    let readable = stats.sizes.snapshots.iter().all(|row| row.damage.is_none());
    context.conclude(&stats, Outcome::clean_if(readable && stats.prune.is_some()))
}

/// Returns whether it is not known what snapshots need, since one of them cannot be read.
fn is_unknown(error: &RepoError) -> bool {
    matches!(
        error.kind(),
        RepoErrorKind::NotPrunable { .. } | RepoErrorKind::NewestMissing { .. }
    )
}

impl Report for Stats {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for row in &self.sizes.snapshots {
            if let Some(damage) = &row.damage {
                writeln!(out, "snapshot {} cannot be counted: {damage}", row.sequence)?;
            }
        }
        let mut topics = Table::new([
            Column::Left("TOPIC"),
            Column::Right("PARTITIONS"),
            Column::Right("SEGMENTS"),
            Column::Right("RECORDS"),
            Column::Right("EXPIRED"),
            Column::Right("STORED"),
            Column::Right("RAW"),
            Column::Left("STATE"),
        ]);
        for row in &self.sizes.topics {
            topics.row([
                super::history_name(&row.topic, &row.topic_id.to_string(), row.deleted),
                human::count(row.partitions),
                human::count(row.segments),
                human::count(row.records),
                human::count(row.expired_records),
                human::bytes(row.stored_bytes),
                human::bytes(row.raw_bytes),
                if row.deleted { "deleted" } else { "" }.to_owned(),
            ]);
        }
        topics.write(out)?;
        writeln!(out)?;
        let mut snapshots = Table::new([
            Column::Right("SNAPSHOT"),
            Column::Left("CREATED"),
            Column::Right("AGE"),
            Column::Right("STORED"),
            Column::Right("UNIQUE"),
        ]);
        let now = Timestamp::now();
        for row in &self.sizes.snapshots {
            snapshots.row(cells(row, now));
        }
        snapshots.write(out)?;
        writeln!(out)?;
        match &self.prune {
            Some(prune) => prune.human(out),
            None => writeln!(
                out,
                "what a prune could delete is not known: a snapshot cannot be read"
            ),
        }
    }
}

fn cells(row: &SnapshotSize, now: Timestamp) -> [String; 5] {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), human::bytes);
    [
        row.sequence.to_string(),
        row.created_at
            .map_or_else(|| "damaged".to_owned(), human::moment),
        row.created_at
            .map_or_else(String::new, |at| human::age_of(at, now)),
        bytes(row.stored_bytes),
        bytes(row.unique_bytes),
    ]
}
