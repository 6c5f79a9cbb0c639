//! `kbk groups rollback`: commits again what groups had committed before they were restored.

use std::io::{self, Write};

use kbk_format::repo::{OffsetAndMetadata, RestoreId};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::blocking::blocking;
use crate::cli::{CliError, Column, Context, KafkaArgs, Outcome, Report, Table};
use crate::groups::{self, RollbackAction, RollbackPlan};
use crate::human;

const EXAMPLES: &str = "\
Examples:
  kbk groups rollback -r /backup/kafka -b broker:9092 --dry-run
  kbk groups changes -r /backup/kafka
  kbk groups rollback -r /backup/kafka -b broker:9092 --change 20261128-101500-3fa9c1

Offsets that the group has committed since the change are newer, and stay: they are listed,
and the exit code is 3. --overwrite rolls them back, too. A group that did not exist before
is deleted, unless it has committed anything else. A rollback is itself a change, which can
be rolled back.";

/// The arguments of `kbk groups rollback`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// Only changes made with the offset map of this restore
    #[arg(long, value_name = "ID")]
    pub restore: Option<RestoreId>,

    /// The change to roll back [default: the last restore of groups]
    #[arg(long, value_name = "ID")]
    pub change: Option<RestoreId>,

    /// Also roll back offsets that were committed since the change
    #[arg(long)]
    pub overwrite: bool,

    /// Print what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Serialize)]
struct RolledBack {
    /// Whether nothing was changed, since that was asked for.
    dry_run: bool,
    /// The name of the change that the rollback is; null if it changed nothing.
    rollback: Option<RestoreId>,
    #[serde(flatten)]
    plan: RollbackPlan,
}

/// Plans the rollback of a change, and applies it unless it is a dry run.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let (restore, change) = (args.restore.as_ref(), args.change.as_ref());
    let change = groups::find_change(&repository, restore, change).await?;
    let (kafka, dry_run, overwrite) = (args.kafka.settings()?, args.dry_run, args.overwrite);
    let runtime = Handle::current();
    let rolled_back = blocking(move || {
        let plan = groups::plan_rollback(&change, overwrite, &kafka)?;
        let rollback = match dry_run {
            true => None,
            false => groups::rollback(&plan, &repository, &kafka, &runtime)?,
        };
        Ok::<_, groups::ChangeError>(RolledBack {
            dry_run,
            rollback,
            plan,
        })
    });
    let rolled_back = rolled_back.await?;
    let outcome = Outcome::clean_if(!rolled_back.plan.keeps());
    context.conclude(&rolled_back, outcome)
}

impl Report for RolledBack {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            Column::Left("GROUP"),
            Column::Left("TOPIC/PARTITION"),
            Column::Right("NOW"),
            Column::Right("BEFORE"),
            Column::Left(if self.dry_run { "WOULD BE" } else { "IS" }),
        ]);
        for offset in &self.plan.offsets {
            table.row([
                human::group_id(&offset.group),
                format!("{}/{}", offset.topic, offset.partition),
                position(offset.now.as_ref()),
                position(offset.before.as_ref()),
                action(offset.action).to_owned(),
            ]);
        }
        table.write(out)?;
        for group in &self.plan.deleted {
            let deleted = if self.dry_run {
                "would be deleted"
            } else {
                "was deleted"
            };
            let group = human::group_id(group);
            writeln!(out, "group {group} {deleted}: it did not exist before")?;
        }
        self.summary(out)
    }
}

impl RolledBack {
    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let change = &self.plan.change;
        let count = |action| human::counted(self.plan.with(action).count() as u64, "offset");
        let has = |action| self.plan.with(action).next().is_some();
        let back = count(RollbackAction::RolledBack);
        match (&self.rollback, self.dry_run) {
            (Some(rollback), _) => writeln!(
                out,
                "{back} of change {change} rolled back; the repository keeps what they were as change {rollback}"
            )?,
            (None, true) => writeln!(out, "{back} of change {change} would be rolled back")?,
            (None, false) if has(RollbackAction::Undeletable) => {
                writeln!(out, "nothing was changed")?;
            }
            (None, false) => writeln!(
                out,
                "nothing was changed: no offset is as change {change} left it"
            )?,
        }
        if has(RollbackAction::Kept) {
            let kept = count(RollbackAction::Kept);
            writeln!(
                out,
                "{kept} committed since the change stay as they are; --overwrite rolls them back, too"
            )?;
        }
        if has(RollbackAction::Undeletable) {
            let kept = count(RollbackAction::Undeletable);
            writeln!(
                out,
                "{kept} of the group with the empty id stay: brokers delete the whole group alone"
            )?;
        }
        Ok(())
    }
}

fn position(position: Option<&OffsetAndMetadata>) -> String {
    position.map_or_else(|| "-".to_owned(), |position| position.offset.to_string())
}

fn action(action: RollbackAction) -> &'static str {
    match action {
        RollbackAction::RolledBack => "rolled back",
        RollbackAction::Unchanged => "unchanged: it is as before",
        RollbackAction::Kept => "kept: committed since the change",
        RollbackAction::Undeletable => "kept: brokers cannot delete it",
    }
}
