//! `kbk groups`: the consumer groups of a snapshot. One file per subcommand.

pub mod list;

use clap::Subcommand;

use crate::cli::{CliError, Context, Outcome};

/// The words after `kbk groups`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to do with them.
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand of `kbk groups` with its arguments.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// List the groups of a snapshot, and how far each had read
    List(list::Args),
}

/// Does it.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::List(args) => list::run(args, context).await,
    }
}
