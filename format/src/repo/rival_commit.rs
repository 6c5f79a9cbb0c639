//! Whether another writer has committed what a run is going to commit, found out while the run still works (SPEC section 11.9).
//!
//! The commit finds the same (SPEC section 11.6), but only once everything has been read and stored for nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::change::continues;
use super::error::Result;
use super::index::{KeyRange, Row};
use super::keys::{Key, PartitionId};
use super::manifest::Manifest;
use super::repository::Repository;
use super::snapshot::Snapshot;
use super::states::PartitionState;

/// The partitions of which a run is going to commit segments, as they were in the snapshot that it continues.
#[derive(Clone, Debug)]
pub struct WriteBase {
    /// The newest snapshot that was looked at.
    seen: u64,
    partitions: BTreeMap<PartitionId, Option<PartitionState>>,
}

/// A commit of another writer, after which the commit of a run is bound to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RivalCommit {
    /// One of the partitions that it has changed.
    pub partition: PartitionId,
    /// Its snapshot.
    pub snapshot: u64,
    /// When that was created, and by which program; `None` where it is not there any more.
    pub created: Option<(Timestamp, String)>,
}

impl WriteBase {
    /// Returns these partitions as they are in the snapshot that a run continues. `ignored` is the newest of the damaged snapshots that
    /// it passes over, 0 where there is none.
    #[must_use]
    pub fn new(
        base: Option<&Snapshot>,
        ignored: u64,
        partitions: impl IntoIterator<Item = PartitionId>,
    ) -> WriteBase {
        let state = |id: PartitionId| {
            let state = base.and_then(|base| base.partition(&id)).cloned();
            (id, state)
        };
        WriteBase {
            seen: base.map_or(0, |base| base.sequence).max(ignored),
            partitions: partitions.into_iter().map(state).collect(),
        }
    }
}

impl Repository {
    /// Looks whether a commit since the base, or since the last look, has changed one of its partitions in such a way that segments
    /// cannot be added to it any more.
    ///
    /// Costs a listing, and where there are new snapshots a reading of the newest one and of the tables that came with them.
    ///
    /// # Errors
    ///
    /// Where the newest snapshot cannot be read: nothing is known then.
    pub async fn rival_commit(&self, base: &mut WriteBase) -> Result<Option<RivalCommit>> {
        let newer = self.sequences_from(base.seen.saturating_add(1)).await?;
        let Some(&newest) = newer.last() else {
            return Ok(None);
        };
        let newest = self.manifest(newest).await?;
        let found = self.changed_partition(&newest, base).await?;
        let Some((partition, state)) = found else {
            base.seen = newest.sequence;
            return Ok(None);
        };
        let snapshot = state.changes.newest();
        let created = match snapshot == newest.sequence {
            true => Some(created(&newest)),
            false => self.manifest(snapshot).await.ok().map(|it| created(&it)),
        };
        Ok(Some(RivalCommit {
            partition,
            snapshot,
            created,
        }))
    }

    /// Returns the first partition of the base to which nothing can be added any more, as it is now.
    async fn changed_partition(
        &self,
        newest: &Manifest,
        base: &WriteBase,
    ) -> Result<Option<(PartitionId, PartitionState)>> {
        // Older runs have no row of a commit since then.
        let runs = newest.runs.iter().filter(|run| run.to > base.seen);
        let runs: Vec<_> = runs.cloned().collect();
        let states = KeyRange::States.at_any_time();
        let mut rows = self.merged_rows(&runs, states).await?;
        while let Some((row, sha256)) = self.next_row(&mut rows).await? {
            let row = row
                .read()
                .map_err(|error| self.refused_object(&Key::Table { sha256 }, error))?;
            if let Row::Partition(row) = row
                && let Some(before) = base.partitions.get(&row.id)
                && !continues(before.as_ref(), Some(&row.state))
            {
                return Ok(Some((row.id, row.state)));
            }
        }
        Ok(None)
    }
}

/// Returns when a snapshot was created, and by which program.
fn created(manifest: &Manifest) -> (Timestamp, String) {
    let at = manifest.maintenance.as_ref().map(|it| it.at);
    (at.unwrap_or(manifest.created_at), manifest.writer.clone())
}
