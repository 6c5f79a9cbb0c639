//! `kbk groups changes`: lists what was changed in clusters by restoring groups, and by rolling that back.

use std::io::{self, Write};

use jiff::Timestamp;
use kbk_format::repo::{GroupsChange, RestoreId};
use serde::Serialize;

use crate::cli::{CliError, Column, Context, Outcome, Report, Table};
use crate::groups;
use crate::human;

/// The arguments of `kbk groups changes`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Only changes made with the offset map of this restore
    #[arg(long, value_name = "ID")]
    pub restore: Option<RestoreId>,
}

/// The changes, in the order in which they were made.
#[derive(Debug, Serialize)]
struct Changes {
    /// The changes, the oldest first.
    changes: Vec<ChangeRow>,
}

#[derive(Debug, Serialize)]
struct ChangeRow {
    /// Its name.
    change: RestoreId,
    /// The restore whose offsets were committed.
    restore: RestoreId,
    /// When it was made.
    changed_at: Timestamp,
    /// Kafka's id of the cluster; `None` if it reports none.
    cluster_id: Option<String>,
    /// Number of groups.
    groups: u64,
    /// Number of offsets.
    offsets: u64,
    /// The change that this one rolls back.
    undoes: Option<RestoreId>,
}

impl From<GroupsChange> for ChangeRow {
    fn from(change: GroupsChange) -> ChangeRow {
        let offsets = change.groups.iter().map(|group| group.offsets.len() as u64);
        ChangeRow {
            groups: change.groups.len() as u64,
            offsets: offsets.sum(),
            changed_at: change.changed_at,
            change: change.change,
            restore: change.restore,
            cluster_id: change.cluster_id,
            undoes: change.undoes,
        }
    }
}

/// Lists the changes.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let changes = groups::changes(&repository, args.restore.as_ref()).await?;
    let changes = Changes {
        changes: changes.into_iter().map(ChangeRow::from).collect(),
    };
    context.conclude(&changes, Outcome::Clean)
}

impl Report for Changes {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.changes.is_empty() {
            return writeln!(out, "no groups were changed");
        }
        let mut table = Table::new([
            Column::Left("CHANGE"),
            Column::Left("MADE"),
            Column::Right("AGE"),
            Column::Left("RESTORE"),
            Column::Right("GROUPS"),
            Column::Right("OFFSETS"),
            Column::Left("ROLLS BACK"),
        ]);
        let now = Timestamp::now();
        for row in &self.changes {
            let undoes = row.undoes.as_ref();
            table.row([
                row.change.to_string(),
                human::moment(row.changed_at),
                human::age_of(row.changed_at, now),
                row.restore.to_string(),
                human::count(row.groups),
                human::count(row.offsets),
                undoes.map_or_else(|| "-".to_owned(), ToString::to_string),
            ]);
        }
        table.write(out)?;
        let changes = human::counted(self.changes.len() as u64, "change");
        writeln!(out, "{changes}")
    }
}
