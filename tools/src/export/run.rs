//! All partitions, on all cores.

use std::fs;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;

use super::count;
use super::error::ExportError;
use super::output;
use super::partition::{self, Exported};
use super::plan::{ExportPlan, PlannedExport};
use super::report::ExportReport;
use super::{ExportEvents, ExportOptions};
use crate::task::joined;

/// Writes the partitions of a plan. Their files are written on threads of their own, with the store's requests on this runtime.
///
/// # Errors
///
/// Why nothing more can be written. Partitions that were complete stay.
pub async fn export(
    plan: ExportPlan,
    options: &ExportOptions,
    events: Arc<dyn ExportEvents>,
) -> Result<ExportReport, ExportError> {
    plan.check(options)?;
    let out = &options.out;
    fs::create_dir_all(out).map_err(ExportError::io("create", out))?;
    // Held to the end: another export would remove what this one has not given its name yet, or publish its own half under it.
    let _lock = output::lock(out)?;
    let options = Arc::new(options.clone());
    let begin = |planned: PlannedExport| {
        let (options, events) = (Arc::clone(&options), Arc::clone(&events));
        on_thread(planned, options, events)
    };
    let mut exports = stream::iter(plan.partitions)
        .map(begin)
        .buffered(options.threads.max(1));
    let mut report = ExportReport::default();
    while let Some(exported) = exports.next().await {
        match exported? {
            Some((exported, findings)) => report.add(exported, findings),
            None => report.interrupted = true,
        }
    }
    Ok(report)
}

/// Says what [`export`] would write: with exact numbers of records, for which blocks are read that hold other records, too. Nothing is written; the
/// files have 0 bytes. What it cannot read is named and not counted; but damage of what it does not read, which are most bytes, shows only
/// in the export, so that all records are [unread](ExportReport::unread_records).
///
/// # Errors
///
/// As [`export`].
pub async fn dry_run(
    plan: ExportPlan,
    options: &ExportOptions,
) -> Result<ExportReport, ExportError> {
    plan.check(options)?;
    let mut counts = stream::iter(plan.partitions)
        .map(|planned| count::count(planned, options))
        .buffered(options.threads.max(1));
    let mut report = ExportReport::default();
    while let Some(counted) = counts.next().await {
        let (exported, findings) = counted?;
        report.unread_records += exported.records;
        report.add(exported, findings);
    }
    Ok(report)
}

async fn on_thread(
    planned: PlannedExport,
    options: Arc<ExportOptions>,
    events: Arc<dyn ExportEvents>,
) -> Result<Option<Exported>, ExportError> {
    if events.is_stopped() {
        return Ok(None);
    }
    let runtime = Handle::current();
    let name = planned.name.clone();
    let path = options.out.join(&name);
    let task = tokio::task::spawn_blocking(move || {
        runtime.block_on(partition::export(planned, &options, &*events, &runtime))
    });
    joined(task.await)
        .map_err(|cancelled| ExportError::io("write", &path)(std::io::Error::other(cancelled)))?
}
