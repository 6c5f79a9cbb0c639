//! Where the cluster has the records that a comparison expects, and which of those that it does not expect the backup had.

use kbk_format::GapReason;
use kbk_format::repo::{MapRun, RepoError};
use kbk_tools::restores::MapRuns;
use tokio::runtime::Handle;

use super::pairing::Former;

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
        let to_target = |run: &MapRun| (run.source_offset, run.target_offset);
        self.follow(source, to_target, runtime)
    }

    /// Returns the offset in the backup of the record at `target`, which must not be below that of the last call; `None` if it was not
    /// restored. The same value answers either this or [`translate`](Self::translate).
    fn source_of(&mut self, target: i64, runtime: &Handle) -> Result<Option<i64>, RepoError> {
        let to_source = |run: &MapRun| (run.target_offset, run.source_offset);
        self.follow(target, to_source, runtime)
    }

    /// Returns what belongs to the offset `wanted`, where `sides` returns both offsets of a run: the one to find, and what belongs to it.
    fn follow(
        &mut self,
        wanted: i64,
        sides: impl Fn(&MapRun) -> (i64, i64),
        runtime: &Handle,
    ) -> Result<Option<i64>, RepoError> {
        let runs = match self {
            Offsets::Same => return Ok(Some(wanted)),
            Offsets::Mapped(runs) => runs,
        };
        loop {
            // Entering the runtime costs more than a record does, so it is entered once per page.
            let run = match runs.front() {
                Some(run) => Some(run),
                None => runtime.block_on(runs.peek())?,
            };
            match run.as_ref().map(&sides) {
                Some((found, _)) if found < wanted => runs.advance(),
                Some((found, other)) if found == wanted => return Ok(Some(other)),
                _ => return Ok(None),
            }
        }
    }
}

/// The records that the backup had: the cluster may still have them.
pub(super) struct FormerRecords {
    /// Where they are in the cluster; read besides that of the expected records, which is ahead of them.
    pub(super) offsets: Offsets,
    pub(super) former: Former,
}

/// Why a record is no longer in the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// `kbk compact` has removed it.
    Removed,
    /// Its segment was damaged.
    Damaged,
}

impl FormerRecords {
    /// Returns why the record at this offset of the cluster, which the backup does not have, was lost; `None` where the backup never had it.
    /// Offsets ascend.
    pub(super) fn loss(
        &mut self,
        target: i64,
        runtime: &Handle,
    ) -> Result<Option<Loss>, RepoError> {
        let Some(source) = self.offsets.source_of(target, runtime)? else {
            return Ok(None);
        };
        if self.former.is_damaged(source) {
            return Ok(Some(Loss::Damaged));
        }
        let Some(removed) = &mut self.former.removed else {
            return Ok(None);
        };
        let reason = removed.reason(source, runtime)?;
        Ok((reason == Some(GapReason::Compacted)).then_some(Loss::Removed))
    }
}
