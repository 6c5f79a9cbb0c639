//! `kbk copy`: copies snapshots from one repository to another.

use std::io::{self, Write};
use std::sync::Arc;

use kbk_format::repo::{Digested, Repository, Snapshot, Store};
use kbk_tools::claims::ClaimEvent;
use kbk_tools::copy::{
    self, CopiedSnapshot, CopyEvents, CopyOptions, CopyReport, CopySelection, SelectTopics,
};
use serde::Serialize;

use crate::cli::{
    CliError, Context, FromArgs, MetricsArgs, Outcome, Report, SnapshotArg, SnapshotRange,
    TopicArgs,
};
use crate::human;
use crate::run::{Cancel, Committed, Done, Events, Totals};
use crate::select::TopicSelection;

const EXAMPLES: &str = "\
Examples:
  kbk copy --from /backup/kafka -r s3://bucket/kafka
  kbk copy --from /backup/kafka -r s3://bucket/kafka --topic 'orders*' --dry-run

`kbk init` creates the repository to copy to.
Copies all snapshots that are newer than the last one that was copied, the oldest first, with the
segments that the copy does not have yet. A snapshot has the same number in both repositories where
that is possible. What was interrupted continues when the same command runs again.
The copy is a repository of its own: `kbk forget`, `kbk expire` and `kbk prune` of either change
nothing in the other, and `kbk restore`, `kbk mount` and `kbk verify` work on it as on any other.
Once the original is lost, `kbk backup` continues the copy; after that it cannot be copied to.
What is damaged in the original ends the copy of its partition there, and the exit code is 3.";

/// The arguments of `kbk copy`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The repository to copy from.
    #[command(flatten)]
    pub from: FromArgs,

    /// The snapshots to copy: the number of one, the first and the last of several as in 3-7, or `latest` for the newest alone. Older
    /// ones cannot be added later [default: all that are newer than the last one that was copied]
    #[arg(long, value_name = "SNAPSHOT", value_parser = parse_selection)]
    pub snapshot: Option<CopySelection>,

    /// The topics to copy.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Do not read again what was written: it is trusted that the store has what was sent
    #[arg(long)]
    pub no_read_back: bool,

    /// Only say what would be copied
    #[arg(long)]
    pub dry_run: bool,

    /// Where metrics go.
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

fn parse_selection(text: &str) -> Result<CopySelection, String> {
    if let Ok(SnapshotArg::Latest) = text.parse() {
        return Ok(CopySelection::Latest);
    }
    let range = text.parse::<SnapshotRange>();
    let range = range.map_err(|error| error.to_string())?.0;
    Ok(CopySelection::Range(*range.start(), *range.end()))
}

/// What was copied, and from where.
#[derive(Debug, Serialize)]
struct Copying {
    /// The repository that was copied from.
    from: String,
    #[serde(skip)]
    to: String,
    /// Whether nothing was changed.
    dry_run: bool,
    #[serde(flatten)]
    report: CopyReport,
}

/// Copies, and prints what was copied.
pub async fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let from = Repository::open(Store::open_at(&args.from.location()?)?).await?;
    let to = super::repository(context).await?;
    let selection = args.topics.selection().internal_too();
    check_topics(&selection, &from, args).await?;
    let options = CopyOptions {
        snapshots: args.snapshot.unwrap_or(CopySelection::New),
        topics: topics(selection),
        read_back: !args.no_read_back,
        dry_run: args.dry_run,
        writer: super::writer(),
    };
    let progress = Arc::new(Progress::start(context));
    let events: Arc<dyn CopyEvents> = Arc::clone(&progress) as _;
    let stop = context.cancel.cancelled();
    let report = copy::copy(&from, &to, &options, stop, events, Arc::new(log)).await;
    // The progress leaves the screen before the result is written.
    drop(progress);
    let copying = Copying {
        from: from.store().url().to_owned(),
        to: to.store().url().to_owned(),
        dry_run: args.dry_run,
        report: report?,
    };
    let outcome = match copying.report.interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(copying.report.is_whole()),
    };
    context.conclude(&copying, outcome)
}

fn topics(selection: TopicSelection) -> SelectTopics {
    // A topic that the newest snapshot has may not be in an older one yet.
    Arc::new(move |snapshot| {
        let chosen = selection.select_every(snapshot.topics.iter());
        chosen.unwrap_or_default()
    })
}

/// Fails if no topic of the newest snapshot is selected, though some were asked for.
async fn check_topics(
    selection: &TopicSelection,
    from: &Repository,
    args: &Args,
) -> Result<(), CliError> {
    if args.topics.topic.is_empty() && args.topics.exclude.is_empty() {
        return Ok(());
    }
    let newest: Option<Digested<Snapshot>> = match from.latest().await {
        Ok(newest) => newest,
        // The copy reports it.
        Err(error) if error.kind().is_about_content() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if let Some(newest) = newest {
        selection.select_every(newest.topics.iter())?;
    }
    Ok(())
}

fn log(event: &ClaimEvent) {
    if event.is_warning() {
        tracing::warn!("{event}");
    } else {
        tracing::info!("{event}");
    }
}

/// Passes on what is copied.
struct Progress {
    events: Arc<dyn Events>,
    cancel: Cancel,
}

impl Progress {
    fn start(context: &Context) -> Progress {
        let events = context.events("copying");
        events.run_started(Totals::default());
        Progress {
            events,
            cancel: context.cancel.clone(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.events.run_finished();
    }
}

impl CopyEvents for Progress {
    fn planned(&self, origin: u64, segments: u64, bytes: u64) {
        if segments == 0 {
            return;
        }
        tracing::info!(
            "snapshot {origin}: {}, {}",
            human::counted(segments, "new segment"),
            human::bytes(bytes)
        );
    }

    fn received(&self, bytes: u64) {
        self.events.received(None, Done { records: 0, bytes });
    }

    fn stored(&self, records: u64, bytes: u64) {
        self.events.advanced(None, Done { records, bytes });
        self.events.segment_sealed(bytes);
    }

    fn committed(&self, copied: &CopiedSnapshot) {
        self.events.committed(Committed {
            snapshot: copied.snapshot,
            at_ms: copied.created_at.as_millisecond(),
            complete: copied.complete,
        });
    }

    fn is_stopped(&self) -> bool {
        self.cancel.is_set()
    }
}

impl Copying {
    fn summary(&self) -> String {
        let report = &self.report;
        let (from, to) = (&self.from, &self.to);
        if report.snapshots.is_empty() {
            return match report.findings.is_empty() && !report.interrupted {
                true => format!("nothing to copy: {to} has what is selected of {from}"),
                false => format!("nothing was copied to {to}"),
            };
        }
        let sequences = sequences(&report.snapshots);
        let sent = format!(
            "{}, {}",
            human::counted(report.segments, "segment"),
            human::bytes(report.bytes)
        );
        match self.dry_run {
            true => format!("would copy {sequences} of {from} to {to}: {sent}"),
            false => format!("copied {sequences} of {from} to {to}: {sent}"),
        }
    }

    /// Says what is missing, where something is.
    fn missing(&self) -> Option<String> {
        let report = &self.report;
        let found = human::counted(report.findings.len() as u64, "finding");
        match (report.interrupted, report.findings.is_empty()) {
            (_, false) => Some(format!(
                "partial: part of what is selected is not in the copy: {found}"
            )),
            (true, true) => Some(
                "interrupted: what is durable is used by the next run of the same command"
                    .to_owned(),
            ),
            (false, true) => None,
        }
    }
}

fn sequences(copied: &[CopiedSnapshot]) -> String {
    match copied {
        [] => "nothing".to_owned(),
        [one] => format!("snapshot {}", one.origin),
        [first, .., last] => format!(
            "{} snapshots from {} to {}",
            copied.len(),
            first.origin,
            last.origin
        ),
    }
}

impl Report for Copying {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        if let Some(missing) = self.missing() {
            writeln!(out, "{missing}")?;
        }
        for finding in &report.findings {
            writeln!(out, "snapshot {}: {}", finding.origin, finding.message)?;
        }
        writeln!(out, "{}", self.summary())?;
        let renumbered = report.snapshots.iter();
        for copied in renumbered.filter(|copied| copied.origin != copied.snapshot) {
            let CopiedSnapshot {
                origin, snapshot, ..
            } = copied;
            writeln!(out, "snapshot {origin} is snapshot {snapshot} of the copy")?;
        }
        if report.adopted_segments > 0 {
            let adopted = human::counted(report.adopted_segments, "segment");
            writeln!(
                out,
                "{adopted} of an interrupted copy were there, and are intact"
            )?;
        }
        if !report.older_snapshots.is_empty() {
            let older: Vec<String> = report.older_snapshots.iter().map(u64::to_string).collect();
            writeln!(
                out,
                "left out, since newer ones were copied before, and copies go forward: {}",
                older.join(", ")
            )?;
        }
        if self.dry_run {
            return Ok(());
        }
        if report.segments > 0 {
            let how = match report.read_back {
                true => {
                    "every byte was compared with its SHA-256 as it was read, and again as the copy returns it"
                }
                false => {
                    "every byte was compared with its SHA-256 as it was read; --no-read-back: not as the copy returns it"
                }
            };
            writeln!(out, "{how}")?;
        }
        if report.compared_partitions > 0 {
            writeln!(
                out,
                "compared with {}: {} with {}",
                self.from,
                human::counted(report.compared_partitions, "partition"),
                human::counted(report.records, "record"),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_copy_that_was_looked_through_has_everything() {
        let summary = |report| {
            let copying = Copying {
                from: "a".to_owned(),
                to: "b".to_owned(),
                dry_run: false,
                report,
            };
            let mut text = Vec::new();
            copying.human(&mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let done = summary(CopyReport::default());
        assert_eq!(done, "nothing to copy: b has what is selected of a\n");
        let interrupted = summary(CopyReport {
            interrupted: true,
            ..CopyReport::default()
        });
        let lines: Vec<&str> = interrupted.lines().collect();
        assert!(lines[0].starts_with("interrupted: "), "{interrupted}");
        assert_eq!(lines[1..], ["nothing was copied to b"]);
    }
}
