//! `kbk acls restore`: the ACLs of a snapshot without anything else.

use std::collections::BTreeMap;
use std::io::{self, Write};

use kbk_format::repo::{Repository, Snapshot};

use super::list::{COLUMNS, cells};
use crate::acls::{self, AclsPlan, RestoredAcls};
use crate::blocking::blocking;
use crate::cli::{
    CliError, Column, Context, KafkaArgs, Outcome, RenameArgs, Report, SnapshotArg, Table,
    TopicArgs,
};
use crate::commands::{ChosenTopics, WithLeftOut, chosen_groups, refuse, selected, warn_left_out};
use crate::human;
use crate::kafka::ClientSettings;
use crate::select::{NamePattern, TopicRef};

const EXAMPLES: &str = "\
Examples:
  kbk acls restore -r /backup/kafka -b broker:9092 --dry-run
  kbk acls restore -r /backup/kafka -b broker:9092 --topic orders --map orders=copy --group billing

ACLs are only added, never changed or removed. If no topics are selected, all ACLs of the
snapshot are restored unchanged. Otherwise only ACLs that applied to the selected topics and
groups are restored: a pattern that covers one of them becomes an ACL of it alone. An ACL of
a renamed topic applies to its new name.";

/// The arguments of `kbk acls restore`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// Which of the snapshot's topics.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Their names in the cluster.
    #[command(flatten)]
    pub names: RenameArgs,

    /// Consumer groups whose ACLs are restored with those of selected topics: a name, a glob, or /a regular expression/ for the
    /// whole name; repeatable [default: none, or all if no topics are selected]
    #[arg(long, value_name = "PATTERN")]
    pub group: Vec<NamePattern>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

    /// Print the ACLs that would be created, and create none
    #[arg(long)]
    pub dry_run: bool,
}

/// Plans, and unless it is a dry run, creates what is missing.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repository = crate::commands::repository(context).await?;
    let snapshot = crate::commands::snapshot(&repository, args.snapshot).await?;
    let ChosenTopics { topics, left_out } = selected(&args.topics.selection(), &snapshot)?;
    let targets = args.names.targets(&topics)?;
    let groups = chosen_groups(&args.group, &repository, &snapshot).await?;
    let kafka = args.kafka.settings()?;
    let plan = planned(&repository, &snapshot, &targets, &groups, &kafka).await?;
    // With every topic come all ACLs, those of deleted topics included.
    let left_out = match plan.everything {
        true => Vec::new(),
        false => left_out,
    };
    warn_left_out(&left_out);
    let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    let refused = refuse(&plan.obstacles);
    if args.dry_run {
        let plan = WithLeftOut {
            main: &plan,
            left_out,
        };
        return match refused {
            Ok(()) => context.conclude(&plan, Outcome::Clean),
            Err(error) => Err(context.conclude_failed(&plan, error)),
        };
    }
    refused?;
    let restored = acls::restore(plan, kafka).await?;
    let report = WithLeftOut {
        main: &restored,
        left_out,
    };
    context.conclude(&report, Outcome::Clean)
}

/// The ACLs that come with these topics and groups, held against what the cluster has.
pub(in crate::commands) async fn planned(
    repository: &Repository,
    snapshot: &Snapshot,
    targets: &BTreeMap<TopicRef, String>,
    groups: &[String],
    kafka: &ClientSettings,
) -> Result<AclsPlan, CliError> {
    let saved = repository.acls(snapshot).await?;
    let chosen = acls::choose(snapshot, saved.as_ref(), targets, groups)?;
    let kafka = kafka.clone();
    Ok(blocking(move || acls::compare(chosen, &kafka)).await?)
}

impl Report for AclsPlan {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let [a, b, c, d, e, f, g] = COLUMNS;
        let (saved_as, now) = (Column::Left("SAVED AS"), Column::Left("NOW"));
        let mut table = Table::new([a, b, c, d, e, f, g, saved_as, now]);
        for acl in &self.acls {
            let saved_as = acl.saved_as.as_ref().map_or_else(
                || "-".to_owned(),
                |saved| {
                    format!(
                        "{} {}",
                        saved.pattern_type,
                        human::printable(&saved.resource_name)
                    )
                },
            );
            let now = if acl.exists { "there already" } else { "new" };
            let [a, b, c, d, e, f, g] = cells(&acl.binding);
            table.row([a, b, c, d, e, f, g, saved_as, now.to_owned()]);
        }
        if !self.acls.is_empty() {
            table.write(out)?;
        }
        let created = human::counted(self.missing().count() as u64, "ACL");
        writeln!(
            out,
            "{created} of snapshot {} would be created",
            self.snapshot
        )?;
        left_out(self, out)
    }
}

impl Report for RestoredAcls {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let created = human::counted(self.created as u64, "ACL");
        let existed = human::count(self.existed as u64);
        writeln!(out, "{created} created, {existed} were there already")?;
        left_out(&self.plan, out)
    }
}

/// Writes what is not restored, and why.
fn left_out(plan: &AclsPlan, out: &mut dyn Write) -> io::Result<()> {
    if !plan.source_authorizer {
        writeln!(out, "the source cluster had no authorizer, and so no ACLs")?;
    }
    if plan.not_chosen > 0 {
        let count = human::counted(plan.not_chosen as u64, "ACL");
        writeln!(
            out,
            "{count} left out: not of the selected topics and groups"
        )?;
    }
    let nameless = plan.not_saved + plan.unknown as u64;
    if nameless > 0 {
        let count = human::counted(nameless, "ACL");
        writeln!(
            out,
            "{count} left out: the Kafka client cannot represent them"
        )?;
    }
    Ok(())
}
