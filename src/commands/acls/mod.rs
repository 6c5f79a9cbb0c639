//! `kbk acls`: lists and restores the ACLs of a snapshot. One file per subcommand.

pub mod list;
pub mod restore;

use clap::Subcommand;

use crate::cli::{CliError, Context, KafkaArgs, Outcome};

/// The arguments of `kbk acls`.
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
    /// Create the ACLs of a snapshot that a cluster lacks
    Restore(Box<restore::Args>),
}

impl Args {
    /// Returns the connection options of the subcommand, for the configuration file to complete.
    pub fn kafka_mut(&mut self) -> Option<&mut KafkaArgs> {
        match &mut self.command {
            Command::List(_) => None,
            Command::Restore(args) => Some(&mut args.kafka),
        }
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::List(args) => list::run(args, context).await,
        Command::Restore(args) => restore::run(args, context).await,
    }
}
