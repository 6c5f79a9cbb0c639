//! `kbk init`: creates a repository.

use std::io::{self, Write};

use kbk_format::repo::{Identity, Repository, Store};
use serde::Serialize;

use crate::cli::{CliError, Context, Outcome, Report};

const EXAMPLES: &str = "\
Examples:
  kbk init -r /backup/kafka
  kbk backup --init -r /backup/kafka -b broker:9092   (creates it and backs up)

The folder must be empty; it is created if it does not exist. No other command creates a
repository, so a mistyped location, or a folder that is not mounted, is an error.";

/// The arguments of `kbk init`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

/// The repository that was created.
#[derive(Debug, Serialize)]
struct Created {
    repository: String,
    repository_id: String,
    created_at: String,
}

/// Creates the repository, and prints its id.
pub async fn run(_args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let store = Store::open_or_create(&context.repo()?.to_string())?;
    let repository = Repository::create(store, Identity::fresh()).await?;
    let identity = repository.identity();
    context.output.report(&Created {
        repository: repository.store().url().to_owned(),
        repository_id: identity.repository_id.to_string(),
        created_at: identity.created_at.to_string(),
    })?;
    Ok(Outcome::Clean)
}

impl Report for Created {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (repository, id) = (&self.repository, &self.repository_id);
        writeln!(out, "created repository {id} in {repository}")
    }
}
