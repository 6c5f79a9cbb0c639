//! `kbk demo`: a complete backup and restore on a built-in broker.

use crate::cli::{CliError, Context, Outcome, RepoUrl};
use crate::demo::{self, DemoStep};

const EXAMPLES: &str = "\
Examples:
  kbk demo
  kbk demo /tmp/kbk-demo

No cluster is needed: a small Kafka broker runs inside the process during the demo. The
folder must be new or empty, or contain the output of an earlier demo, which is then
replaced.";

/// The arguments of `kbk demo`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder for the repository, which is left for you to inspect
    #[arg(default_value = "kbk-demo")]
    pub dir: RepoUrl,
}

/// Runs the demo, and writes each step when it is done; as JSON, all of them at the end.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let dir = args.dir.folder();
    let dir = dir.ok_or_else(|| CliError::usage("the demo writes to a folder, not to a bucket"))?;
    let output = &context.output;
    let report_step = |step: &DemoStep| {
        if output.is_json() {
            Ok(())
        } else {
            output.step(step)
        }
    };
    let report = demo::run(dir, context, &report_step).await?;
    let outcome = match report.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(report.wrong.is_empty()),
    };
    context.conclude(&report, outcome)?;
    if report.interrupted {
        tracing::warn!("stopped early: run `kbk demo` in the same folder to start again");
    }
    Ok(outcome)
}
