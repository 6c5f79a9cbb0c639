//! `kbk groups restore`: restores the committed offsets of consumer groups to the cluster of a restore.

use std::io::{self, Write};

use kbk_format::repo::RestoreId;
use kbk_tools::restores::FinishedRestore;

use super::map::landing;
use crate::cli::{CliError, Column, Context, KafkaArgs, Outcome, Report, Table};
use crate::groups::{self, GroupsPlan, RestoredGroups};
use crate::human;
use crate::select::NamePattern;

const EXAMPLES: &str = "\
Examples:
  kbk groups restore -r /backup/kafka -b broker:9092 --dry-run
  kbk groups restore -r /backup/kafka -b broker:9092 --group 'billing-*'
  kbk groups rollback -r /backup/kafka -b broker:9092

Committed offsets are translated by the offset map of a restore. A group with members is left
alone, since they would overwrite its offsets; the others are changed, and the exit code is 3.
The offsets that a group had committed in the cluster are kept in the repository, and `kbk
groups rollback` commits them again.

In a repartitioned topic, a group resumes in each partition at the first record that it may
not have read, whichever partition of the backup it is from; that partition is shown. A
partition without a committed offset counts as unread. The number of records that are read
again is reported.";

/// The arguments of `kbk groups restore`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// The name of the restore [default: the last finished one]
    #[arg(long, value_name = "ID")]
    pub restore: Option<RestoreId>,

    /// Groups: a name, a glob, or /a regular expression/ for the whole name; repeatable [default: all]
    #[arg(long, value_name = "PATTERN")]
    pub group: Vec<NamePattern>,

    /// Print what would be committed, and commit nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Plans, and unless it is a dry run, commits.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let restore = FinishedRestore::open(&repository, args.restore.as_ref()).await?;
    let kafka = args.kafka.settings()?;
    let restored = groups::restore(&repository, &restore, &args.group, kafka, args.dry_run).await?;
    let in_use = restored.plan.in_use().count() > 0;
    context.conclude(&restored, Outcome::clean_if(!in_use))
}

/// Names the groups that are left alone, if there are any.
pub(in crate::commands) fn left_alone(plan: &GroupsPlan) -> Option<String> {
    let in_use: Vec<String> = plan
        .in_use()
        .map(|group| {
            let members = human::counted(group.members as u64, "member");
            format!("{} ({members})", human::group_id(&group.group))
        })
        .collect();
    let count = in_use.len() as u64;
    (count > 0).then(|| {
        format!(
            "left alone: {} in use, {}; stop the consumers, then run `kbk groups restore`",
            human::counted(count, "group"),
            human::some_of(&in_use)
        )
    })
}

impl Report for RestoredGroups {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(left_alone) = left_alone(&self.plan) {
            writeln!(out, "{left_alone}")?;
        }
        self.write_changed(out)
    }
}

impl RestoredGroups {
    /// Writes what was changed, or would be.
    pub(in crate::commands) fn write_changed(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            Column::Left("GROUP"),
            Column::Left("TOPIC/PARTITION"),
            Column::Right("OFFSET"),
            Column::Left("TARGET"),
            Column::Right("BEFORE"),
            Column::Right("NOW"),
            Column::Left("IS"),
        ]);
        for group in self.plan.changed() {
            for offset in &group.offsets {
                let target = &offset.target;
                let before = offset.before.as_ref();
                table.row([
                    human::group_id(&group.group),
                    format!("{}/{}", offset.source_topic, offset.source_partition),
                    offset.source_offset.to_string(),
                    format!("{}/{}", target.topic, target.partition),
                    before.map_or_else(|| "-".to_owned(), |before| before.offset.to_string()),
                    target.offset.to_string(),
                    landing(target.lands),
                ]);
            }
        }
        let groups = self.plan.changed().count() as u64;
        if groups > 0 {
            table.write(out)?;
        }
        let read_again = self.plan.read_again();
        if read_again > 0 {
            let records = human::counted(read_again, "record");
            writeln!(out, "{records} that were already read will be read again")?;
        }
        let groups = human::counted(groups, "group");
        match &self.change {
            None if self.dry_run => writeln!(out, "{groups} would be changed"),
            None => writeln!(out, "nothing changed"),
            Some(change) => writeln!(
                out,
                "{groups} changed; the repository keeps what they had before as {change}"
            ),
        }
    }
}
