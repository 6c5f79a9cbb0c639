//! `kbk restores`: lists the restores of a repository, and discards unfinished ones. One file per subcommand.

pub mod discard;
pub mod list;

use clap::Subcommand;

use crate::cli::{CliError, Context, KafkaArgs, Outcome};

/// The arguments of `kbk restores`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to do with them; without it they are listed.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A subcommand of `kbk restores` with its arguments.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// List the restores, finished and unfinished
    List(list::Args),
    /// Discard an unfinished restore: it can no longer be resumed, and its temporary settings go
    Discard(discard::Args),
}

impl Args {
    /// The connection that the subcommand makes, for the configuration file to complete.
    pub fn kafka_mut(&mut self) -> Option<&mut KafkaArgs> {
        match &mut self.command {
            Some(Command::Discard(args)) => Some(&mut args.kafka).filter(|_| !args.no_cluster),
            Some(Command::List(_)) | None => None,
        }
    }

    /// Returns whether the subcommand leaves out the cluster that it could ask.
    pub(super) fn is_without_cluster(&self) -> bool {
        matches!(&self.command, Some(Command::Discard(args)) if args.no_cluster)
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        None => list::run(&list::Args {}, context).await,
        Some(Command::List(args)) => list::run(args, context).await,
        Some(Command::Discard(args)) => discard::run(args, context).await,
    }
}
