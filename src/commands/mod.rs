//! One file per subcommand: its arguments, its output, and the calls into the engine.

pub mod acls;
pub mod backup;
pub mod cat;
pub mod compact;
pub mod completions;
pub mod copy;
pub mod demo;
pub mod diff;
pub mod expire;
pub mod export;
pub mod forget;
pub mod grep;
pub mod groups;
mod history_names;
pub mod import;
pub mod index;
pub mod init;
pub mod inspect;
pub mod ls;
mod maintenance;
pub mod man;
pub mod mount;
mod program;
pub mod prune;
pub mod record_args;
pub mod recover;
pub mod restore;
pub mod restores;
mod run_progress;
pub mod snapshots;
pub mod stats;
pub mod status;
pub mod umount;
mod unread;
mod unused;
pub mod verify;
mod written;

pub use self::program::Cli;

pub(crate) use self::mount::translate_mount_arguments;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use clap::Subcommand;
use kbk_format::repo::{
    Digested, PartitionId, PartitionState, RepoError, Repository, Snapshot, Store, TopicState,
};
use serde::Serialize;

use crate::cli::{
    CliError, Context, KafkaArgs, MetricsArgs, Outcome, RepoMode, RepoUrl, Report, SelectionArgs,
    SnapshotArg, TimeArg, TopicPartitionArgs, offset_times, time_range,
};
use crate::compare::CompareError;
use crate::groups::GroupsPlanError;
use crate::human;
use crate::restore::{PlanError, RecordSelection};
use crate::select::{
    NamePattern, OffsetRanges, OffsetRangesError, PartitionSet, SavedTopics, TopicPartitions,
    TopicRef, TopicSelection, select_groups,
};

/// The timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;

/// A subcommand with its arguments.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Watch a complete run on a built-in broker: produce, back up, verify, restore, compare
    Demo(demo::Args),
    /// Create a repository, to back up to
    Init(init::Args),
    /// Add a snapshot of the topics as they are now; each run stores only what is new
    Backup(backup::Args),
    /// Add a snapshot of the logs of a broker that does not run: from its disk, without any cluster
    Import(import::Args),
    /// Restore the topics of a snapshot to a cluster
    Restore(restore::Args),
    /// List the restores that were made from the repository, and discard unfinished ones
    Restores(restores::Args),
    /// Compare two snapshots, or a snapshot with a cluster, record by record
    Diff(Box<diff::Args>),
    /// Verify that every byte and every offset of a snapshot is present and intact, or every byte of segment files
    Verify(verify::Args),
    /// Recover what damaged segments still prove into new ones, and report what is lost
    Recover(recover::Args),
    /// Say how old the last backup is, and how far it lags behind the cluster
    Status(status::Args),
    /// List the snapshots of the repository
    Snapshots(snapshots::Args),
    /// Forget snapshots, by a policy or by number
    Forget(forget::Args),
    /// Expire old records: remove the first segments of partitions from the newest snapshot
    Expire(expire::Args),
    /// Merge small segments into large ones, compress them anew, keep only the latest record per key
    Compact(compact::Args),
    /// Compute what was not computed when batches were stored, such as digests and sizes; the batches stay as they are
    Index(index::Args),
    /// Copy snapshots to this repository from another one, with what it does not have yet
    Copy(copy::Args),
    /// Delete what no snapshot needs any more
    Prune(prune::Args),
    /// Say what takes how many bytes: topics, snapshots, and what a prune would delete
    Stats(stats::Args),
    /// List topics, partitions and segments
    Ls(ls::Args),
    /// List, translate, restore and roll back the offsets of consumer groups
    Groups(groups::Args),
    /// List and restore access control lists
    Acls(acls::Args),
    /// Print records of topics or of segment files: as JSON lines, CSV, or by a template
    Cat(cat::Args),
    /// Search records by key, header, value or JSON member, on all cores; count them, or sort them by time
    Grep(grep::Args),
    /// Export records as files: Kafka's own log segments, which a broker can be started on, Apache Parquet or JSON lines
    Export(export::Args),
    /// Mount the repository as files, to read with ls, less, grep, jq and cp
    Mount(mount::Args),
    /// Unmount what `kbk mount` has mounted, even if its process has died
    #[command(alias = "unmount")]
    Umount(umount::Args),
    /// Show what a segment or another object contains, part by part, also where it is damaged
    Inspect(inspect::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
    /// Print the manual, or write a page for each command to a folder
    Man(man::Args),
}

impl Command {
    /// Returns the connection options of the command, for the configuration file to complete.
    pub fn kafka_mut(&mut self) -> Option<&mut KafkaArgs> {
        match self {
            Self::Backup(args) => Some(&mut args.kafka),
            Self::Restore(args) => Some(&mut args.kafka),
            Self::Diff(args) => Some(&mut args.kafka).filter(|_| args.live),
            Self::Status(args) => Some(&mut args.kafka).filter(|_| !args.no_cluster),
            Self::Groups(args) => args.kafka_mut(),
            Self::Acls(args) => args.kafka_mut(),
            Self::Restores(args) => args.kafka_mut(),
            _ => None,
        }
    }

    /// Returns the repository that is one of the command's own arguments, and takes precedence over `--repo`.
    pub fn repository(&self) -> Option<String> {
        match self {
            Self::Demo(args) => Some(args.dir.to_string()),
            Self::Mount(args) => args.repository(),
            _ => None,
        }
    }

    /// Returns where the metrics of the command go, if it has any.
    pub fn metrics(&self) -> Option<&MetricsArgs> {
        match self {
            Self::Backup(args) => Some(&args.metrics),
            Self::Restore(args) => Some(&args.metrics),
            Self::Verify(args) => Some(&args.metrics),
            Self::Recover(args) => Some(&args.metrics),
            Self::Compact(args) => Some(&args.metrics),
            Self::Index(args) => Some(&args.metrics),
            Self::Copy(args) => Some(&args.metrics),
            Self::Export(args) => Some(&args.metrics),
            Self::Import(args) => Some(&args.metrics),
            Self::Mount(args) => args.metrics(),
            _ => None,
        }
    }

    /// Returns the times that were given.
    pub fn times(&self) -> impl Iterator<Item = &TimeArg> {
        let times: Vec<&TimeArg> = match self {
            Self::Restore(args) => args.choice.times().collect(),
            Self::Diff(args) => args.choice.times().collect(),
            Self::Cat(args) => args.records.times().collect(),
            Self::Grep(args) => args.records.times().collect(),
            Self::Export(args) => args.since.iter().chain(&args.until).collect(),
            _ => Vec::new(),
        };
        times.into_iter()
    }

    /// Returns the mode that a repository is created with, where the user has said it.
    pub fn repo_mode(&self) -> Option<RepoMode> {
        match self {
            Self::Init(args) => args.repo_mode,
            Self::Backup(args) => args.repo_mode,
            _ => None,
        }
    }

    /// Returns whether the command uses no repository, although one may be given in the environment: it reads files, or writes text.
    pub fn is_without_repository(&self) -> bool {
        match self {
            Self::Cat(args) => args.records.has_files(),
            Self::Grep(args) => args.records.has_files(),
            Self::Verify(args) => args.is_without_repository(),
            Self::Recover(args) => !args.files.is_empty(),
            Self::Inspect(args) => args.is_file(),
            Self::Completions(_) | Self::Man(_) | Self::Umount(_) => true,
            _ => false,
        }
    }

    /// Returns what a signal makes the command do before it ends; `None` if it can end at once.
    pub fn when_stopped(&self) -> Option<&'static str> {
        match self {
            Self::Backup(_) | Self::Demo(_) => Some("sealing what is open"),
            Self::Restore(_) => Some("finishing what is being written"),
            Self::Compact(_) => Some("finishing the segments that are being merged"),
            Self::Index(_) => Some("finishing the segment that is being computed"),
            Self::Copy(_) => Some("finishing the segments that are being sent"),
            Self::Import(_) => Some("leaving what is not committed"),
            Self::Export(_) => Some("removing what is not complete"),
            Self::Mount(_) => Some("unmounting"),
            _ => None,
        }
    }

    /// Runs the command.
    pub async fn run(&self, context: &Context) -> Result<Outcome, CliError> {
        match self {
            Self::Init(args) => init::run(args, context).await,
            Self::Backup(args) => backup::run(args, context).await,
            Self::Restore(args) => restore::run(args, context).await,
            Self::Restores(args) => restores::run(args, context).await,
            Self::Diff(args) => diff::run(args, context).await,
            Self::Verify(args) => verify::run(args, context).await,
            Self::Recover(args) => recover::run(args, context).await,
            Self::Status(args) => status::run(args, context).await,
            Self::Snapshots(args) => snapshots::run(args, context).await,
            Self::Forget(args) => forget::run(args, context).await,
            Self::Expire(args) => expire::run(args, context).await,
            Self::Compact(args) => compact::run(args, context).await,
            Self::Index(args) => index::run(args, context).await,
            Self::Copy(args) => copy::run(args, context).await,
            Self::Prune(args) => prune::run(args, context).await,
            Self::Stats(args) => stats::run(args, context).await,
            Self::Ls(args) => ls::run(args, context).await,
            Self::Groups(args) => groups::run(args, context).await,
            Self::Acls(args) => acls::run(args, context).await,
            Self::Cat(args) => cat::run(args, context).await,
            Self::Grep(args) => grep::run(args, context).await,
            Self::Export(args) => export::run(args, context).await,
            Self::Import(args) => import::run(args, context).await,
            Self::Mount(args) => mount::run(args, context).await,
            Self::Umount(args) => umount::run(args, context),
            Self::Inspect(args) => inspect::run(args, context).await,
            Self::Demo(args) => demo::run(args, context).await,
            Self::Completions(args) => completions::run(args, context),
            Self::Man(args) => man::run(args, context),
        }
    }
}

/// Refuses a mode for the files of a bucket, which has none.
fn check_mode(mode: Option<RepoMode>, repo: &RepoUrl) -> Result<(), CliError> {
    match (mode, repo.folder()) {
        (Some(_), None) => Err(CliError::usage(
            "--repo-mode is for folders: who may read a bucket is set there",
        )),
        _ => Ok(()),
    }
}

/// Returns the name of this program, for what it writes.
fn writer() -> String {
    concat!("kbk ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Opens the repository, which must exist.
async fn repository(context: &Context) -> Result<Repository, CliError> {
    let store = Store::open_at(&context.location()?)?;
    let repository = Repository::open(store).await?;
    tracing::debug!("opened the repository {}", repository.store().url());
    Ok(repository)
}

/// Returns the selection of records, from the options and the --offsets file, before any cluster is contacted.
fn choice(topics: &TopicPartitionArgs, args: &SelectionArgs) -> Result<RecordSelection, CliError> {
    let partitions = PartitionSet::union(&args.partition);
    refuse_both(&topics.topic, partitions.as_ref())?;
    let [since_offset_of, until_offset_of] =
        offset_times(args.since_offset_of.as_ref(), args.until_offset_of.as_ref())?;
    let offsets = args.offsets.as_deref();
    Ok(RecordSelection {
        times: time_range(args.since.as_ref(), args.until.as_ref())?,
        partitions,
        topics: BTreeMap::new(),
        since_offset_of,
        until_offset_of,
        offsets: offsets.map(offset_ranges).transpose()?,
    })
}

fn offset_ranges(path: &Path) -> Result<OffsetRanges, CliError> {
    OffsetRanges::load(path).map_err(invalid_offsets)
}

fn invalid_offsets(error: OffsetRangesError) -> CliError {
    match error {
        OffsetRangesError::Read { .. } => CliError::from(error),
        OffsetRangesError::Line { .. } | OffsetRangesError::Empty(_) => {
            CliError::usage(error.to_string())
        }
    }
}

/// A report, with the deleted topics that it leaves out.
#[derive(Serialize)]
struct WithLeftOut<'a, T> {
    #[serde(flatten)]
    main: &'a T,
    /// Deleted topics that are left out, as `NAME@ID`.
    left_out: Vec<String>,
}

impl<T: Report> Report for WithLeftOut<'_, T> {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        self.main.human(out)
    }
}

/// The topics of a snapshot that a command works on.
struct ChosenTopics {
    topics: Vec<TopicRef>,
    /// Deleted topics of selected names that are left out.
    left_out: Vec<TopicRef>,
}

/// Returns the selected topics of the snapshot: those of the --offsets file, if there is one, whose lines then have their whole ids.
/// The partitions that are given with topics become part of the selection.
fn chosen(
    args: &TopicPartitionArgs,
    choice: &mut RecordSelection,
    snapshot: &Snapshot,
) -> Result<ChosenTopics, CliError> {
    let Some(offsets) = &choice.offsets else {
        choice.topics = TopicPartitions::restricted(&args.topic, snapshot)?;
        return selected(&args.selection(), snapshot);
    };
    let mut names = Vec::new();
    for named in offsets.topics() {
        topic(snapshot, named)?;
        names.push(named.to_string().parse()?);
    }
    let within = offsets.within(snapshot);
    choice.offsets = Some(within.map_err(invalid_offsets)?);
    selected(&TopicSelection::new(names, Vec::new()), snapshot)
}

/// Returns the topics of the snapshot that are selected. Deleted topics are selected only with --topic.
fn selected(selection: &TopicSelection, snapshot: &Snapshot) -> Result<ChosenTopics, CliError> {
    let SavedTopics { selected, left_out } = selection.select_saved(snapshot)?;
    Ok(ChosenTopics {
        topics: selected.into_iter().map(|(topic, _)| topic).collect(),
        left_out,
    })
}

/// Says which topics are left out; nothing if there are none.
fn warn_left_out(left_out: &[TopicRef]) {
    if left_out.is_empty() {
        return;
    }
    let names: Vec<_> = left_out.iter().map(ToString::to_string).collect();
    tracing::warn!(
        "left out: {} (`kbk ls` says which); these names select them: {}",
        human::counted(left_out.len() as u64, "deleted or replaced topic"),
        names.join(", ")
    );
}

/// Says how to select what is before and after stored records that cannot be read; `None` if the error is about anything else.
fn around_damage(error: &RepoError) -> Option<String> {
    let (partition, offsets) = error.records()?;
    let PartitionId {
        topic,
        topic_id,
        partition: number,
    } = partition;
    let (name, base, end) = (
        TopicRef::new(topic, *topic_id),
        offsets.base_offset,
        offsets.end_offset,
    );
    error.kind().is_about_content().then(|| {
        format!(
            "{offsets} of {partition} cannot be read. To leave them out, select what is before them with --offsets FILE and the line \
             `{name},{number},,{base}`, and what follows them in another run with the line `{name},{number},{end},`; each file has a line for \
             every other partition that is wanted in that run"
        )
    })
}

/// Adds to the failure of a plan how to leave damaged records out.
fn plan_failed(error: PlanError) -> CliError {
    let around = match &error {
        PlanError::Repo(error) => around_damage(error),
        _ => None,
    };
    with_hint(CliError::from(error), around)
}

/// Adds to the failure of a comparison how to leave damaged records out.
fn compare_failed(error: CompareError) -> CliError {
    let around = match &error {
        CompareError::Repo(error) => around_damage(error),
        CompareError::Kafka(_) | CompareError::Cancelled => None,
    };
    with_hint(CliError::from(error), around)
}

fn with_hint(failed: CliError, hint: Option<String>) -> CliError {
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// Returns the groups of the snapshot that the patterns select; none without a pattern.
async fn chosen_groups(
    patterns: &[NamePattern],
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Vec<String>, CliError> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let Some(found) = repository.groups(snapshot).await? else {
        return Err(GroupsPlanError::no_groups(snapshot).into());
    };
    let names: Vec<&str> = found.groups.iter().map(|g| g.group.as_str()).collect();
    let chosen = select_groups(patterns, &names)?;
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

/// Fails with a message that names all obstacles, if there are any.
fn refuse(obstacles: impl IntoIterator<Item = impl Display>) -> Result<(), CliError> {
    let mut obstacles = obstacles.into_iter();
    let Some(first) = obstacles.next() else {
        return Ok(());
    };
    let mut message = format!("nothing was written: {first}");
    for obstacle in obstacles {
        message.push_str(&format!("\n  and {obstacle}"));
    }
    Err(CliError::new(message))
}

/// Reads a snapshot.
async fn snapshot(
    repository: &Repository,
    which: SnapshotArg,
) -> Result<Digested<Snapshot>, CliError> {
    let found = match which {
        SnapshotArg::Number(sequence) => repository.snapshot(sequence).await?,
        SnapshotArg::Latest => newest(repository).await?,
    };
    let (sequence, created_at) = (found.sequence, found.created_at);
    tracing::debug!("read snapshot {sequence} of {created_at}");
    Ok(found)
}

/// Reads the newest snapshot. An older one does not take its place where it is damaged or missing, unless the user names that one: what the newest
/// one adds would be missing from a result that looks whole.
async fn newest(repository: &Repository) -> Result<Digested<Snapshot>, CliError> {
    let found = repository.latest().await?;
    if let Some(missing) = repository.missing_newest().await? {
        let error = CliError::from(repository.newest_missing(missing));
        return Err(match missing.newest {
            Some(newest) => CliError::new(error.message()).hint(format!(
                "restore this object from a copy; `--snapshot {newest}` takes the newest one that is there, and `kbk recover --rebuild` also what \
                 only the missing one named"
            )),
            None => error,
        });
    }
    found.ok_or_else(|| {
        CliError::new(format!("{} has no snapshots yet", repository.store().url()))
            .hint("`kbk backup` creates one")
    })
}

/// Returns the topic of this name: the existing one, or else the last deleted one; with an id, that one.
fn topic<'a>(snapshot: &'a Snapshot, wanted: &TopicRef) -> Result<&'a TopicState, CliError> {
    if let Some(found) = wanted.find(snapshot) {
        return Ok(found);
    }
    let pattern = wanted.to_string().parse()?;
    let message = match TopicSelection::new(vec![pattern], Vec::new()).select_saved(snapshot) {
        Err(error) => error.to_string(),
        Ok(_) => format!("no topic `{wanted}`"),
    };
    let hint = format!("`kbk ls --snapshot {}` lists its topics", snapshot.sequence);
    Err(CliError::new(message).hint(hint))
}

/// Returns topics or partitions to select, with the partitions of --partition where none are given with the topics.
///
/// # Errors
///
/// If the partitions of a topic are given in both ways.
fn topic_partitions(
    topics: &[TopicPartitions],
    partitions: &[PartitionSet],
) -> Result<Vec<TopicPartitions>, CliError> {
    let set = PartitionSet::union(partitions);
    refuse_both(topics, set.as_ref())?;
    let topics = topics.iter().cloned();
    let topics = topics.map(|wanted| TopicPartitions {
        partitions: wanted.partitions.or_else(|| set.clone()),
        ..wanted
    });
    Ok(topics.collect())
}

/// Fails if partitions are given both with a topic and for all topics.
fn refuse_both(topics: &[TopicPartitions], set: Option<&PartitionSet>) -> Result<(), CliError> {
    let mut topics = topics.iter();
    match topics.find(|wanted| set.is_some() && wanted.partitions.is_some()) {
        Some(wanted) => Err(CliError::usage(format!(
            "partitions are given twice: with `{wanted}`, and with --partition"
        ))
        .hint("give them in one of the two ways")),
        None => Ok(()),
    }
}

/// Returns each selected topic of the snapshot with its selected partitions, ordered by topic and number.
fn partitions<'a>(
    wanted: &[TopicPartitions],
    snapshot: &'a Snapshot,
) -> Result<Vec<(&'a TopicState, Vec<&'a PartitionState>)>, CliError> {
    let selected = TopicPartitions::select(wanted, snapshot).map_err(|error| {
        let hint = format!("`kbk ls --snapshot {}` lists its topics", snapshot.sequence);
        CliError::from(error).hint(hint)
    })?;
    warn_left_out(&selected.left_out);
    Ok(selected.topics)
}

/// Returns each partition with its topic.
fn each_partition<'a>(
    topics: Vec<(&'a TopicState, Vec<&'a PartitionState>)>,
) -> Vec<(&'a TopicState, &'a PartitionState)> {
    let topics = topics.into_iter();
    let partitions =
        topics.flat_map(|(topic, states)| states.into_iter().map(move |state| (topic, state)));
    partitions.collect()
}

/// Names one history of a topic as --topic and the mount take it.
fn history_name(topic: &str, id: &str, deleted: bool) -> String {
    match deleted {
        true => format!("{topic}@{id}"),
        false => topic.to_owned(),
    }
}

/// Names what is among the objects of a repository and is none of them. Long lists are cut.
fn write_foreign(files: u64, names: &[String], out: &mut dyn Write) -> io::Result<()> {
    const SHOWN: usize = 5;
    if files == 0 {
        return Ok(());
    }
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| human::printable(name))
        .collect();
    let more = match files.saturating_sub(shown.len() as u64) {
        0 => String::new(),
        more => format!(" and {} more", human::count(more)),
    };
    writeln!(
        out,
        "{} in the folders of the repository that kbk has not written, and does not read or delete: {}{more}",
        human::counted(files, "file"),
        shown.join(", "),
    )
}

/// Formats the first and the last timestamp of some records for a table. A record without a timestamp comes before 1970.
fn times((min, max): (Option<i64>, Option<i64>)) -> [String; 2] {
    [min, max].map(|time| match time {
        // What is not computed has a bound above, and none below.
        None if max.is_some() => "unknown".to_owned(),
        None => "-".to_owned(),
        Some(NO_TIMESTAMP) => "none".to_owned(),
        Some(time) => human::timestamp_ms(time),
    })
}
