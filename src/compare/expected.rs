//! Where the cluster has the records that a comparison expects, and which of those that it does not expect were removed from the backup.

use kbk_format::GapReason;
use kbk_format::repo::RepoError;
use kbk_tools::read::GapReasons;
use kbk_tools::restores::MapRuns;
use tokio::runtime::Handle;

/// Translates ascending offsets of the backup to those of the cluster.
pub(crate) enum Offsets {
    /// They are the same.
    Same,
    /// A restore assigned others.
    Mapped(Box<MapRuns>),
}

impl Offsets {
    /// Returns the offset in the cluster of the record at `source`, which must not be below that of the last call; `None` if no record
    /// was restored from there.
    pub(crate) fn translate(
        &mut self,
        source: i64,
        runtime: &Handle,
    ) -> Result<Option<i64>, RepoError> {
        let runs = match self {
            Offsets::Same => return Ok(Some(source)),
            Offsets::Mapped(runs) => runs,
        };
        loop {
            // Entering the runtime costs more than a record does, so it is entered once per page.
            let run = match runs.front() {
                Some(run) => Some(run),
                None => runtime.block_on(runs.peek())?,
            };
            match run {
                Some(run) if run.source_offset < source => runs.advance(),
                Some(run) if run.source_offset == source => return Ok(Some(run.target_offset)),
                _ => return Ok(None),
            }
        }
    }

    /// Returns the offset in the backup of the record at `target`, which must not be below that of the last call; `None` if it was not
    /// restored. The same value answers either this or [`translate`](Self::translate).
    fn source_of(&mut self, target: i64, runtime: &Handle) -> Result<Option<i64>, RepoError> {
        let runs = match self {
            Offsets::Same => return Ok(Some(target)),
            Offsets::Mapped(runs) => runs,
        };
        loop {
            let run = match runs.front() {
                Some(run) => Some(run),
                None => runtime.block_on(runs.peek())?,
            };
            match run {
                Some(run) if run.target_offset < target => runs.advance(),
                Some(run) if run.target_offset == target => return Ok(Some(run.source_offset)),
                _ => return Ok(None),
            }
        }
    }
}

/// The records that `kbk compact` has removed from the backup: the cluster may still have them.
pub(super) struct RemovedRecords {
    /// Where they are in the cluster; read besides that of the expected records, which is ahead of them.
    pub(super) offsets: Offsets,
    pub(super) reasons: GapReasons,
}

impl RemovedRecords {
    /// Returns whether the record at this offset of the cluster, which the backup does not have, was removed from it. Offsets ascend.
    pub(super) fn has(&mut self, target: i64, runtime: &Handle) -> Result<bool, RepoError> {
        let Some(source) = self.offsets.source_of(target, runtime)? else {
            return Ok(false);
        };
        let reason = self.reasons.reason(source, runtime)?;
        Ok(reason == Some(GapReason::Compacted))
    }
}
