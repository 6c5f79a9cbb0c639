//! What commands share that replace segments by others of the same records: `compact` and `index`.

use std::io::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{Repository, Snapshot};
use kbk_tools::compact::CompactFinding;
use kbk_tools::maintenance::{MaintenanceError, MaintenanceEvents};

use super::run_progress::RunProgress;
use crate::cli::{CliError, Context, Outcome};
use crate::human;
use crate::run::{Committed, Totals};

/// Findings that are shown to people; JSON has all.
const MOST_FINDINGS: usize = 20;

/// Passes on what is replaced. It leaves the screen when it is dropped, which must be before the result is written.
pub(super) struct Progress {
    run: RunProgress,
    /// Whether the snapshot that is worked on is complete.
    complete: bool,
}

impl Progress {
    /// Starts the progress of a run called `title`. How much of what is selected is replaced is found out partition by partition.
    pub(super) fn start(
        context: &Context,
        title: &'static str,
        newest: &Snapshot,
    ) -> Arc<dyn MaintenanceEvents> {
        Arc::new(Progress {
            run: RunProgress::start(context, title, Totals::default()),
            complete: newest.is_complete(),
        })
    }
}

impl MaintenanceEvents for Progress {
    fn received(&self, bytes: u64) {
        self.run.received(bytes);
    }

    fn replaced(&self, records: u64, bytes: u64) {
        self.run.advanced(records, bytes);
    }

    fn sealed(&self, bytes: u64) {
        self.run.sealed(bytes);
    }

    fn committed(&self, snapshot: u64) {
        self.run.committed(Committed {
            snapshot,
            at_ms: Timestamp::now().as_millisecond(),
            complete: self.complete,
        });
    }

    fn is_stopped(&self) -> bool {
        self.run.is_stopped()
    }
}

/// Returns the error of a run.
pub(super) fn failed(error: MaintenanceError) -> CliError {
    match error {
        MaintenanceError::Repo(error) => error.into(),
        error => CliError::new(error.to_string()),
    }
}

/// Returns how a run ended.
pub(super) fn outcome(interrupted: bool, is_whole: bool) -> Outcome {
    match interrupted {
        true => Outcome::Interrupted,
        false => Outcome::clean_if(is_whole),
    }
}

/// Counts the snapshots before those of a run: they may name the segments that were replaced.
pub(super) async fn older_snapshots(
    repository: &Repository,
    snapshots: &[u64],
) -> Result<u64, CliError> {
    let first = snapshots.first();
    let sequences = repository.sequences().await?.into_iter();
    let older = sequences.filter(|sequence| first.is_none_or(|new| sequence < new));
    Ok(older.count() as u64)
}

/// Says that snapshots before those of a run keep what it replaced.
pub(super) fn write_older(
    out: &mut dyn Write,
    snapshots: &[u64],
    older_snapshots: u64,
) -> io::Result<()> {
    if snapshots.is_empty() || older_snapshots == 0 {
        return Ok(());
    }
    let older = human::counted(older_snapshots, "older snapshot");
    writeln!(
        out,
        "{older} may still name the old segments: `kbk forget`, then `kbk prune`, frees their bytes"
    )
}

/// Returns what comes before the summary of a run that did not do all of it.
pub(super) fn lead(interrupted: bool, findings: &[CompactFinding]) -> &'static str {
    match (interrupted, findings.is_empty()) {
        (true, _) => "interrupted: ",
        (false, false) => "damaged segments stay as they are: ",
        (false, true) => "",
    }
}

/// Names the snapshots in which a run is recorded.
pub(super) fn recorded_in(snapshots: &[u64]) -> String {
    let named: Vec<String> = snapshots.iter().map(u64::to_string).collect();
    let snapshot = match named.len() {
        1 => "snapshot",
        _ => "snapshots",
    };
    format!("recorded in {snapshot} {}", named.join(", "))
}

/// Writes what stays as it is.
pub(super) fn write_findings(out: &mut dyn Write, findings: &[CompactFinding]) -> io::Result<()> {
    for finding in findings.iter().take(MOST_FINDINGS) {
        let (topic, partition) = (&finding.topic, finding.partition);
        match finding.offsets {
            Some(offsets) => writeln!(
                out,
                "{topic}/{partition}: {offsets} stay as they are: {}",
                finding.message
            )?,
            None => writeln!(out, "{topic}/{partition}: {}", finding.message)?,
        }
    }
    if findings.len() > MOST_FINDINGS {
        let more = (findings.len() - MOST_FINDINGS) as u64;
        let more = human::counted(more, "finding");
        writeln!(out, "and {more} more: --json lists them")?;
    }
    if !findings.is_empty() {
        writeln!(out, "`kbk verify` says what is damaged")?;
    }
    Ok(())
}

/// Says of a dry run with something to do what it did not look at.
pub(super) fn write_unchecked(out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "whether they are intact was not checked: damaged segments stay as they are; `kbk verify` finds them before"
    )
}
