//! `kbk restore`: a snapshot's topics back into a cluster.

mod only_config;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use kbk_format::repo::{RateLimit, RepoErrorKind, Repository, RestoreId, Snapshot};
use kbk_tools::restores::FinishedRestore;
use serde::Serialize;
use tokio::runtime::Handle;

use super::acls::restore::RestoredAcls;
use super::{acls, groups, refuse};
use crate::acls::AclsPlan;
use crate::blocking::blocking;
use crate::cli::{
    ByteRate, ChoiceArgs, CliError, Column, Context, KafkaArgs, Outcome, RenameArgs, Report,
    SnapshotArg, Table, TopicArgs,
};
use crate::human;
use crate::kafka::{ClientSettings, KafkaError};
use crate::restore::{
    self, Choice, Obstacle, Options, PartitionPlan, PartitionProof, RestoreError, RestorePlan,
    RestoreReport, Shape, Target, TopicPlan,
};
use crate::select::{NamePattern, PartitionMap};

const EXAMPLES: &str = "\
Examples:
  kbk restore -r /backup/kafka -b broker:9092 --dry-run
  kbk restore -r /backup/kafka -b broker:9092 --topic orders --map orders=orders-restored
  kbk restore -r /backup/kafka -b broker:9092 --map-regex 'prod-(.*)=restored-$1'
  kbk restore -r /backup/kafka -b broker:9092 --until 2026-11-22T10:00:00Z
  kbk restore -r /backup/kafka -b broker:9092 --partition 0,3,5-7 --until-offset-of 2h30m
  kbk restore -r /backup/kafka -b broker:9092 --topic orders --partition-map 0:3,3:0
  kbk restore -r /backup/kafka -b broker:9092 --topic orders --repartition 24 --verify

Missing topics are created with the saved configuration and partition count, or with as many partitions
as --partition-map needs or --repartition says. Key, value, headers and timestamp of every record are
kept, and its partition if nothing else is said; offsets are given anew by the cluster.
Give --groups and --acls again with --resume: what comes after the records is not remembered.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// More than any cluster has of one topic.
const MOST_PARTITIONS: i64 = 100_000;

/// The words after `kbk restore`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// Which of the snapshot's topics.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Which of their records.
    #[command(flatten)]
    pub choice: ChoiceArgs,

    /// What they are called in the cluster.
    #[command(flatten)]
    pub names: RenameArgs,

    /// Partitions go to other partitions of their target, in every topic that is chosen, as 0:3,3:0. Those that are not named
    /// are restored too, and stay where they are; no two may go to one
    #[arg(long, value_name = "SOURCE:TARGET,...")]
    pub partition_map: Option<PartitionMap>,

    /// Write every topic that is chosen to N partitions, each record to that of its key, as Java's default partitioner does.
    /// Records without a key stay together: partition P goes to P modulo N. The order of each partition is kept, and so that of
    /// each key. A target that is there must have N partitions
    #[arg(
        long, value_name = "N", conflicts_with = "partition_map",
        value_parser = clap::value_parser!(i32).range(1..=MOST_PARTITIONS)
    )]
    pub repartition: Option<i32>,

    /// Snapshot number, or latest
    #[arg(long, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: SnapshotArg,

    /// Print the plan with exact counts and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Bring back topics without their records: missing ones are created as they were saved, others get the saved values
    #[arg(long, conflicts_with_all = [
        "partition", "since", "until", "since_offset_of", "until_offset_of", "offsets", "append", "verify", "no_transactions",
        "resume", "partition_map", "repartition",
    ])]
    pub only_config: bool,

    /// Restore into topics that hold records already
    #[arg(long)]
    pub append: bool,

    /// Delete what the target partitions hold, before anything is written; asks first
    #[arg(long, conflicts_with_all = ["append", "only_config", "resume"])]
    pub purge_target: bool,

    /// Do not ask before --purge-target deletes records
    #[arg(long, requires = "purge_target")]
    pub yes: bool,

    /// Read every record back when all are written, and compare it with the backup; exit 3 on any difference
    #[arg(long, conflicts_with = "dry_run")]
    pub verify: bool,

    /// Restore consumer groups too, when the records are there: a name, a glob, or /a regular expression/ for the whole name;
    /// repeatable
    #[arg(long, value_name = "PATTERN", conflicts_with = "only_config")]
    pub groups: Vec<NamePattern>,

    /// Create the snapshot's ACLs too, those that are missing, when all else is done: every one where every topic is restored, else
    /// what applied to the topics and to the groups of --groups. See `kbk acls restore --help`
    #[arg(long)]
    pub acls: bool,

    /// Write without transactions: faster by a little, and a restore that is stopped cannot be gone on with
    #[arg(long, conflicts_with = "resume")]
    pub no_transactions: bool,

    /// Write nothing into the repository, which may be read-only: no transactions, no offset map, no groups
    #[arg(long, conflicts_with_all = ["resume", "groups"])]
    pub no_offset_map: bool,

    /// Go on with a restore that was stopped or killed; its ID only where several are unfinished
    #[arg(long, value_name = "ID", num_args = 0..=1, conflicts_with_all = [
        "topic", "exclude", "partition", "since", "until", "since_offset_of", "until_offset_of", "offsets", "map", "map_regex",
        "partition_map", "repartition", "snapshot",
        "dry_run", "append", "replication_factor",
    ])]
    pub resume: Option<Option<RestoreId>>,

    /// Leave retention.ms and retention.bytes of created topics at -1, where they are while records are written
    #[arg(long, conflicts_with_all = ["only_config", "resume"])]
    pub keep_retention_off: bool,

    /// Write at most so many bytes of keys, values and headers a second, over all partitions; as 10MiB
    #[arg(long, value_name = "SIZE", conflicts_with = "only_config")]
    pub rate_limit: Option<ByteRate>,

    /// Write at most so many records a second, over all partitions
    #[arg(
        long, value_name = "N", conflicts_with = "only_config",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub rate_limit_records: Option<u64>,

    /// Replication factor of the topics to create [default: the saved one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
}

impl Args {
    fn shape(&self) -> Shape {
        match (&self.partition_map, self.repartition) {
            (_, Some(count)) => Shape::Repartitioned(count),
            (Some(map), None) => Shape::Mapped(map.clone()),
            (None, None) => Shape::Kept,
        }
    }

    fn rate(&self) -> RateLimit {
        RateLimit {
            bytes: self.rate_limit.map(ByteRate::bytes),
            records: self.rate_limit_records,
        }
    }
}

/// Plans, and unless it is a dry run, restores.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let choice = super::choice(&args.choice)?;
    let repository = super::repository(context).await?;
    let kafka = args.kafka.settings()?;
    if args.only_config {
        return only_config::run(args, choice, &repository, kafka, context).await;
    }
    let planned = tokio::select! {
        planned = plan_all(args, choice, &repository, &kafka) => planned?,
        () = context.cancel.cancelled() => {
            tracing::warn!("stopped before anything was written");
            return Ok(Outcome::Interrupted);
        }
    };
    if args.dry_run {
        context.output.report(&planned)?;
    }
    planned.refuse(&planned.main.obstacles)?;
    if args.dry_run {
        return Ok(Outcome::Clean);
    }
    let WithAcls { main: plan, acls } = planned;
    if !args.yes {
        confirm_purge(&plan, context)?;
    }
    let (restore, offset_map) = (plan.restore.clone(), plan.offset_map);
    let report = match apply(plan, &repository, kafka, context).await {
        Ok(report) => report,
        Err(error) => {
            let hint = match &error {
                RestoreError::Repo(error) if *error.kind() == RepoErrorKind::NotWritable => {
                    "--no-offset-map restores without writing into the repository".to_owned()
                }
                _ => next_step(&repository, &restore, offset_map).await,
            };
            return Err(CliError::from(error).hint(hint));
        }
    };
    let complete = !report.interrupted && different(&report).count() == 0;
    let groups = if complete && !args.groups.is_empty() {
        let finished = FinishedRestore::open(&repository, Some(&restore)).await?;
        let kafka = args.kafka.settings()?;
        Some(groups::restore::restored(&repository, &finished, &args.groups, kafka, false).await?)
    } else {
        None
    };
    let (acls, acls_failed) =
        restored_acls(acls.filter(|_| complete), args.kafka.settings()?).await;
    let report = Finished {
        report,
        groups,
        acls,
    };
    context.output.report(&report)?;
    if let Some(error) = acls_failed {
        return Err(CliError::from(error).hint(ACLS_LATER));
    }
    let Finished { report, .. } = report;
    if args.acls && !complete {
        tracing::warn!(
            "no ACL was created: they come when all records are there as they were saved, so give --acls again"
        );
    }
    if report.interrupted {
        tracing::warn!(
            "stopped early: {}",
            next_step(&repository, &restore, offset_map).await
        );
        return Ok(Outcome::Interrupted);
    }
    let different = different(&report);
    for partition in different.clone() {
        tracing::warn!("{partition}");
    }
    if different.count() > 0 {
        tracing::warn!(
            "new topics keep the configuration that they were filled with, so that nothing more changes in them"
        );
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Clean)
}

/// What to do where everything is restored but ACLs.
const ACLS_LATER: &str = "all else is restored; `kbk acls restore` with the same --topic, --exclude, --map and --map-regex creates \
    those that are missing";

/// Creates ACLs; an error is put beside the report of all that was done before.
async fn restored_acls(
    acls: Option<AclsPlan>,
    kafka: ClientSettings,
) -> (Option<RestoredAcls>, Option<KafkaError>) {
    let Some(acls) = acls else {
        return (None, None);
    };
    match acls::restore::restored(acls, kafka).await {
        Ok(restored) => (Some(restored), None),
        Err(error) => (None, Some(error)),
    }
}

/// What a restore will do, the ACLs that come after it included.
async fn plan_all(
    args: &Args,
    choice: Choice,
    repository: &Repository,
    kafka: &ClientSettings,
) -> Result<WithAcls<RestorePlan, AclsPlan>, CliError> {
    let plan = plan(args, choice, repository, kafka).await?;
    let topics = plan.topics.iter();
    let targets = topics.map(|topic| (topic.source.clone(), topic.target.clone()));
    let targets = targets.collect();
    let acls = plan_acls(args, repository, plan.snapshot, &targets, kafka).await?;
    Ok(WithAcls { main: plan, acls })
}

/// The ACLs that come with these topics, if any are asked for.
async fn plan_acls(
    args: &Args,
    repository: &Repository,
    snapshot: u64,
    targets: &BTreeMap<String, String>,
    kafka: &ClientSettings,
) -> Result<Option<AclsPlan>, CliError> {
    if !args.acls {
        return Ok(None);
    }
    let snapshot = repository.snapshot(snapshot).await?;
    let groups = super::chosen_groups(&args.groups, &snapshot)?;
    let plan = acls::restore::planned(&snapshot, targets, &groups, kafka).await?;
    Ok(Some(plan))
}

async fn plan(
    args: &Args,
    choice: Choice,
    repository: &Repository,
    kafka: &ClientSettings,
) -> Result<RestorePlan, CliError> {
    if let Some(name) = &args.resume {
        let restore = restore::unfinished(repository, name.as_ref()).await?;
        return Ok(restore::plan_rest(repository, restore, kafka, args.verify, args.rate()).await?);
    }
    let snapshot = super::snapshot(repository, args.snapshot).await?;
    let options = options(args, choice, &snapshot, kafka)?;
    Ok(restore::plan(repository, &snapshot, &options).await?)
}

fn options(
    args: &Args,
    choice: Choice,
    snapshot: &Snapshot,
    kafka: &ClientSettings,
) -> Result<Options, CliError> {
    let chosen = super::chosen(&args.topics, &choice, snapshot)?;
    if args.repartition.is_some() && args.verify && args.no_offset_map {
        let message = "--verify finds repartitioned records by the offset map, and --no-offset-map keeps none";
        return Err(CliError::usage(message));
    }
    Ok(Options {
        kafka: kafka.clone(),
        targets: args.names.targets(&chosen)?,
        choice,
        shape: args.shape(),
        append: args.append,
        purge: args.purge_target,
        verify: args.verify,
        transactions: !args.no_transactions,
        groups: super::chosen_groups(&args.groups, snapshot)?,
        offset_map: !args.no_offset_map,
        replication_factor: args.replication_factor.map(i32::from),
        keep_retention_off: args.keep_retention_off,
        rate_limit: args.rate(),
        count: args.dry_run,
    })
}

async fn apply(
    plan: RestorePlan,
    repository: &Repository,
    kafka: ClientSettings,
    context: &Context,
) -> Result<RestoreReport, RestoreError> {
    let events = context.events("restoring");
    let (repository, cancel, runtime) = (
        repository.clone(),
        context.cancel.clone(),
        Handle::current(),
    );
    blocking(move || restore::apply(plan, &repository, &kafka, &cancel, events, &runtime)).await
}

/// Asks for the number of topics that lose records, if there are any.
fn confirm_purge(plan: &RestorePlan, context: &Context) -> Result<(), CliError> {
    let topics = plan.purged().count();
    if topics == 0 {
        return Ok(());
    }
    let names: Vec<String> = plan.purged().map(purge_in_words).collect();
    let question = format!(
        "--purge-target deletes the records of {}: {}",
        human::counted(topics as u64, "topic"),
        names.join(", ")
    );
    context.confirm(&question, &topics.to_string())
}

fn purge_in_words((topic, records): (&TopicPlan, u64)) -> String {
    let records = human::counted(records, "record");
    format!("{} (about {records})", topic.target)
}

/// What to do about a restore that did not come to its end.
async fn next_step(repository: &Repository, restore: &RestoreId, offset_map: bool) -> String {
    match repository.restore(restore).await {
        Ok(None) if offset_map => "nothing was written: run it again".to_owned(),
        Ok(Some(begun)) if begun.producers > 0 => {
            format!("`kbk restore --resume {restore}` goes on from the last commit")
        }
        Ok(_) => "the target topics hold a part of the records, and without transactions nobody knows which: empty them, \
             or delete those that this restore created, and restore again"
            .to_owned(),
        Err(error) => format!("whether it had begun cannot be told: {error}"),
    }
}

/// The partitions that are not what the plan says.
fn different(report: &RestoreReport) -> impl Iterator<Item = &PartitionProof> + Clone {
    let proofs = report.proof.iter().flatten();
    proofs.filter(|proof| !proof.is_equal())
}

/// A plan or a report, with that of the ACLs that come after it.
#[derive(Serialize)]
struct WithAcls<T, A> {
    #[serde(flatten)]
    main: T,
    acls: Option<A>,
}

impl<T: Report, A: Report> Report for WithAcls<T, A> {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        self.main.human(out)?;
        match &self.acls {
            Some(acls) => acls.human(out),
            None => Ok(()),
        }
    }
}

impl<T> WithAcls<T, AclsPlan> {
    /// What is in the way of the ACLs, after what is in the way of the rest.
    fn refuse(&self, obstacles: &[Obstacle]) -> Result<(), CliError> {
        let of_acls = self.acls.iter().flat_map(|acls| &acls.obstacles);
        let of_acls = of_acls.map(ToString::to_string);
        refuse(obstacles.iter().map(ToString::to_string).chain(of_acls))
    }
}

impl Report for RestorePlan {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            Column::Left("TOPIC"),
            Column::Left("TARGET"),
            Column::Right("PARTITION"),
            Column::Right("FROM"),
            Column::Right("TO"),
            Column::Right("RECORDS"),
            Column::Right("SEGMENTS"),
            Column::Right("STORED"),
            Column::Right("BLOCKS"),
            Column::Right("READ"),
        ]);
        for topic in &self.topics {
            for partition in &topic.partitions {
                let about = if partition.records_exact {
                    ""
                } else {
                    "at most "
                };
                table.row([
                    topic.source.clone(),
                    target(topic),
                    place(partition),
                    partition.base_offset.to_string(),
                    partition.end_offset.to_string(),
                    format!("{about}{}", human::count(partition.records)),
                    human::count(partition.segments as u64),
                    human::bytes(partition.stored_bytes),
                    human::count(partition.blocks),
                    human::bytes(partition.read_bytes),
                ]);
            }
        }
        table.write(out)?;
        let records: u64 = self
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| partition.records)
            .sum();
        for topic in self.topics.iter().filter(|topic| topic.retention_stays_off) {
            let target = &topic.target;
            writeln!(out, "{target} would keep its records: retention stays off")?;
        }
        for purged in self.purged() {
            writeln!(
                out,
                "what is there would be deleted: {}",
                purge_in_words(purged)
            )?;
        }
        for topic in &self.topics {
            if let Some(count) = topic.repartitioned() {
                let (from, target) = (topic.source_partitions, &topic.target);
                writeln!(
                    out,
                    "{target} would have {count} partitions where the backup has {from}: each record goes by its key"
                )?;
            }
        }
        let choice = self.choice.to_string();
        writeln!(
            out,
            "{} of snapshot {} would be written{}{choice}",
            human::counted(records, "record"),
            self.snapshot,
            if choice.is_empty() { "" } else { ": " },
        )?;
        match restore::rate_in_words(self.rate_limit) {
            limit if limit.is_empty() => Ok(()),
            limit => writeln!(out, "no faster than {limit}"),
        }
    }
}

fn target(topic: &TopicPlan) -> String {
    let TopicPlan {
        target,
        source_partitions,
        ..
    } = topic;
    match topic.action {
        Target::Existing => target.clone(),
        Target::Create { partitions, .. }
            if usize::try_from(partitions) == Ok(*source_partitions) =>
        {
            format!("{target} (new)")
        }
        Target::Create { partitions, .. } => format!("{target} (new, {partitions} partitions)"),
    }
}

/// The partition, and where it goes if that is elsewhere.
fn place(plan: &PartitionPlan) -> String {
    let partition = plan.partition;
    match plan.target_partition {
        Some(target) if target == partition => partition.to_string(),
        Some(target) => format!("{partition} -> {target}"),
        None => format!("{partition} by key"),
    }
}

/// What a restore did, with the groups and ACLs that came after it.
#[derive(Serialize)]
struct Finished {
    #[serde(flatten)]
    report: RestoreReport,
    groups: Option<groups::restore::Restored>,
    acls: Option<RestoredAcls>,
}

impl Report for Finished {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        self.report.human(out)?;
        if let Some(groups) = &self.groups {
            groups.human(out)?;
        }
        match &self.acls {
            Some(acls) => acls.human(out),
            None => Ok(()),
        }
    }
}

impl Report for RestoreReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "restored {} of snapshot {} into {} ({} created) in {} ({}){}",
            human::counted(self.records, "record"),
            self.snapshot,
            human::counted(self.topics as u64, "topic"),
            self.topics_created,
            human::counted(self.partitions as u64, "partition"),
            human::duration(Duration::from_secs_f64(self.seconds)),
            if self.resumed {
                ", those of earlier runs included"
            } else {
                ""
            },
        )?;
        if self.purged_records > 0 {
            let records = human::counted(self.purged_records, "record");
            writeln!(out, "about {records} of the targets were deleted first")?;
        }
        if !self.retention_off.is_empty() {
            let topics = self.retention_off.join(", ");
            writeln!(
                out,
                "retention is off, and stays off until it is set: {topics}"
            )?;
        }
        if self.offset_map && !self.interrupted {
            writeln!(
                out,
                "restore {}: the repository keeps its offset map",
                self.restore
            )?;
        }
        let Some(proof) = &self.proof else {
            return Ok(());
        };
        let records = proof.iter().map(|partition| partition.found).sum();
        let compared = human::counted(records, "record");
        match different(self).count() {
            0 => writeln!(out, "read back {compared}: all as they were saved"),
            some => writeln!(
                out,
                "read back {compared}: {some} of {} differ",
                human::counted(proof.len() as u64, "partition")
            ),
        }
    }
}
