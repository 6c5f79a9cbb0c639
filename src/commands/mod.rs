//! One file per subcommand: its arguments, and the little that joins the parts that do its work.

pub mod backup;
pub mod cat;
pub mod demo;
pub mod inspect;
pub mod ls;
pub mod restore;
pub mod snapshots;
pub mod verify;

use clap::Subcommand;
use kbk_format::repo::{Repository, Snapshot, Store, Stored};

use crate::cli::{CliError, Context, KafkaArgs, Outcome, SnapshotArg, TimeArg};

/// A subcommand with its arguments.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// See the whole job done on a built-in broker: produce, back up, verify, restore, compare
    Demo(demo::Args),
    /// Add one snapshot of the topics as they are now; a later run stores only what is new
    Backup(backup::Args),
    /// Bring a snapshot's topics back into a cluster
    Restore(restore::Args),
    /// Prove that every byte and every offset of a snapshot is there
    Verify(verify::Args),
    /// List the snapshots of the repository
    Snapshots(snapshots::Args),
    /// List topics, partitions and segments
    Ls(ls::Args),
    /// Print records as JSON lines
    Cat(cat::Args),
    /// Show what a segment file says about itself
    Inspect(inspect::Args),
}

impl Command {
    /// The connection that the command makes, for the configuration file to complete.
    pub fn kafka_mut(&mut self) -> Option<&mut KafkaArgs> {
        match self {
            Self::Backup(args) => Some(&mut args.kafka),
            Self::Restore(args) => Some(&mut args.kafka),
            _ => None,
        }
    }

    /// The times that were given.
    pub fn times(&self) -> impl Iterator<Item = &TimeArg> {
        let (since, until) = match self {
            Self::Restore(args) => (&args.since, &args.until),
            Self::Cat(args) => (&args.since, &args.until),
            _ => (&None, &None),
        };
        since.iter().chain(until)
    }

    /// Whether there is something to seal and commit when a signal comes.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Backup(_) | Self::Restore(_) | Self::Demo(_))
    }

    /// Does it.
    pub async fn run(&self, context: &Context) -> Result<Outcome, CliError> {
        match self {
            Self::Backup(args) => backup::run(args, context).await,
            Self::Restore(args) => restore::run(args, context).await,
            _ => Err(CliError::new("this command is not wired into this build yet")),
        }
    }
}

/// Opens the repository of this call, which must be there.
async fn repository(context: &Context) -> Result<Repository, CliError> {
    let store = Store::open(&context.repo()?.to_string())?;
    Ok(Repository::open(store).await?)
}

/// The snapshot that is meant.
async fn snapshot(repository: &Repository, which: SnapshotArg) -> Result<Stored<Snapshot>, CliError> {
    if let SnapshotArg::Number(sequence) = which {
        return Ok(repository.snapshot(sequence).await?);
    }
    repository.latest().await?.ok_or_else(|| {
        CliError::new(format!("{} holds no snapshot yet", repository.store().url())).hint("`kbk backup` makes one")
    })
}
