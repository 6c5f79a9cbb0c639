//! `kbk completions`: prints the completions of a shell, from the definitions of the options.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

use super::Cli;
use crate::cli::{CliError, Context, Outcome, Report};

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

/// The completions.
#[derive(Serialize)]
struct Completions {
    /// A script of the shell.
    script: String,
}

/// Prints them.
pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kbk", &mut script);
    let script = String::from_utf8(script)?;
    context.conclude(&Completions { script }, Outcome::Clean)
}

impl Report for Completions {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.script.as_bytes())
    }
}
