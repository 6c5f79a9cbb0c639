//! `kbk completions`: prints the completions of a shell, from the definitions of the options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use crate::cli::{CliError, Context, Outcome};

const EXAMPLES: &str = "\
Examples:
  kbk completions bash > ~/.local/share/bash-completion/completions/kbk
  kbk completions zsh > ~/.zfunc/_kbk
  kbk completions fish > ~/.config/fish/completions/kbk.fish

For zsh, ~/.zfunc must be in fpath before compinit runs. A new shell has the completions.";

/// The arguments of `kbk completions`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Prints them.
pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kbk", &mut script);
    context.output.text(&script)?;
    Ok(Outcome::Clean)
}
