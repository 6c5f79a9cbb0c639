//! `kbk groups rollback`: commits again what groups had committed before they were restored.

use std::io::{self, Write};

use kbk_format::repo::RestoreId;
use kbk_tools::restores::FinishedRestore;
use serde::Serialize;

use crate::blocking::blocking;
use crate::cli::{CliError, Context, KafkaArgs, Outcome, Report};
use crate::groups::{self, RollbackPlan};
use crate::human;

/// The arguments of `kbk groups rollback`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// The restore whose offset map was used [default: the last finished one]
    #[arg(long, value_name = "ID")]
    pub restore: Option<RestoreId>,

    /// Print what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Serialize)]
struct RolledBack {
    dry_run: bool,
    #[serde(flatten)]
    plan: RollbackPlan,
}

/// Plans the rollback of the last change, and applies it unless it is a dry run.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let restore = FinishedRestore::open(&repository, args.restore.as_ref()).await?;
    let change = groups::last_change(&repository, &restore.restore.restore).await?;
    let (kafka, dry_run) = (args.kafka.settings()?, args.dry_run);
    let plan = blocking(move || {
        let plan = groups::plan_rollback(change, &kafka)?;
        if !dry_run {
            groups::rollback(&plan, &kafka)?;
        }
        Ok::<_, groups::ChangeError>(plan)
    });
    context.output.report(&RolledBack {
        dry_run,
        plan: plan.await?,
    })?;
    Ok(Outcome::Clean)
}

impl Report for RolledBack {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let names = |groups: &[String]| {
            let names: Vec<String> = groups.iter().map(|group| human::printable(group)).collect();
            names.join(", ")
        };
        let RollbackPlan {
            change,
            groups,
            deleted,
            ..
        } = &self.plan;
        let (back, gone) = if self.dry_run {
            (
                "would get back the offsets that were committed",
                "would be deleted: did not exist",
            )
        } else {
            (
                "got back the offsets that were committed",
                "deleted: did not exist",
            )
        };
        for (groups, what) in [(groups, back), (deleted, gone)] {
            if !groups.is_empty() {
                let count = human::counted(groups.len() as u64, "group");
                writeln!(
                    out,
                    "{count} {what} before change {change}: {}",
                    names(groups)
                )?;
            }
        }
        Ok(())
    }
}
