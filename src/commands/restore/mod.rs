//! `kbk restore`: a snapshot's topics back into a cluster.

mod only_config;
mod plan;
mod report;

use std::collections::BTreeMap;
use std::io::{self, Write};

use kbk_format::repo::{
    RateLimit, RepoError, RepoErrorKind, Repository, RestoreId, RestoreManifest, Snapshot,
};
use serde::Serialize;

use self::plan::{only_compressed_in_words, purge_in_words};
use super::{WithLeftOut, acls, refuse};
use crate::acls::AclsPlan;
use crate::cli::{
    ByteRate, CliError, ClientChoice, Context, KafkaArgs, MetricsArgs, Outcome, RenameArgs, Report,
    SelectionArgs, SnapshotArg, TopicPartitionArgs,
};
use crate::human;
use crate::kafka::ClientSettings;
use crate::restore::{
    self, Afterwards, Finished, Obstacle, PartitionMapping, PlanError, Purpose, RecordSelection,
    RestoreError, RestoreOptions, RestorePlan, ResumeError, RetentionChoice, RunError, TargetError,
    TopicPlan,
};
use crate::select::{DropHeaders, NamePattern, PartitionMap, PatternError, TopicRef};

const EXAMPLES: &str = "\
Examples:
  kbk restore -r /backup/kafka -b broker:9092 --dry-run
  kbk restore -r /backup/kafka -b broker:9092 --topic orders --map orders=orders-restored
  kbk restore -r /backup/kafka -b broker:9092 --map-regex 'prod-(.*)=restored-$1'
  kbk restore -r /backup/kafka -b broker:9092 --until 2026-11-22T10:00:00Z
  kbk restore -r /backup/kafka -b broker:9092 --topic orders/0-3,7 --until-offset-of 2h30m
  kbk restore -r /backup/kafka -b broker:9092 --topic orders --partition-map 0:3,3:0
  kbk restore -r /backup/kafka -b broker:9092 --topic orders --repartition 24 --verify

Missing topics are created with the saved configuration and partition count, or with as many
partitions as --partition-map or --repartition requires. The key, value, headers and
timestamp of every record are kept, and so is its partition by default; the cluster assigns
new offsets. Records without a timestamp have -1 and are restored so: --until selects them,
--since does not.

Each transaction leaves a marker, which has an offset and no record. A consumer that has
read everything therefore shows a lag of 1, and programs that wait for the offset before
the end, as old readers of _schemas do, wait for ever: restore such topics with
--no-transactions.

Batches are compressed as the compression.type of their target says;
-X compression.type=zstd sets one for all topics. Without either, Kafka's own batches, where the
backup has them (backup --encoding), are written as they are, byte for byte; small ones become
one, and those that no broker accepts again, or of which not all records are restored, are built
anew with the same codec. Of other records, backups do not store which codec a producer chose:
they get lz4. A record that exceeds max.message.bytes of an existing target is written in a batch
of its own, and restored if that compresses enough.

--resume finishes everything that the restore was begun with, --groups
and --acls included.
TIME is RFC 3339, @SECONDS, @MILLISECONDSms, or a span back from now such as 2h30m or 7d.";

/// More partitions than any cluster has in one topic.
const MOST_PARTITIONS: i64 = 100_000;

/// The arguments of `kbk restore`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to reach the cluster.
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// The Kafka client that writes records, and reads them back. `wire` is kbk's own; a property that it cannot honour is an error. All else is done by
    /// librdkafka in either case
    #[arg(
        long,
        value_enum,
        value_name = "wire|librdkafka",
        default_value_t,
        hide_possible_values = true,
        conflicts_with = "only_config"
    )]
    pub client: ClientChoice,

    /// The topics to restore.
    #[command(flatten)]
    pub topics: TopicPartitionArgs,

    /// The records to restore.
    #[command(flatten)]
    pub choice: SelectionArgs,

    /// Their names in the cluster.
    #[command(flatten)]
    pub names: RenameArgs,

    /// Restore partitions to other partitions of their target, in every selected topic, for example 0:3,3:0. Partitions that are not
    /// named are restored too and keep their numbers; no two may go to the same one
    #[arg(long, value_name = "SOURCE:TARGET,...")]
    pub partition_map: Option<PartitionMap>,

    /// Distribute the records of every selected topic over N partitions by key, as Java's default partitioner does. Records without a
    /// key stay together: those of partition P go to P modulo N. The order within each source partition, and so of each key, is kept.
    /// An existing target must have N partitions
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

    /// Restore topics without their records: missing ones are created as they were saved, others get the saved configuration
    #[arg(long, conflicts_with_all = [
        "partition", "since", "until", "since_offset_of", "until_offset_of", "offsets", "append", "verify", "no_transactions",
        "resume", "partition_map", "repartition", "no_offset_map",
    ])]
    pub only_config: bool,

    /// Restore into topics that already hold records
    #[arg(long)]
    pub append: bool,

    /// Restore partitions that lack records in the snapshot: the backup was stopped, say, or a transaction was open. Without this option
    /// such a restore is refused; with it, the exit code is 3
    #[arg(long, conflicts_with_all = ["only_config", "resume"])]
    pub allow_partial: bool,

    /// Delete the records of the target partitions before anything is written; asks for confirmation
    #[arg(long, conflicts_with_all = ["append", "only_config", "resume"])]
    pub purge_target: bool,

    /// Leave out headers of this name, such as those that another replicator added; repeatable. All else is kept
    #[arg(long, value_name = "NAME", conflicts_with_all = ["only_config", "resume"])]
    pub drop_header: Vec<String>,

    /// Do not ask for confirmation of --purge-target
    #[arg(long, requires = "purge_target")]
    pub yes: bool,

    /// Read every record back once all are written, and compare it with the backup; exit 3 on any difference
    #[arg(long, conflicts_with = "dry_run")]
    pub verify: bool,

    /// Restore consumer groups too, after the records: a name, a glob, or /a regular expression/ for the whole name;
    /// repeatable
    #[arg(long, value_name = "PATTERN", conflicts_with = "only_config")]
    pub groups: Vec<NamePattern>,

    /// Create missing ACLs of the snapshot too, after everything else: all of them where every topic is restored, otherwise those of
    /// the topics and of the groups of --groups. See `kbk acls restore --help`
    #[arg(long)]
    pub acls: bool,

    /// Write without transactions: slightly faster, but a restore that is stopped cannot be resumed
    #[arg(long, conflicts_with = "resume")]
    pub no_transactions: bool,

    /// Write nothing into the repository, which may be read-only: no transactions, no offset map, no groups
    #[arg(long, conflicts_with_all = ["resume", "groups"])]
    pub no_offset_map: bool,

    /// Resume a restore that was stopped or killed; the ID is needed only if several are unfinished
    #[arg(long, value_name = "ID", num_args = 0..=1, conflicts_with_all = [
        "topic", "exclude", "partition", "since", "until", "since_offset_of", "until_offset_of", "offsets", "map", "map_regex",
        "partition_map", "repartition", "snapshot",
        "dry_run", "append", "replication_factor",
    ])]
    pub resume: Option<Option<RestoreId>>,

    /// Leave retention.ms and retention.bytes of created topics at -1, their values while records are written. By default they are set
    /// as saved only where that keeps every restored record for at least another hour and a tenth of the retention
    #[arg(long, conflicts_with_all = ["only_config", "resume"])]
    pub keep_retention_off: bool,

    /// Set retention.ms and retention.bytes of created topics as saved, even if Kafka then deletes restored records
    #[arg(long, conflicts_with_all = ["only_config", "resume", "keep_retention_off"])]
    pub restore_retention: bool,

    /// Write at most SIZE bytes per second over all partitions, for example 10MiB: of keys, values and headers, or of whole batches
    #[arg(long, value_name = "SIZE", conflicts_with = "only_config")]
    pub rate_limit: Option<ByteRate>,

    /// Write at most N records per second over all partitions
    #[arg(
        long, value_name = "N", conflicts_with = "only_config",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub rate_limit_records: Option<u64>,

    /// Replication factor of the topics to create [default: the saved one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

impl Args {
    fn mapping(&self) -> PartitionMapping {
        match (&self.partition_map, self.repartition) {
            (_, Some(count)) => PartitionMapping::Repartitioned(count),
            (Some(map), None) => PartitionMapping::Mapped(map.clone()),
            (None, None) => PartitionMapping::Kept,
        }
    }

    fn retention(&self) -> RetentionChoice {
        match (self.keep_retention_off, self.restore_retention) {
            (true, _) => RetentionChoice::Off,
            (false, true) => RetentionChoice::AsSaved,
            (false, false) => RetentionChoice::IfRecordsStay,
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
    let selection = super::choice(&args.topics, &args.choice)?;
    let repository = super::repository(context).await?;
    let kafka = match args.only_config {
        true => args.kafka.settings()?,
        false => args.kafka.settings_for(args.client)?,
    };
    if args.only_config {
        if args.topics.has_partitions() {
            let message = "--only-config restores whole topics; give --topic without partitions";
            return Err(CliError::usage(message));
        }
        return only_config::run(args, selection, &repository, kafka, context).await;
    }
    let planned = tokio::select! {
        planned = plan_all(args, selection, &repository, &kafka) => planned?,
        () = context.cancel.cancelled() => {
            tracing::warn!("stopped before anything was written");
            return Ok(Outcome::Interrupted);
        }
    };
    warn_without_records(&planned.main);
    let planned = planned.into_approved(|plan| &plan.obstacles, args.dry_run, context)?;
    let Some(WithAcls {
        main: plan,
        acls,
        left_out,
    }) = planned
    else {
        return Ok(Outcome::Clean);
    };
    if !args.yes {
        confirm_purge(&plan, context)?;
    }
    for tight in plan.topics().filter_map(only_compressed_in_words) {
        tracing::warn!("{tight}");
    }
    let step = NextStep::of(&plan);
    let wants_acls = acls.is_some();
    let afterwards = Afterwards {
        groups: group_patterns(args, &plan.manifest)?,
        acls,
    };
    let events = context.events("restoring");
    let (cancel, settings) = (&context.cancel, &kafka);
    let run = restore::run(plan, afterwards, &repository, settings, cancel, events).await;
    match run {
        Ok(finished) => report(finished, left_out, wants_acls, context, &repository, &step).await,
        Err(RunError::Records(error)) => {
            let hint = step.after(&error, &repository).await;
            Err(CliError::from(error).hint(hint))
        }
        Err(error @ RunError::Groups(_)) => {
            let hint = step.describe(&repository).await;
            Err(CliError::from(error).hint(hint))
        }
    }
}

/// Says which topics get no record. A resumed restore may have written all of them before.
fn warn_without_records(plan: &RestorePlan) {
    let has_none = |topic: &TopicPlan<'_>| {
        let mut partitions = topic.partitions();
        partitions.all(|partition| partition.reading.records == 0)
    };
    let without = plan.topics().filter(has_none);
    let without: Vec<&str> = without.map(|topic| topic.target()).collect();
    if !without.is_empty() && !plan.resumed {
        tracing::warn!(
            "no record is selected for {}, which would be empty: {}",
            human::counted(without.len() as u64, "topic"),
            human::some_of(&without)
        );
    }
}

/// Prints what was done, and says what is left to do.
async fn report(
    mut finished: Finished,
    left_out: Vec<String>,
    wants_acls: bool,
    context: &Context,
    repository: &Repository,
    step: &NextStep,
) -> Result<Outcome, CliError> {
    let acls_error = finished.acls_error.take();
    let report = WithLeftOut {
        main: &finished,
        left_out,
    };
    if let Some(error) = acls_error {
        let error = CliError::from(error).hint(ACLS_LATER);
        return Err(context.conclude_failed(&report, error));
    }
    let outcome = outcome(&finished);
    context.conclude(&report, outcome)?;
    let report = &finished.report;
    if wants_acls && !report.is_exact() {
        tracing::warn!("no ACLs were created: they follow once every record is restored and equal");
    }
    if report.interrupted {
        tracing::warn!("stopped early: {}", step.describe(repository).await);
    }
    if report.interrupted || report.is_exact() {
        return Ok(outcome);
    }
    for unexpected in &report.unexpected {
        tracing::warn!("{unexpected}");
    }
    if report.is_complete() {
        tracing::warn!(
            "every record of the backup is restored, with others among them; groups and ACLs are left out, and `kbk groups restore` and \
             `kbk acls restore` restore them"
        );
        return Ok(outcome);
    }
    for partition in report.different() {
        tracing::warn!("{partition}");
    }
    tracing::warn!(
        "created topics keep the configuration that they were filled with, so that nothing more changes in them"
    );
    Ok(outcome)
}

fn outcome(finished: &Finished) -> Outcome {
    let report = &finished.report;
    let mut groups = finished.groups.iter();
    let leaves_groups_alone = groups.any(|groups| groups.plan.in_use().next().is_some());
    match report.interrupted {
        true => Outcome::Interrupted,
        // That a snapshot lacks records was allowed, and it is not whole all the same.
        false => {
            Outcome::clean_if(report.is_exact() && report.saved.complete && !leaves_groups_alone)
        }
    }
}

/// What to do where everything but the ACLs is restored.
const ACLS_LATER: &str = "everything else is restored; `kbk acls restore` with the same --topic, --exclude, --map and --map-regex creates \
    the missing ACLs";

/// Plans the restore, including its ACLs.
async fn plan_all(
    args: &Args,
    selection: RecordSelection,
    repository: &Repository,
    kafka: &ClientSettings,
) -> Result<WithAcls<RestorePlan, AclsPlan>, CliError> {
    let (plan, left_out) = plan(args, selection, repository, kafka).await?;
    let topics = plan.manifest.topics.iter();
    let targets = topics.map(|topic| {
        let source = TopicRef::new(&topic.topic, topic.topic_id);
        (source, topic.target.to_string())
    });
    let targets = targets.collect();
    let snapshot = plan.manifest.snapshot.sequence;
    let acls = match args.acls || plan.manifest.acls {
        true => {
            let groups = group_patterns(args, &plan.manifest)?;
            Some(plan_acls(&groups, repository, snapshot, &targets, kafka).await?)
        }
        false => None,
    };
    Ok(WithAcls {
        main: plan,
        acls,
        left_out,
    })
}

/// Returns the patterns of the groups to restore: those that the restore was begun with, and those of this run.
fn group_patterns(args: &Args, manifest: &RestoreManifest) -> Result<Vec<NamePattern>, CliError> {
    let given = args.groups.iter().map(ToString::to_string);
    let mut patterns: Vec<String> = manifest.groups.clone();
    patterns.extend(given.filter(|pattern| !manifest.groups.contains(pattern)));
    let parsed = patterns.iter().map(|pattern| pattern.parse());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error: PatternError| {
            CliError::new(format!("cannot tell which groups to restore: {error}"))
        })
}

/// Plans the ACLs of these topics, and of the groups that the patterns select.
async fn plan_acls(
    groups: &[NamePattern],
    repository: &Repository,
    snapshot: u64,
    targets: &BTreeMap<TopicRef, String>,
    kafka: &ClientSettings,
) -> Result<AclsPlan, CliError> {
    let snapshot = repository.snapshot(snapshot).await?;
    let groups = super::chosen_groups(groups, repository, &snapshot).await?;
    acls::restore::planned(repository, &snapshot, targets, &groups, kafka).await
}

async fn plan(
    args: &Args,
    selection: RecordSelection,
    repository: &Repository,
    kafka: &ClientSettings,
) -> Result<(RestorePlan, Vec<String>), CliError> {
    if let Some(name) = &args.resume {
        let restore = restore::unfinished(repository, name.as_ref()).await?;
        let rate = args.rate();
        let name = restore.restore.clone();
        let plan =
            restore::plan_rest(repository, restore, kafka, args.client, args.verify, rate).await;
        return match plan {
            Ok(plan) => Ok((plan, Vec::new())),
            Err(error) => Err(resume_failed(error, &name)),
        };
    }
    let snapshot = super::snapshot(repository, args.snapshot).await?;
    let (options, left_out) = options(args, selection, (repository, &snapshot), kafka).await?;
    let plan = restore::plan(repository, &snapshot, &options).await;
    Ok((plan.map_err(super::plan_failed)?, left_out))
}

/// Adds to the failure of a plan to resume what to do where the backup is damaged.
fn resume_failed(error: ResumeError, restore: &RestoreId) -> CliError {
    let hint = match &error {
        ResumeError::Plan(PlanError::Repo(error)) if error.kind().is_about_content() => {
            Some(past_damage(
                error,
                restore,
                &format!("`kbk restore --resume {restore}` resumes from the last commit"),
            ))
        }
        _ => None,
    };
    super::with_hint(CliError::from(error), hint)
}

/// Says what to do about a restore that meets damage, which `resumes` once there is an intact copy: otherwise, it reads the same damaged object
/// again.
fn past_damage(error: &RepoError, restore: &RestoreId, resumes: &str) -> String {
    let resumed = format!("with an intact copy in its place, {resumes}");
    let discard = format!("`kbk restores discard {restore}` ends this restore");
    let Some(around) = super::around_damage(error) else {
        return format!("{resumed}. Without one, {discard}");
    };
    format!(
        "{resumed}. Without one, --resume fails there again: {discard}. {around}; the first run \
         empties the targets with --purge-target, the second one needs --append"
    )
}

async fn options(
    args: &Args,
    mut selection: RecordSelection,
    (repository, snapshot): (&Repository, &Snapshot),
    kafka: &ClientSettings,
) -> Result<(RestoreOptions, Vec<String>), CliError> {
    let chosen = super::chosen(&args.topics, &mut selection, snapshot)?;
    super::warn_left_out(&chosen.left_out);
    if args.repartition.is_some() && args.verify && args.no_offset_map {
        let message = "--verify finds repartitioned records by the offset map, which --no-offset-map does not keep";
        return Err(CliError::usage(message));
    }
    let left_out = chosen.left_out.iter().map(ToString::to_string).collect();
    let options = RestoreOptions {
        kafka: kafka.clone(),
        client: args.client,
        targets: args.names.targets(&chosen.topics)?,
        selection,
        mapping: args.mapping(),
        append: args.append,
        purge: args.purge_target,
        verify: args.verify,
        transactions: !args.no_transactions,
        group_patterns: args.groups.clone(),
        groups: super::chosen_groups(&args.groups, repository, snapshot).await?,
        acls: args.acls,
        offset_map: !args.no_offset_map,
        replication_factor: args.replication_factor.map(i32::from),
        retention: args.retention(),
        rate_limit: args.rate(),
        allow_partial: args.allow_partial,
        drop_headers: DropHeaders::new(args.drop_header.iter().cloned()),
        purpose: match args.dry_run {
            true => Purpose::DryRun,
            false => Purpose::Restore,
        },
    };
    Ok((options, left_out))
}

/// Asks for confirmation, by the name of the topic that loses records, or by how many topics do: neither is typed by habit.
fn confirm_purge(plan: &RestorePlan, context: &Context) -> Result<(), CliError> {
    let topics: Vec<&str> = plan.purged().map(|(topic, _)| topic.target()).collect();
    let counted = human::counted(topics.len() as u64, "topic");
    let answer = match topics[..] {
        [] => return Ok(()),
        [one] => one,
        _ => &counted,
    };
    let names: Vec<String> = plan.purged().map(purge_in_words).collect();
    let names = names.join(", ");
    let question = format!("--purge-target deletes the records of {counted}: {names}");
    context.confirm(&question, answer)
}

/// What to do about a restore that did not finish.
struct NextStep {
    restore: RestoreId,
    offset_map: bool,
}

impl NextStep {
    fn of(plan: &RestorePlan) -> NextStep {
        NextStep {
            restore: plan.manifest.restore.clone(),
            offset_map: plan.offset_map,
        }
    }

    async fn after(&self, error: &RestoreError, repository: &Repository) -> String {
        match error {
            RestoreError::Repo(error) if *error.kind() == RepoErrorKind::NotWritable => {
                "--no-offset-map restores without writing into the repository".to_owned()
            }
            RestoreError::Target(_) => TargetError::NEXT_STEP.to_owned(),
            RestoreError::TakenOver { .. } => {
                "`kbk restores` shows what has become of it".to_owned()
            }
            RestoreError::Repo(error) if error.kind().is_about_content() => {
                past_damage(error, &self.restore, &self.describe(repository).await)
            }
            RestoreError::NotCompared(_) => self.without_comparison(repository).await,
            // What is wrong stays wrong.
            RestoreError::ProgressLost { .. } | RestoreError::Progress { .. } => format!(
                "`kbk restores discard {}` ends this restore for good",
                self.restore
            ),
            _ => self.describe(repository).await,
        }
    }

    /// Says how a restore is finished that has written everything, and could not compare it.
    async fn without_comparison(&self, repository: &Repository) -> String {
        let restore = &self.restore;
        match repository.restore(restore).await {
            Ok(Some(begun)) if begun.producers > 0 => format!(
                "`kbk restore --resume {restore}` finishes the restore without a comparison, which reads no record again, and with --verify once \
                 the backup can be read"
            ),
            _ => "once the backup can be read, `kbk diff --live` compares; until `kbk restore --only-config` has set them, topics that \
                  this restore created keep the configuration that they were filled with"
                .to_owned(),
        }
    }

    async fn describe(&self, repository: &Repository) -> String {
        let restore = &self.restore;
        match repository.restore(restore).await {
            Ok(None) if self.offset_map => "nothing was written: run it again".to_owned(),
            Ok(Some(begun)) if begun.producers > 0 => {
                format!(
                    "what was committed stays in the targets; `kbk restore --resume {restore}` resumes from the last commit"
                )
            }
            Ok(_) => "the target topics hold an unknown part of the records, since there are no transactions: empty them, \
                 or delete those that this restore created, and restore again"
                .to_owned(),
            Err(error) => format!("cannot tell whether the restore began: {error}"),
        }
    }
}

/// A plan or a report, with that of the ACLs.
#[derive(Serialize)]
struct WithAcls<T, A> {
    #[serde(flatten)]
    main: T,
    acls: Option<A>,
    /// Deleted topics that are not restored.
    left_out: Vec<String>,
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

impl<T: Report + Serialize> WithAcls<T, AclsPlan> {
    /// Prints a dry run, which ends here, and fails if the rest or the ACLs have obstacles. Returns what is to be applied.
    fn into_approved(
        self,
        obstacles: impl Fn(&T) -> &[Obstacle],
        dry_run: bool,
        context: &Context,
    ) -> Result<Option<Self>, CliError> {
        let of_acls = self.acls.iter().flat_map(|acls| &acls.obstacles);
        let of_acls = of_acls.map(ToString::to_string);
        let of_main = obstacles(&self.main).iter().map(ToString::to_string);
        let refused = refuse(of_main.chain(of_acls));
        if !dry_run {
            return refused.map(|()| Some(self));
        }
        match refused {
            Ok(()) => context.conclude(&self, Outcome::Clean).map(|_| None),
            Err(error) => Err(context.conclude_failed(&self, error)),
        }
    }
}
