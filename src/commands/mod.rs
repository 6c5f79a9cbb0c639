//! One file per subcommand: its arguments, and the little that joins the parts that do its work.

pub mod acls;
pub mod backup;
pub mod cat;
pub mod demo;
pub mod diff;
pub mod groups;
pub mod inspect;
pub mod ls;
pub mod mount;
pub mod restore;
pub mod snapshots;
pub mod umount;
pub mod verify;

pub(crate) use self::mount::words_of_mount;

use std::fmt::Display;
use std::path::Path;

use clap::Subcommand;
use kbk_format::repo::{Digested, PartitionState, Repository, Snapshot, Store, TopicState};

use crate::cli::{
    ChoiceArgs, CliError, Context, KafkaArgs, Outcome, SnapshotArg, TimeArg, TopicArgs,
    offset_times, time_range,
};
use crate::groups::GroupsPlanError;
use crate::human;
use crate::restore::Choice;
use crate::select::{NamePattern, OffsetRanges, OffsetRangesError, TopicSelection, select_groups};

/// A subcommand with its arguments.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// See the whole job done on a built-in broker: produce, back up, verify, restore, compare
    Demo(demo::Args),
    /// Add one snapshot of the topics as they are now; a later run stores only what is new
    Backup(backup::Args),
    /// Bring a snapshot's topics back into a cluster
    Restore(restore::Args),
    /// Compare a snapshot with what a cluster holds, record by record
    Diff(diff::Args),
    /// Prove that every byte and every offset of a snapshot is there
    Verify(verify::Args),
    /// List the snapshots of the repository
    Snapshots(snapshots::Args),
    /// List topics, partitions and segments
    Ls(ls::Args),
    /// Consumer groups: see them, translate their offsets, restore them, roll that back
    Groups(groups::Args),
    /// Access control lists: see those of a snapshot, restore them
    Acls(acls::Args),
    /// Print records as JSON lines
    Cat(cat::Args),
    /// Show the repository as files, to look into with ls, less, grep, jq and cp
    Mount(mount::Args),
    /// Unmount what `kbk mount` has mounted, a dead mount too
    #[command(alias = "unmount")]
    Umount(umount::Args),
    /// Show what a segment file says about itself
    Inspect(inspect::Args),
}

impl Command {
    /// The connection that the command makes, for the configuration file to complete.
    pub fn kafka_mut(&mut self) -> Option<&mut KafkaArgs> {
        match self {
            Self::Backup(args) => Some(&mut args.kafka),
            Self::Restore(args) => Some(&mut args.kafka),
            Self::Diff(args) => Some(&mut args.kafka),
            Self::Groups(args) => args.kafka_mut(),
            Self::Acls(args) => args.kafka_mut(),
            _ => None,
        }
    }

    /// The times that were given.
    pub fn times(&self) -> impl Iterator<Item = &TimeArg> {
        let times: Vec<&TimeArg> = match self {
            Self::Restore(args) => args.choice.times().collect(),
            Self::Diff(args) => args.choice.times().collect(),
            Self::Cat(args) => args.since.iter().chain(&args.until).collect(),
            _ => Vec::new(),
        };
        times.into_iter()
    }

    /// What is to be done when a signal comes, before the process ends; `None` where it can end at once.
    pub fn when_stopped(&self) -> Option<&'static str> {
        match self {
            Self::Backup(_) | Self::Restore(_) | Self::Demo(_) => Some("sealing what is open"),
            Self::Mount(_) => Some("unmounting"),
            _ => None,
        }
    }

    /// Does it.
    pub async fn run(&self, context: &Context) -> Result<Outcome, CliError> {
        match self {
            Self::Backup(args) => backup::run(args, context).await,
            Self::Restore(args) => restore::run(args, context).await,
            Self::Diff(args) => diff::run(args, context).await,
            Self::Verify(args) => verify::run(args, context).await,
            Self::Snapshots(args) => snapshots::run(args, context).await,
            Self::Ls(args) => ls::run(args, context).await,
            Self::Groups(args) => groups::run(args, context).await,
            Self::Acls(args) => acls::run(args, context).await,
            Self::Cat(args) => cat::run(args, context).await,
            Self::Mount(args) => mount::run(args, context).await,
            Self::Umount(args) => umount::run(args, context),
            Self::Inspect(args) => inspect::run(args, context).await,
            Self::Demo(args) => demo::run(args, context).await,
        }
    }
}

/// Opens the repository of this call, which must be there.
async fn repository(context: &Context) -> Result<Repository, CliError> {
    let store = Store::open(&context.repo()?.to_string())?;
    Ok(Repository::open(store).await?)
}

/// What of the topics' records the user chose: what the words and the file that they name say, before anything is asked.
fn choice(args: &ChoiceArgs) -> Result<Choice, CliError> {
    let [since_offset_of, until_offset_of] =
        offset_times(args.since_offset_of.as_ref(), args.until_offset_of.as_ref())?;
    let offsets = args.offsets.as_deref();
    Ok(Choice {
        times: time_range(args.since.as_ref(), args.until.as_ref())?,
        partitions: args.partition.clone(),
        since_offset_of,
        until_offset_of,
        offsets: offsets.map(offset_ranges).transpose()?,
    })
}

fn offset_ranges(path: &Path) -> Result<OffsetRanges, CliError> {
    OffsetRanges::load(path).map_err(|error| match error {
        OffsetRangesError::Read { .. } => CliError::from(error),
        OffsetRangesError::Line { .. } | OffsetRangesError::Empty(_) => {
            CliError::usage(error.to_string())
        }
    })
}

/// Topics of the snapshot that the user's choice covers: those that a file of offsets names, if there is one.
fn chosen(args: &TopicArgs, choice: &Choice, snapshot: &Snapshot) -> Result<Vec<String>, CliError> {
    let Some(offsets) = &choice.offsets else {
        return selected(args, snapshot);
    };
    let known = |name: &str| topic(snapshot, name).map(|topic| topic.name.to_string());
    offsets.topics().map(known).collect()
}

/// Topics of the snapshot that --topic and --exclude cover. One that the cluster has deleted is taken when it is named.
fn selected(args: &TopicArgs, snapshot: &Snapshot) -> Result<Vec<String>, CliError> {
    let named = !args.topic.is_empty();
    let topics = snapshot
        .topics
        .iter()
        .filter(|topic| named || !topic.deleted);
    Ok(args
        .selection()
        .select(topics.map(|topic| (&*topic.name, topic.internal)))?)
}

/// Groups of the snapshot that these patterns choose: none where none is asked for.
fn chosen_groups(patterns: &[NamePattern], snapshot: &Snapshot) -> Result<Vec<String>, CliError> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let Some(found) = &snapshot.groups else {
        return Err(GroupsPlanError::NoGroups(snapshot.sequence).into());
    };
    let names: Vec<&str> = found.groups.iter().map(|g| g.group.as_str()).collect();
    let chosen = select_groups(patterns, &names)?;
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

/// Fails with everything that is in the way, if there is anything.
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

/// The snapshot that is meant.
async fn snapshot(
    repository: &Repository,
    which: SnapshotArg,
) -> Result<Digested<Snapshot>, CliError> {
    if let SnapshotArg::Number(sequence) = which {
        return Ok(repository.snapshot(sequence).await?);
    }
    repository.latest().await?.ok_or_else(|| {
        CliError::new(format!(
            "{} holds no snapshot yet",
            repository.store().url()
        ))
        .hint("`kbk backup` makes one")
    })
}

/// The topic of this name: the one that the cluster has, or else the one that it had last.
fn topic<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a TopicState, CliError> {
    let named = || snapshot.topics.iter().filter(|topic| &*topic.name == name);
    let found = named().find(|topic| !topic.deleted).or(named().next_back());
    let Some(topic) = found else {
        let names = snapshot.topics.iter().map(|topic| (&*topic.name, false));
        let nearest = TopicSelection::new(vec![name.parse()?], Vec::new()).select(names);
        let message = match nearest {
            Err(error) => error.to_string(),
            Ok(_) => format!("no topic `{name}`"),
        };
        let hint = format!("`kbk ls --snapshot {}` lists its topics", snapshot.sequence);
        return Err(CliError::new(message).hint(hint));
    };
    Ok(topic)
}

/// The state of one of the topic's partitions.
fn partition(topic: &TopicState, number: i32) -> Result<&PartitionState, CliError> {
    let state = usize::try_from(number)
        .ok()
        .and_then(|index| topic.partitions.get(index));
    state.ok_or_else(|| {
        let (name, count) = (&topic.name, topic.partitions.len() as u64);
        let has = human::counted(count, "partition");
        CliError::new(format!(
            "{name} has no partition {number}: it has {has}, counted from 0"
        ))
    })
}

/// The first and the last timestamp of some records, for a table.
fn times((min, max): (Option<i64>, Option<i64>)) -> [String; 2] {
    [min, max].map(|time| time.map_or_else(|| "-".to_owned(), human::timestamp_ms))
}
