//! The whole command line: the options of every command, and the command.

use clap::Parser;

use super::Command;
use crate::cli::GlobalArgs;

/// Back up and restore Apache Kafka
#[derive(Parser, Clone, Debug)]
#[command(
    name = "kbk",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
Exit codes: 0 done; 1 failed; 2 invalid arguments; 3 finished, but something is damaged,
lost or different; 130 or 143 interrupted, with everything durable committed.

Try it without a cluster:
  kbk demo

Settings that stay the same belong in /etc/kbk/kbk.toml or ~/.config/kbk/kbk.toml. An option
of the command line takes precedence over a variable of the environment (KBK_REPO,
KBK_BOOTSTRAP_SERVER, KBK_COMMAND_CONFIG), which takes precedence over the user's file, which
takes precedence over the system's. With --config or KBK_CONFIG, only that file is read.")]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}
