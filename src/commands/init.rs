//! `kbk init`: creates a repository.

use std::io::{self, Write};

use kbk_format::repo::{Identity, Repository, Store};
use serde::Serialize;

use crate::cli::{CliError, Context, Outcome, RepoMode, Report};

const EXAMPLES: &str = "\
Examples:
  kbk init -r /backup/kafka
  kbk init -r /backup/kafka --repo-mode 0640
  kbk backup --init -r /backup/kafka -b broker:9092

The last one creates the repository and backs up. The folder must be empty; it is created if it
does not exist. No other command creates a repository, so a mistyped location, or a folder that
is not mounted, is an error.";

/// The arguments of `kbk init`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Mode of the repository's files, in octal, such as 0640 for a group that may read; who may read a file may enter its folder. It
    /// is kept: later runs of any user follow the mode of kbk.json, whatever their umask [default: 0600]
    #[arg(long, value_name = "MODE")]
    pub repo_mode: Option<RepoMode>,
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
    let store = Store::open_or_create(&repo.to_string())?;
    let repository = Repository::create(store, Identity::fresh()).await?;
    let identity = repository.identity();
    let created = Created {
        repository: repository.store().url().to_owned(),
        repository_id: identity.repository_id.to_string(),
        created_at: identity.created_at.to_string(),
    };
    if let Some(mode) = args.repo_mode {
        mode.warn_if_other(repo.path());
    }
    context.conclude(&created, Outcome::Clean)
}

impl Report for Created {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (repository, id) = (&self.repository, &self.repository_id);
        writeln!(out, "created repository {id} in {repository}")
    }
}
