//! `kbk acls`: the ACLs of a snapshot, and their way back into a cluster. One file per subcommand.

pub mod list;

use clap::Subcommand;

use crate::cli::{CliError, Context, Outcome};

/// The words after `kbk acls`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand of `kbk acls` with its arguments.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// List the ACLs of a snapshot
    List(list::Args),
}

/// Does it.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::List(args) => list::run(args, context).await,
    }
}
