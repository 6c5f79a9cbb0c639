//! What older snapshots say of segments that are replaced: since when they are named, and what was there before an earlier recovery.
//!
//! A segment is named by all snapshots from the one that added it to the one that replaced it, and an offset is lost from one recovery on. So both
//! are found by halving the list of snapshots, and of a thousand of them ten are read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kbk_format::OffsetSpan;
use kbk_format::repo::{
    Digested, Id, LostRange, PartitionId, RepoError, RepoErrorKind, Repository, SegmentEntry,
    Snapshot,
};
use tokio::sync::Mutex;

use super::donor::sums;

/// Snapshots that are kept in memory at a time.
const KEPT: usize = 12;

/// A snapshot; `None` where it cannot be read, or is no longer there.
type Read = Option<Arc<Digested<Snapshot>>>;

/// The snapshots before the one that is recovered, and that one.
pub(super) struct OlderSnapshots<'a> {
    repository: &'a Repository,
    sequences: Vec<u64>,
    kept: Mutex<HashMap<u64, Read>>,
}

impl<'a> OlderSnapshots<'a> {
    pub(super) async fn of(
        repository: &'a Repository,
        snapshot: u64,
    ) -> Result<OlderSnapshots<'a>, RepoError> {
        let mut sequences = repository.sequences().await?;
        sequences.retain(|sequence| *sequence < snapshot);
        Ok(OlderSnapshots {
            repository,
            sequences,
            kept: Mutex::default(),
        })
    }

    /// Returns the first snapshot that names one of these segments of a partition; `None` where no older one does. One that cannot be read counts
    /// as naming them.
    pub(super) async fn first_to_name(
        &self,
        id: &PartitionId,
        segments: &[&SegmentEntry],
    ) -> Result<Option<u64>, RepoError> {
        let ids: HashSet<(i64, Id)> = segments
            .iter()
            .map(|it| (it.base_offset, it.segment_id))
            .collect();
        let is_named = async |sequence: u64| {
            let Some(entries) = self.segments(sequence, id).await? else {
                return Ok::<bool, RepoError>(true);
            };
            let mut entries = entries.iter();
            Ok(entries.any(|it| ids.contains(&(it.base_offset, it.segment_id))))
        };
        let at = self.partition_point(is_named).await?;
        Ok(self.sequences.get(at).copied())
    }

    /// Returns the records of these offsets, and the sum of their content digests where all rows state theirs, as the last snapshot states them that does not state any of the
    /// offsets as damaged; `None` where none does, or its segments begin or end elsewhere.
    pub(super) async fn before_damage(
        &self,
        id: &PartitionId,
        offsets: OffsetSpan,
    ) -> Result<Option<(u64, Option<u128>)>, RepoError> {
        let is_hit = |it: &LostRange| it.from < offsets.end_offset && it.to > offsets.base_offset;
        let is_damaged = async |sequence: u64| {
            let snapshot = self.snapshot(sequence).await?;
            let state = snapshot.as_ref().and_then(|it| it.partition(id));
            Ok::<bool, RepoError>(
                state.is_none_or(|state| state.damaged_ranges().any(|it| is_hit(&it))),
            )
        };
        let at = self.partition_point(is_damaged).await?;
        let before = at.checked_sub(1).and_then(|at| self.sequences.get(at));
        let Some(&sequence) = before else {
            return Ok(None);
        };
        let entries = self.segments(sequence, id).await?;
        Ok(entries.and_then(|entries| sums(&mut &*entries, offsets)))
    }

    /// Returns where the snapshots begin of which this is true.
    async fn partition_point(
        &self,
        is_true: impl AsyncFn(u64) -> Result<bool, RepoError>,
    ) -> Result<usize, RepoError> {
        let (mut low, mut high) = (0, self.sequences.len());
        while low < high {
            let middle = low.midpoint(high);
            let Some(&sequence) = self.sequences.get(middle) else {
                break;
            };
            match is_true(sequence).await? {
                true => high = middle,
                false => low = middle.saturating_add(1),
            }
        }
        Ok(low)
    }

    /// Returns the segments of a partition; `None` where they cannot be read, and none where the snapshot does not have it.
    async fn segments(
        &self,
        sequence: u64,
        id: &PartitionId,
    ) -> Result<Option<Vec<SegmentEntry>>, RepoError> {
        let Some(snapshot) = self.snapshot(sequence).await? else {
            return Ok(None);
        };
        let Some(state) = snapshot.partition(id) else {
            return Ok(Some(Vec::new()));
        };
        match self.repository.segments(&snapshot, id, state).await {
            Ok(entries) => Ok(Some(entries)),
            Err(error) => self.unreadable(sequence, error).await.map(|()| None),
        }
    }

    async fn snapshot(&self, sequence: u64) -> Result<Read, RepoError> {
        let mut kept = self.kept.lock().await;
        if let Some(read) = kept.get(&sequence) {
            return Ok(read.clone());
        }
        let read = match self.repository.snapshot(sequence).await {
            Ok(snapshot) => Some(Arc::new(snapshot)),
            Err(error) => self.unreadable(sequence, error).await.map(|()| None)?,
        };
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(sequence, read.clone());
        Ok(read)
    }

    /// Accepts that a snapshot is damaged or gone, or cannot be read although others can, and no other error.
    async fn unreadable(&self, sequence: u64, error: RepoError) -> Result<(), RepoError> {
        let error = self.repository.explain(sequence, error).await;
        let is_gone = matches!(
            error.kind(),
            RepoErrorKind::NoSuchSnapshot { .. } | RepoErrorKind::Forgotten { .. }
        );
        match is_gone || self.repository.store().is_about_one_object(&error).await {
            true => Ok(()),
            false => Err(error),
        }
    }
}
