//! `kbk groups`: lists, translates, restores and rolls back consumer groups. One file per subcommand.

pub mod changes;
pub mod list;
pub mod map;
pub mod restore;
pub mod rollback;

use clap::Subcommand;

use crate::cli::{CliError, Context, KafkaArgs, Outcome};

/// The arguments of `kbk groups`.
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
    /// Translate the offsets of groups or of a partition by the offset map of a restore
    Map(map::Args),
    /// Commit the groups' offsets in the cluster that was restored into
    Restore(restore::Args),
    /// List what restores of groups and their rollbacks changed
    Changes(changes::Args),
    /// Commit again what groups had committed before their restore
    Rollback(rollback::Args),
}

impl Args {
    /// The connection that the subcommand makes, for the configuration file to complete.
    pub fn kafka_mut(&mut self) -> Option<&mut KafkaArgs> {
        match &mut self.command {
            Command::List(_) | Command::Map(_) | Command::Changes(_) => None,
            Command::Restore(args) => Some(&mut args.kafka),
            Command::Rollback(args) => Some(&mut args.kafka),
        }
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::List(args) => list::run(args, context).await,
        Command::Map(args) => map::run(args, context).await,
        Command::Restore(args) => restore::run(args, context).await,
        Command::Changes(args) => changes::run(args, context).await,
        Command::Rollback(args) => rollback::run(args, context).await,
    }
}
