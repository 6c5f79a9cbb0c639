//! Where the cluster has the records that a comparison expects.

use kbk_format::repo::RepoError;
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
}
