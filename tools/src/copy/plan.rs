//! What of a snapshot is new in the copy: which segments, and what cannot be joined to what is there.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::OffsetSpan;
use kbk_format::repo::{
    CopiedPartition, Digested, Id, Incomplete, IncompleteReason, PartitionId, PartitionState,
    RepoError, RepoErrorKind, Repository, SegmentEntry, Snapshot, SnapshotCopy, TopicName,
};

use super::error::SnapshotError;
use super::report::{CopyFinding, CopyFindingKind, FoundIn};
use crate::unusable::Unusable;

/// A snapshot that is going to be copied.
pub(super) struct SnapshotPlan {
    /// What is committed once its segments are durable.
    pub(super) copy: SnapshotCopy,
    /// What cannot be copied.
    pub(super) findings: Vec<CopyFinding>,
}

/// Plans the copy of a snapshot on top of `base`.
pub(super) struct Planner<'a> {
    pub(super) origin: &'a Repository,
    pub(super) snapshot: &'a Arc<Digested<Snapshot>>,
    pub(super) base: Option<&'a Digested<Snapshot>>,
    /// The repository that has the base, where nothing else proves that the base is of the same history.
    pub(super) unproven: Option<&'a Repository>,
    pub(super) topics: BTreeSet<(TopicName, Id)>,
    pub(super) read_after: u64,
    pub(super) writer: &'a str,
}

/// Why a partition is not copied up to the end that it has in the origin.
struct Obstacle {
    kind: CopyFindingKind,
    detail: String,
}

impl Planner<'_> {
    /// # Errors
    ///
    /// [`SnapshotError::Forgotten`], or the error of a store.
    pub(super) async fn plan(self) -> Result<SnapshotPlan, SnapshotError> {
        let mut partitions = BTreeMap::new();
        let mut findings = Vec::new();
        for topic in &self.snapshot.topics {
            if !self.topics.contains(&(topic.name.clone(), topic.topic_id)) {
                continue;
            }
            for state in &topic.partitions {
                let id = topic.partition_id(state.partition);
                let before = self.base.and_then(|base| base.partition(&id));
                let start = SnapshotCopy::start(before, state);
                match self.new_segments(&id, before, state, start).await? {
                    Ok(segments) if segments.is_empty() => {}
                    Ok(segments) => {
                        let incomplete = None;
                        let copied = CopiedPartition {
                            segments,
                            incomplete,
                        };
                        partitions.insert(id, copied);
                    }
                    Err(obstacle) => {
                        findings.push(self.finding(&id, start, &obstacle));
                        let copied = CopiedPartition {
                            segments: Vec::new(),
                            incomplete: Some(not_copied(&obstacle.detail)),
                        };
                        partitions.insert(id, copied);
                    }
                }
            }
        }
        let groups = self.groups(&mut findings).await?;
        let acls = self.acls(&mut findings).await?;
        let copy = SnapshotCopy {
            base: self.base.cloned(),
            read_after: self.read_after,
            origin: Arc::clone(self.snapshot),
            topics: self.topics,
            partitions,
            groups,
            acls,
            writer: self.writer.to_owned(),
            now: Timestamp::now(),
        };
        Ok(SnapshotPlan { copy, findings })
    }

    /// Returns the segments of the origin from `start` on.
    async fn new_segments(
        &self,
        id: &PartitionId,
        before: Option<&PartitionState>,
        state: &PartitionState,
        start: i64,
    ) -> Result<Result<Vec<SegmentEntry>, Obstacle>, SnapshotError> {
        if state.end_offset == start {
            return Ok(Ok(Vec::new()));
        }
        let not_joined = |detail: String| {
            let kind = CopyFindingKind::NotJoined;
            Ok(Err(Obstacle { kind, detail }))
        };
        let end = state.end_offset;
        if end < start {
            return not_joined(format!(
                "its origin ends at offset {end}, and the copy at {start}"
            ));
        }
        let all = match self.origin.segments(self.snapshot, id, state).await {
            Ok(all) => all,
            Err(error) => {
                let detail = self.damage(error).await?;
                let kind = CopyFindingKind::DamagedIndex;
                return Ok(Err(Obstacle { kind, detail }));
            }
        };
        let (old, new): (Vec<SegmentEntry>, Vec<SegmentEntry>) =
            all.into_iter().partition(|it| it.end_offset <= start);
        if !self.continues(id, before, &old).await? {
            return not_joined(format!(
                "what ends at offset {start} is not the same in the origin as in the copy"
            ));
        }
        // Where everything was expired, the coverage is empty, and is at its end.
        let base = new.first().map_or(end, |first| first.base_offset);
        match base {
            base if base > start && before.is_some() && state.expired.is_none() => {
                not_joined(format!(
                    "the origin begins at offset {base}, the copy ends at {start}, and nothing in between has expired in the origin: \
                     its history of this partition is another one; copy it to another repository"
                ))
            }
            base if base > start && before.is_some() => not_joined(format!(
                "{} were expired in the origin before they were copied; once `kbk expire` has removed what the copy has of it, it \
                 begins anew at offset {base}",
                OffsetSpan::from(start..base)
            )),
            base if base < start => not_joined(format!(
                "a segment of the origin begins at offset {base}, before {start}, where the copy ends: `kbk compact` has merged it since; try \
                 a snapshot from before that, if the origin still has one, or begin a new copy"
            )),
            base if base != start => not_joined(format!(
                "a segment of the origin begins at offset {base}, and the copy ends at {start}"
            )),
            _ => Ok(Ok(new)),
        }
    }

    /// Returns whether the last records of the copy are those of the origin, if that still has them: by their digests, since either may have
    /// merged segments.
    async fn continues(
        &self,
        id: &PartitionId,
        before: Option<&PartitionState>,
        old: &[SegmentEntry],
    ) -> Result<bool, SnapshotError> {
        let Some((destination, base)) = self.unproven.zip(self.base) else {
            return Ok(true);
        };
        let Some(before) = before.filter(|_| !old.is_empty()) else {
            return Ok(true);
        };
        let stored = destination.segments(base, id, before).await?;
        Ok(stored.is_empty() || end_alike(&stored, old))
    }

    /// Returns what is wrong with the origin, in words.
    ///
    /// # Errors
    ///
    /// Where it is not damage: the snapshot was forgotten, or the store failed.
    async fn damage(&self, error: RepoError) -> Result<String, SnapshotError> {
        damage(self.origin, self.snapshot.sequence, error).await
    }

    async fn groups(
        &self,
        findings: &mut Vec<CopyFinding>,
    ) -> Result<Option<kbk_format::repo::Groups>, SnapshotError> {
        let known = self.base.and_then(|base| base.groups.as_ref());
        let known = known.map(|it| (it.seen, it.read_after, it.taken_at, it.groups));
        let found = self.snapshot.groups.as_ref();
        let found = found.map(|it| (it.seen, it.read_after, it.taken_at, it.groups));
        if found == known {
            return Ok(None);
        }
        match self.origin.groups(self.snapshot).await {
            Ok(groups) => Ok(groups),
            Err(error) => {
                let message = self.damage(error).await?;
                findings.push(self.finding_of_none(CopyFindingKind::DamagedGroups, message));
                Ok(None)
            }
        }
    }

    async fn acls(
        &self,
        findings: &mut Vec<CopyFinding>,
    ) -> Result<Option<kbk_format::repo::Acls>, SnapshotError> {
        let known = self.base.and_then(|base| base.acls.as_ref());
        let known = known.map(|it| (it.seen, it.read_after, it.taken_at, it.acls));
        let found = self.snapshot.acls.as_ref();
        let found = found.map(|it| (it.seen, it.read_after, it.taken_at, it.acls));
        if found == known {
            return Ok(None);
        }
        match self.origin.acls(self.snapshot).await {
            Ok(acls) => Ok(acls),
            Err(error) => {
                let message = self.damage(error).await?;
                findings.push(self.finding_of_none(CopyFindingKind::DamagedAcls, message));
                Ok(None)
            }
        }
    }

    fn finding(&self, id: &PartitionId, end_offset: i64, obstacle: &Obstacle) -> CopyFinding {
        let detail = &obstacle.detail;
        CopyFinding {
            partition: Some(found_in(id, end_offset)),
            ..self.finding_of_none(obstacle.kind, format!("{id}: {detail}"))
        }
    }

    fn finding_of_none(&self, kind: CopyFindingKind, message: String) -> CopyFinding {
        CopyFinding::new(kind, self.origin, self.snapshot.sequence, message)
    }
}

/// Returns whether segments that end at the same offset hold the same from an offset on at which both have one that begins.
fn end_alike(stored: &[SegmentEntry], old: &[SegmentEntry]) -> bool {
    let (mut stored, mut old) = (stored.iter().rev().peekable(), old.iter().rev().peekable());
    let (mut here, mut there) = (Held::default(), Held::default());
    loop {
        let (Some(ours), Some(theirs)) = (stored.peek(), old.peek()) else {
            return false;
        };
        // The one that begins later is taken, until both begin at the same offset.
        match ours.base_offset.cmp(&theirs.base_offset) {
            Ordering::Equal => {
                // Segments that are the same object hold the same, whatever their rows state.
                if ours.blake3 == theirs.blake3 && here == there {
                    return here.content_digest.is_some();
                }
                here.add(ours);
                there.add(theirs);
                return here.content_digest.is_some() && here == there;
            }
            Ordering::Greater => here.add(ours),
            Ordering::Less => {
                there.add(theirs);
                old.next();
                continue;
            }
        }
        stored.next();
    }
}

/// What segments hold together.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    records: u64,
    /// `None` where that of a segment was not computed.
    content_digest: Option<u128>,
}

impl Default for Held {
    fn default() -> Held {
        Held {
            records: 0,
            content_digest: Some(0),
        }
    }
}

impl Held {
    fn add(&mut self, segment: &SegmentEntry) {
        self.records = self.records.saturating_add(segment.records);
        let sums = self.content_digest.zip(segment.content());
        self.content_digest = sums.map(|(sum, digest)| sum.wrapping_add(digest));
    }
}

pub(super) fn found_in(id: &PartitionId, end_offset: i64) -> FoundIn {
    FoundIn {
        topic: id.topic.to_string(),
        topic_id: id.topic_id.to_string(),
        partition: id.partition,
        end_offset,
    }
}

/// Returns what the row of a partition says that could not be copied.
pub(super) fn not_copied(detail: &str) -> Incomplete {
    Incomplete {
        reason: IncompleteReason::NotCopied,
        detail: detail.to_owned(),
    }
}

/// Returns in words what is wrong with an object of the origin.
///
/// # Errors
///
/// As [`unusable`].
pub(super) async fn damage(
    origin: &Repository,
    sequence: u64,
    error: RepoError,
) -> Result<String, SnapshotError> {
    Ok(unusable(origin, sequence, error).await?.message)
}

/// Returns what is wrong with an object of the origin.
///
/// # Errors
///
/// Where it is not the object's fault: the snapshot was forgotten, or the store failed.
pub(super) async fn unusable(
    origin: &Repository,
    sequence: u64,
    error: RepoError,
) -> Result<Unusable, SnapshotError> {
    match Unusable::of(origin, sequence, error).await {
        Err(error) if matches!(error.kind(), RepoErrorKind::Forgotten { .. }) => {
            Err(SnapshotError::Forgotten)
        }
        found => Ok(found?),
    }
}
