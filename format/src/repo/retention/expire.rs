//! Expires segments: a commit removes the rows of the first ones of a partition whose records are all older than a moment.
//!
//! Their objects stay for as long as older snapshots name them; a prune deletes them.

use std::collections::HashMap;

use super::Upkeep;
use crate::repo::error::{RepoErrorKind, Result};
use crate::repo::expired::{Expired, LastRecord};
use crate::repo::index::RowKey;
use crate::repo::keys::PartitionId;
use crate::repo::repository::Repository;
use crate::repo::segment_entry::SegmentEntry;
use crate::repo::snapshot::Snapshot;
use crate::repo::states::{LostRange, PartitionState};

/// What is going to be expired of a partition.
#[derive(Clone, Debug)]
pub struct PartitionExpiry {
    /// The partition.
    pub id: PartitionId,
    /// What is stored of it.
    pub before: PartitionState,
    /// What remains. Of the sums and the coverage only.
    pub after: PartitionState,
    /// The first segment that stays; `None` where none does.
    pub next: Option<SegmentEntry>,
    /// The segment with the last record, where no record remains.
    pub last: Option<SegmentEntry>,
    /// That record, which whoever applies the plan has to read before.
    pub last_record: Option<LastRecord>,
    /// Where the segments that go begin.
    removed: Vec<i64>,
}

impl PartitionExpiry {
    /// Returns whether nothing is old enough.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
    }

    /// Returns the number of segments that go.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.removed.len() as u64
    }

    /// Returns the number of records that go.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.before.records.saturating_sub(self.after.records)
    }

    /// Returns the bytes of the segments that go.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let (before, after) = (self.before.stored_bytes, self.after.stored_bytes);
        before.saturating_sub(after)
    }

    /// Plans for a partition with these segments what is older than a timestamp.
    fn of(
        id: PartitionId,
        before: &PartitionState,
        segments: &[SegmentEntry],
        older_than: i64,
    ) -> PartitionExpiry {
        let (removed, kept) = segments.split_at(expirable(segments, older_than));
        let start = kept.first().map_or(before.end_offset, |it| it.base_offset);
        let mut after = PartitionState::empty(before.partition, start);
        for segment in kept {
            after.append(segment, 0);
        }
        let last = removed.last().filter(|_| after.records == 0);
        PartitionExpiry {
            id,
            before: before.clone(),
            after,
            next: kept.first().cloned(),
            last: last.cloned(),
            last_record: None,
            removed: removed.iter().map(|it| it.base_offset).collect(),
        }
    }

    /// Makes of a partition as it is now what remains of it.
    fn apply(
        &self,
        state: &mut PartitionState,
        sequence: u64,
        upkeep: &Upkeep,
    ) -> std::result::Result<(), RepoErrorKind> {
        let known = |state: &PartitionState| {
            let changed = state.changes.newest();
            (changed, state.base_offset, state.end_offset)
        };
        if known(state) != known(&self.before) {
            return Err(RepoErrorKind::Outdated);
        }
        let so_far = state.expired.take();
        let sum = |so_far: Option<u64>, more: u64| so_far.unwrap_or(0).saturating_add(more);
        state.expired = Some(Box::new(Expired {
            base_offset: so_far
                .as_ref()
                .map_or(state.base_offset, |so_far| so_far.base_offset),
            segments: sum(so_far.as_ref().map(|it| it.segments), self.segments()),
            records: sum(so_far.as_ref().map(|it| it.records), self.records()),
            snapshot: sequence,
            at: upkeep.now,
            policy: upkeep.detail.clone(),
            last_record: self.last_record,
        }));
        let after = &self.after;
        state.base_offset = after.base_offset;
        state.segments = after.segments;
        state.records = after.records;
        state.stored_bytes = after.stored_bytes;
        state.raw_bytes = after.raw_bytes;
        state.min_timestamp = after.min_timestamp;
        state.max_timestamp = after.max_timestamp;
        state.changes.record(sequence);
        state.lost.retain(|lost| lost.to > after.base_offset);
        for LostRange { from, .. } in &mut state.lost {
            *from = (*from).max(after.base_offset);
        }
        Ok(())
    }
}

/// Returns how many of a partition's segments are older than a timestamp: those before the first one that is not, up to the last one
/// with records. Of a segment without any timestamp nobody knows how old it is.
fn expirable(segments: &[SegmentEntry], older_than: i64) -> usize {
    let is_old = |segment: &&SegmentEntry| {
        segment.records == 0
            || (segment.max_timestamp < older_than && segment.min_known_timestamp.is_some())
    };
    let old = segments.iter().take_while(is_old).count();
    let old = segments.iter().take(old);
    old.clone()
        .rposition(|segment| segment.records > 0)
        .map_or(0, |last| last.saturating_add(1))
}

impl Repository {
    /// Plans to expire the segments of a partition whose records are all older than a timestamp in milliseconds.
    ///
    /// # Errors
    ///
    /// As [`segments`](Self::segments).
    pub async fn plan_expiry(
        &self,
        snapshot: &Snapshot,
        id: PartitionId,
        state: &PartitionState,
        older_than: i64,
    ) -> Result<PartitionExpiry> {
        // Most partitions are ruled out by their own row.
        let may_be_older = state.min_timestamp.is_some_and(|min| min < older_than);
        let segments = match may_be_older {
            true => self.segments(snapshot, &id, state).await?,
            false => return Ok(PartitionExpiry::nothing(id, state)),
        };
        Ok(PartitionExpiry::of(id, state, &segments, older_than))
    }

    /// Expires what was planned, and returns the sequence of the snapshot that says so; `None` where nothing is old enough.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] if another run has changed one of the partitions since, or the error of the store.
    pub async fn expire(&self, plan: &[PartitionExpiry], upkeep: &Upkeep) -> Result<Option<u64>> {
        let plan: HashMap<&PartitionId, &PartitionExpiry> = plan
            .iter()
            .filter(|it| !it.is_empty())
            .map(|it| (&it.id, it))
            .collect();
        if plan.is_empty() {
            return Ok(None);
        }
        let removed = plan.values().flat_map(|expiry| {
            let rows = expiry.removed.iter();
            rows.map(|base_offset| RowKey::segment(expiry.id.clone(), *base_offset))
        });
        let removed: Vec<RowKey> = removed.collect();
        let committed = self.commit_states(upkeep, &removed, |sequence, topics| {
            let mut left = plan.len();
            for topic in topics {
                let ids: Vec<PartitionId> = topic
                    .partitions
                    .iter()
                    .map(|state| topic.partition_id(state.partition))
                    .collect();
                for (id, state) in ids.iter().zip(&mut topic.partitions) {
                    if let Some(expiry) = plan.get(id) {
                        expiry.apply(state, sequence, upkeep)?;
                        left = left.saturating_sub(1);
                    }
                }
            }
            match left {
                0 => Ok(()),
                _ => Err(RepoErrorKind::Outdated),
            }
        });
        Ok(Some(committed.await?))
    }
}

impl PartitionExpiry {
    fn nothing(id: PartitionId, state: &PartitionState) -> PartitionExpiry {
        PartitionExpiry {
            id,
            before: state.clone(),
            after: state.clone(),
            next: None,
            last: None,
            last_record: None,
            removed: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use jiff::Timestamp;
    use object_store::memory::InMemory;

    use super::*;
    use crate::TimestampType;
    use crate::repo::change::{Change, PartitionChange, TopicChange};
    use crate::repo::id::{Hex, Id};
    use crate::repo::identity::Identity;
    use crate::repo::keys::Key;
    use crate::repo::sealed::Digested;
    use crate::repo::store::Store;

    fn id() -> PartitionId {
        PartitionId {
            topic: "t".parse().unwrap(),
            topic_id: Hex([7; 16]),
            partition: 0.into(),
        }
    }

    /// Segments of 10 offsets from 0, each with its largest timestamp: `None` without records, -1 without timestamps.
    fn segments(times: &[Option<i64>]) -> Vec<SegmentEntry> {
        let segment = |(at, time): (usize, &Option<i64>)| {
            let (base_offset, segment_id) = (10 * at as i64, Hex([at as u8; 16]));
            let time_or_none = time.unwrap_or(-1);
            SegmentEntry {
                key: Key::segment(&id(), base_offset, &segment_id).to_string(),
                segment_id,
                size: 16,
                footer_position: 1,
                sha256: Hex([3; 32]),
                base_offset,
                end_offset: base_offset + 10,
                min_timestamp: time_or_none,
                max_timestamp: time_or_none,
                min_known_timestamp: time.filter(|time| *time != -1),
                records: if time.is_some() { 9 } else { 0 },
                raw_bytes: 100,
                timestamp_type: TimestampType::CreateTime,
                content_digest: Id::ZERO,
                rendered: None,
                whole_lines: None,
            }
        };
        times.iter().enumerate().map(segment).collect()
    }

    #[test]
    fn only_the_first_segments_expire_and_none_of_unknown_age() {
        for (times, expected) in [
            (&[][..], 0),
            (&[Some(5), Some(6), Some(50)], 2),
            (&[Some(5), Some(50), Some(5)], 1),
            (&[Some(50), Some(5)], 0),
            (&[Some(49), Some(49)], 2),
            // Nobody knows how old these are.
            (&[Some(-1), Some(5)], 0),
            (&[Some(5), Some(-1), Some(5)], 1),
            // Without records: as old as those around.
            (&[None, Some(5), None, Some(5), None], 4),
            (&[None, None], 0),
            (&[None, Some(50)], 0),
        ] {
            assert_eq!(expirable(&segments(times), 50), expected, "{times:?}");
        }
    }

    fn upkeep() -> Upkeep {
        Upkeep {
            command: "expire".into(),
            detail: "--older-than 90d".into(),
            writer: "test".into(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn stored(segments: &[SegmentEntry]) -> PartitionState {
        let mut state = PartitionState::empty(0.into(), 0);
        for segment in segments {
            state.append(segment, 3);
        }
        state
    }

    #[test]
    fn what_remains_has_the_sums_of_what_remains() {
        let all = segments(&[Some(5), Some(6), Some(70), Some(80)]);
        let mut state = stored(&all);
        state.lost = [(0, 3), (15, 25), (31, 33)]
            .map(|(from, to)| LostRange { from, to })
            .into();
        let expiry = PartitionExpiry::of(id(), &state, &all, 50);
        assert_eq!(
            (expiry.segments(), expiry.records(), expiry.bytes()),
            (2, 18, 32)
        );
        assert_eq!(expiry.last, None);
        expiry.apply(&mut state, 8, &upkeep()).unwrap();
        assert_eq!(state.check().and(state.check_lost()), Ok(()));
        assert_eq!(state.difference(&all[2..]), None);
        let left = [(20, 25), (31, 33)].map(|(from, to)| LostRange { from, to });
        assert_eq!(state.lost, left);
        assert!(matches!(
            expiry.apply(&mut state, 9, &upkeep()),
            Err(RepoErrorKind::Outdated)
        ));

        // The rest, later: the sums are those of both.
        let expiry = PartitionExpiry::of(id(), &state, &all[2..], 1_000);
        assert_eq!(expiry.last.as_ref(), all.last());
        expiry.apply(&mut state, 9, &upkeep()).unwrap();
        assert_eq!(state.check().and(state.check_lost()), Ok(()));
        assert_eq!((state.base_offset, state.end_offset), (40, 40));
        let expired = state.expired.unwrap();
        let found = (expired.base_offset, expired.segments, expired.records);
        assert_eq!((found, expired.snapshot), ((0, 4, 36), 9));
    }

    type Base = Option<Digested<Snapshot>>;

    fn change(base: &Base, segments: &[SegmentEntry]) -> Change {
        let partition = PartitionChange {
            partition: 0.into(),
            log_start_offset: 0,
            high_watermark: 100,
            last_stable_offset: 100,
            incomplete: None,
            segments: segments.to_vec(),
            lost: Vec::new(),
        };
        Change {
            read_after: base.as_ref().map_or(0, |base| base.sequence),
            base: base.clone(),
            ignored: BTreeSet::new(),
            nonce: Id::random(),
            started_at: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
            writer: "test".into(),
            cluster_id: None,
            topics: vec![TopicChange {
                name: id().topic,
                topic_id: id().topic_id,
                kafka_id: None,
                internal: false,
                replication_factor: 1,
                config: None,
                partitions: vec![partition],
            }],
            gone: Vec::new(),
            unseen: Vec::new(),
            groups: None,
            acls: None,
        }
    }

    /// A repository whose snapshot 1 has the first three of these segments.
    async fn repository(segments: &[SegmentEntry]) -> (Repository, Base) {
        let store = Store::new(Arc::new(InMemory::new()), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        let base = repository.commit(&change(&None, &segments[..3])).await;
        (repository, Some(base.unwrap()))
    }

    async fn expire(repository: &Repository, older_than: i64) -> Option<u64> {
        let newest = repository.latest().await.unwrap().unwrap();
        let state = newest.partition(&id()).unwrap();
        let plan = repository.plan_expiry(&newest, id(), state, older_than);
        let plan = [plan.await.unwrap()];
        repository.expire(&plan, &upkeep()).await.unwrap()
    }

    async fn stored_now(repository: &Repository) -> (PartitionState, Vec<SegmentEntry>) {
        let newest = repository.latest().await.unwrap().unwrap();
        let state = newest.partition(&id()).unwrap().clone();
        let segments = repository.segments(&newest, &id(), &state).await;
        (state, segments.unwrap())
    }

    #[tokio::test]
    async fn a_backup_that_runs_meanwhile_appends_all_the_same() {
        let all = segments(&[Some(5), Some(6), Some(70), Some(80)]);
        let (repository, base) = repository(&all).await;
        assert_eq!(expire(&repository, 50).await, Some(2));
        repository.commit(&change(&base, &all[3..])).await.unwrap();
        let (state, segments) = stored_now(&repository).await;
        assert_eq!((state.base_offset, &segments[..]), (20, &all[2..]));
        // What the first snapshot names is still there.
        let base = base.unwrap();
        let before = base.partition(&id()).unwrap();
        let read = repository.segments(&base, &id(), before).await.unwrap();
        assert_eq!(read, all[..3]);
    }

    #[tokio::test]
    async fn of_two_expiries_only_the_last_is_known() {
        let all = segments(&[Some(5), Some(6), Some(70), Some(80)]);
        let (repository, base) = repository(&all).await;
        assert_eq!(expire(&repository, 6).await, Some(2));
        assert_eq!(expire(&repository, 50).await, Some(3));
        assert_eq!(expire(&repository, 50).await, None);
        let refused = repository.commit(&change(&base, &all[3..])).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused.kind(), RepoErrorKind::Conflict { .. }),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn where_all_has_expired_the_next_backup_continues_at_the_end() {
        let all = segments(&[Some(5), Some(6), Some(70), Some(80)]);
        let (repository, _) = repository(&all).await;
        assert_eq!(expire(&repository, 1_000).await, Some(2));
        let (state, segments) = stored_now(&repository).await;
        assert_eq!((state.base_offset, state.end_offset), (30, 30));
        assert_eq!(segments, []);
        let base = repository.latest().await.unwrap();
        let again = repository.commit(&change(&base, &all[..1])).await;
        let again = again.unwrap_err();
        assert!(
            matches!(again.kind(), RepoErrorKind::Refused { .. }),
            "{again}"
        );
        repository.commit(&change(&base, &all[3..])).await.unwrap();
        let (state, segments) = stored_now(&repository).await;
        assert_eq!((state.base_offset, state.end_offset), (30, 40));
        assert_eq!(segments, all[3..]);
        assert_eq!(state.expired_offsets(), Some((0..30).into()));
    }
}
