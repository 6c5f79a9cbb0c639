//! `kbk demo`: the whole job on a built-in broker.

use crate::cli::{CliError, Context, Outcome, RepoUrl};
use crate::demo::{self, Step};

const EXAMPLES: &str = "\
Examples:
  kbk demo
  kbk demo /tmp/kbk-demo

It needs no cluster: a small Kafka broker runs inside the process for as long as the demo does. The
folder must be new or empty, or hold what an earlier demo left, which is then replaced.";

/// The arguments of `kbk demo`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder in which the repository is made and left for you to look at
    #[arg(default_value = "kbk-demo")]
    pub dir: RepoUrl,
}

/// Plays it, and tells each step when it is done; as JSON, all of them at the end.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let output = &context.output;
    let tell = |step: &Step| {
        if output.is_json() {
            Ok(())
        } else {
            output.report(step)
        }
    };
    let report = demo::run(&args.dir, context, &tell).await?;
    output.report(&report)?;
    Ok(if report.interrupted {
        tracing::warn!("stopped early: `kbk demo` in the same folder starts afresh");
        Outcome::Interrupted
    } else if report.wrong.is_empty() {
        Outcome::Clean
    } else {
        Outcome::Findings
    })
}
