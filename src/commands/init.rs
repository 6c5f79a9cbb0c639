//! `kbk init`: creates a repository.

use std::io::{self, Write};

use kbk_format::repo::{Identity, Repository, Store};
use serde::Serialize;

use super::check_mode;
use crate::cli::{CliError, Context, Outcome, RepoMode, Report};

const EXAMPLES: &str = "\
Examples:
  kbk init -r /backup/kafka
  kbk init -r /backup/kafka --repo-mode 0640
  kbk init -r s3://bucket/kafka --store-option region=eu-central-1
  kbk backup --init -r /backup/kafka -b broker:9092

The last one creates the repository and backs up. The folder must be empty; it is created if it
does not exist. A bucket must exist, and is tried with 20 writers at a time: one that lets two
of them create the same object is refused. No other command creates a repository, so a mistyped
location, or a folder that is not mounted, is an error.";

/// The arguments of `kbk init`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Mode of the repository's files, in octal, such as 0640 for a group that may read; who may read a file may enter its folder. It
    /// is kept: later runs of any user follow the mode of kbk.json, whatever their umask [default: 0600]
    #[arg(long, value_name = "MODE")]
    pub repo_mode: Option<RepoMode>,

    /// Accept a bucket that lets two writers create the same object: never more than one kbk may then write to the repository
    #[arg(long)]
    pub single_writer: bool,
}

/// The repository that was created.
#[derive(Debug, Serialize)]
struct Created {
    #[serde(skip)]
    repository: String,
    /// Identifies the repository, wherever it is moved to.
    repository_id: String,
    /// When it was created.
    created_at: String,
}

/// Creates the repository, and prints its id.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let repo = context.repo()?;
    check_mode(args.repo_mode, repo)?;
    let store = Store::open_or_create_at(&context.location()?)?;
    if let Some(left) = Repository::check_new(&store, args.single_writer).await? {
        tracing::warn!("objects of the check are left, and harmless: {left}");
    }
    let repository = Repository::create(store, Identity::fresh()).await?;
    let identity = repository.identity();
    let created = Created {
        repository: repository.store().url().to_owned(),
        repository_id: identity.repository_id.to_string(),
        created_at: identity.created_at.to_string(),
    };
    if let (Some(mode), Some(folder)) = (args.repo_mode, repo.folder()) {
        mode.warn_if_other(folder);
    }
    context.conclude(&created, Outcome::Clean)
}

impl Report for Created {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (repository, id) = (&self.repository, &self.repository_id);
        writeln!(out, "created repository {id} in {repository}")
    }
}
