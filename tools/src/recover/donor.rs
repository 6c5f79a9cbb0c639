//! Another repository that records are taken from, where it has the same history of a partition.
//!
//! What the rows of both state is compared first: between offsets at which segments of both begin or end, both must have as many records and the
//! same sum of their content digests, unless one of them removed or lost some there. Logs that have an equal record are equal before it, too, since
//! a log diverges by losing its end. So rows that agree prove that the originals were equal up to there, even where nothing is left here. Rows that
//! contradict each other prove that one of the two logs is another one, and nothing is taken.
//!
//! Repositories that share a snapshot were one up to there, and need no such proof for what one of them had by then. Neither an equal id nor an
//! origin is enough: a folder that was cloned and then backed up into may have read another log since.

use std::collections::BTreeSet;

use kbk_format::OffsetSpan;
use kbk_format::repo::{
    Digest, Digested, PartitionId, PartitionState, RepoError, Repository, SegmentEntry, Snapshot,
};
use tokio::sync::OnceCell;

use super::ranges::Offsets;
use crate::unusable::Unusable;

/// A repository to take records from, and its newest snapshot.
#[derive(Debug)]
pub struct Donor {
    pub(super) repository: Repository,
    snapshot: Digested<Snapshot>,
    /// Of the repository that is recovered, which is always the same one.
    shared: OnceCell<Shared>,
}

/// What two repositories are known to have in common as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    Nothing,
    /// Both have this snapshot, with the same number.
    UpTo(u64),
    /// One is a copy of a snapshot that the other has, or both are copies of the same one: neither was written to by itself.
    Copy,
}

/// What it has of a partition.
#[derive(Debug)]
pub(super) struct DonorPartition {
    pub(super) entries: Vec<SegmentEntry>,
    /// One past the last offset up to which the rows of both state the same records.
    pub(super) agreed_end: i64,
    /// Whether both have the same log, up to where one of them ends.
    pub(super) is_same: bool,
}

/// Why nothing is taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It has no such partition, or nothing of it.
    Absent,
    /// Its index cannot be read there.
    Unreadable(String),
    /// It states other records of these offsets.
    Contradictory(OffsetSpan),
}

impl Donor {
    /// Opens the newest snapshot of a repository; `None` where it has none.
    ///
    /// # Errors
    ///
    /// If the snapshot cannot be read.
    pub async fn open(repository: Repository) -> Result<Option<Donor>, RepoError> {
        let snapshot = repository.latest().await?;
        Ok(snapshot.map(|snapshot| Donor {
            repository,
            snapshot,
            shared: OnceCell::new(),
        }))
    }

    /// Finds out what this and the repository that is recovered have in common.
    async fn shared(&self, ours: &Repository, snapshot: &Snapshot) -> Result<Shared, RepoError> {
        let theirs = &self.repository;
        let (our_id, their_id) = (
            ours.identity().repository_id,
            theirs.identity().repository_id,
        );
        let origins = (snapshot.origin.as_ref(), self.snapshot.origin.as_ref());
        let is_copy = match origins {
            (Some(a), Some(b)) if a == b => true,
            (_, Some(origin)) if origin.repository_id == our_id => {
                has(ours, origin.sequence, &origin.sha256).await?
            }
            (Some(origin), _) if origin.repository_id == their_id => {
                has(theirs, origin.sequence, &origin.sha256).await?
            }
            _ => false,
        };
        if is_copy {
            return Ok(Shared::Copy);
        }
        if our_id != their_id {
            return Ok(Shared::Nothing);
        }
        let listed: BTreeSet<u64> = ours.sequences().await?.into_iter().collect();
        for sequence in theirs.sequences().await?.into_iter().rev() {
            if listed.contains(&sequence)
                && let Some(digest) = digest(theirs, sequence).await?
                && has(ours, sequence, &digest).await?
            {
                return Ok(Shared::UpTo(sequence));
            }
        }
        Ok(Shared::Nothing)
    }

    /// Returns its location.
    #[must_use]
    pub fn url(&self) -> &str {
        self.repository.store().url()
    }

    /// Returns what it has of a partition, of which these segments are here.
    pub(super) async fn partition(
        &self,
        id: &PartitionId,
        (repository, snapshot): (&Repository, &Snapshot),
        ours: &[SegmentEntry],
        state: &PartitionState,
    ) -> Result<Result<DonorPartition, NotTaken>, RepoError> {
        let Some(theirs) = self.snapshot.partition(id) else {
            return Ok(Err(NotTaken::Absent));
        };
        let entries = match self.repository.segments(&self.snapshot, id, theirs).await {
            Ok(entries) => entries,
            Err(error) => {
                let sequence = self.snapshot.sequence;
                let found = Unusable::of(&self.repository, sequence, error).await?;
                return Ok(Err(NotTaken::Unreadable(found.message)));
            }
        };
        if entries.is_empty() {
            return Ok(Err(NotTaken::Absent));
        }
        let excused = |offsets: &OffsetSpan| {
            [state, theirs].into_iter().any(|state| {
                let mut damaged = state.damaged_ranges();
                let lacks =
                    damaged.any(|it| it.from < offsets.end_offset && it.to > offsets.base_offset);
                lacks || state.compacted.is_some()
            })
        };
        match proved(ours, &entries, excused) {
            Ok(proved) => {
                let shared = || self.shared(repository, snapshot);
                let is_same = match self.shared.get_or_try_init(shared).await? {
                    Shared::Nothing => false,
                    // Whatever one of them appended later, the other has nothing of its own beside it.
                    Shared::UpTo(sequence) => *sequence >= state.appended.min(theirs.appended),
                    Shared::Copy => true,
                };
                Ok(Ok(DonorPartition {
                    entries,
                    agreed_end: proved.iter().last().map_or(0, |range| range.end),
                    is_same,
                }))
            }
            Err(offsets) => Ok(Err(NotTaken::Contradictory(offsets))),
        }
    }
}

/// Returns the digest of a snapshot; `None` where there is none that can be read.
async fn digest(repository: &Repository, sequence: u64) -> Result<Option<Digest>, RepoError> {
    match repository.manifest(sequence).await {
        Ok(manifest) => Ok(Some(manifest.sha256)),
        Err(error) if repository.store().is_about_one_object(&error).await => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether a repository has this snapshot.
async fn has(repository: &Repository, sequence: u64, sha256: &Digest) -> Result<bool, RepoError> {
    Ok(digest(repository, sequence).await?.as_ref() == Some(sha256))
}

/// Returns the offsets of which the rows of both state the same records; the error is a range of which they state others.
fn proved(
    ours: &[SegmentEntry],
    theirs: &[SegmentEntry],
    excused: impl Fn(&OffsetSpan) -> bool,
) -> Result<Offsets, OffsetSpan> {
    let bounds = |of: &[SegmentEntry]| {
        let bounds = of.iter().flat_map(|it| [it.base_offset, it.end_offset]);
        bounds.collect::<BTreeSet<i64>>()
    };
    let common: Vec<i64> = bounds(ours)
        .intersection(&bounds(theirs))
        .copied()
        .collect();
    let mut proved = Vec::new();
    let (mut ours, mut theirs) = (ours, theirs);
    for [from, to] in common.array_windows() {
        let offsets = OffsetSpan::from(*from..*to);
        let (Some(a), Some(b)) = (sums(&mut ours, offsets), sums(&mut theirs, offsets)) else {
            continue;
        };
        let is_same = match (a.1, b.1) {
            (Some(a_digest), Some(b_digest)) => (a.0, a_digest) == (b.0, b_digest),
            // As many records may be other ones.
            _ => a.0 == b.0,
        };
        match is_same {
            // Without records, nothing is proved.
            true if a.0 > 0 && a.1.is_some() && b.1.is_some() => proved.push(*from..*to),
            true => {}
            false if excused(&offsets) => {}
            false => return Err(offsets),
        }
    }
    Ok(Offsets::of(proved))
}

/// Adds up the records and digests of the segments that fill a range; `None` where they do not. There is no digest where one does not state its own.
pub(super) fn sums(rest: &mut &[SegmentEntry], offsets: OffsetSpan) -> Option<(u64, Option<u128>)> {
    while let Some((first, after)) = rest.split_first()
        && first.end_offset <= offsets.base_offset
    {
        *rest = after;
    }
    let mut at = offsets.base_offset;
    let (mut records, mut digest) = (0_u64, Some(0_u128));
    for entry in rest
        .iter()
        .take_while(|it| it.base_offset < offsets.end_offset)
    {
        if entry.base_offset != at {
            return None;
        }
        at = entry.end_offset;
        records = records.saturating_add(entry.records);
        let both = digest.zip(entry.content());
        digest = both.map(|(sum, of_entry)| sum.wrapping_add(of_entry));
    }
    (at == offsets.end_offset).then_some((records, digest))
}

#[cfg(test)]
mod tests {
    use kbk_format::TimestampType;
    use kbk_format::repo::{Hex, Id, SegmentHash};

    use super::*;

    fn entries(segments: &[(i64, i64, u64)]) -> Vec<SegmentEntry> {
        let entry = |(base_offset, end_offset, records): &(i64, i64, u64)| SegmentEntry {
            key: String::new(),
            segment_id: Id::random(),
            size: 2,
            footer_position: 1,
            blake3: SegmentHash(Hex([0; 32])),
            base_offset: *base_offset,
            end_offset: *end_offset,
            min_timestamp: Some(0),
            max_timestamp: 0,
            min_known_timestamp: Some(0),
            records: *records,
            raw_bytes: 1,
            timestamp_type: TimestampType::CreateTime,
            content_digest: Some(Hex(u128::from(*records).to_be_bytes())),
            rendered: None,
            whole_lines: None,
            key_filter: false,
            batches: false,
        };
        segments.iter().map(entry).collect()
    }

    #[test]
    fn rows_that_contradict_each_other_prove_that_it_is_another_log() {
        let ours = entries(&[(0, 10, 5), (10, 20, 7), (20, 30, 0)]);
        let proved = |theirs: &[(i64, i64, u64)], excused: bool| {
            let proved = proved(&ours, &entries(theirs), |_| excused);
            proved.map(|it| it.spans())
        };
        let up_to = |end: i64| Ok(vec![OffsetSpan::from(0..end)]);
        assert_eq!(proved(&[(0, 10, 5), (10, 20, 7)], false), up_to(20));
        // Merged, and continued elsewhere.
        assert_eq!(proved(&[(0, 20, 12), (20, 40, 9)], false), up_to(20));
        // Segments of both begin or end at other offsets: nothing is known.
        assert_eq!(proved(&[(0, 15, 9), (15, 40, 9)], false), Ok(vec![]));
        // What has no records proves nothing.
        assert_eq!(proved(&[(20, 30, 0)], false), Ok(vec![]));
        let other = [(0, 10, 5), (10, 20, 8), (20, 30, 0)];
        assert_eq!(proved(&other, false), Err((10..20).into()));
        assert_eq!(proved(&other, true), up_to(10));
    }
}
