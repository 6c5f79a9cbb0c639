//! Expires segments: a commit removes the rows of the first ones of a partition whose records are all older than a moment.
//!
//! Their objects stay for as long as older snapshots name them; a prune deletes them.

use std::collections::HashMap;

use super::Upkeep;
use crate::PartitionNumber;
use crate::repo::commit::SegmentChange;
use crate::repo::error::{Damage, RepoErrorKind, Result};
use crate::repo::expired::{Expired, LastRecord};
use crate::repo::index::RowKey;
use crate::repo::keys::PartitionId;
use crate::repo::partition_edit::PartitionEdit;
use crate::repo::repository::Repository;
use crate::repo::segment_entry::SegmentEntry;
use crate::repo::snapshot::Snapshot;
use crate::repo::states::{LostRange, PartitionState};

/// The span of time in which the oldest record that stays is looked for first: a day.
const FIRST_SPAN_MS: i64 = 86_400_000;

/// What is going to be expired of a partition.
#[derive(Clone, Debug)]
pub struct PartitionExpiry {
    /// The partition.
    pub id: PartitionId,
    /// What is stored of it.
    pub before: PartitionState,
    /// What remains. Of the sums and the coverage only.
    pub after: PartitionState,
    /// The segments that go.
    pub removed: Vec<SegmentEntry>,
    /// The first segment with records that stays; `None` where none does, or where it and all that follow have only younger records.
    pub next: Option<SegmentEntry>,
    /// The last record that goes, where none remains: whoever applies the plan has to read it before.
    pub last_record: Option<LastRecord>,
}

/// The smallest timestamp, where it is known, and the largest one, or a bound where it is not; `None` without records.
type Times = Option<(Option<i64>, i64)>;

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

    /// Returns the smallest and the largest timestamp of what goes: the smallest is `None` where it was not computed, and the largest one is a bound
    /// then. `None` without records.
    #[must_use]
    pub fn times(&self) -> Times {
        times_of(&self.removed)
    }

    /// Returns the segment with the last record, where no record remains.
    #[must_use]
    pub fn last(&self) -> Option<&SegmentEntry> {
        self.removed.last().filter(|_| self.after.records == 0)
    }

    /// Keeps the segment with the last record, and what is without records before it: that record cannot be read.
    pub fn keep_last(&mut self) {
        let Some(last) = self.removed.pop() else {
            return;
        };
        let with_records = self.removed.iter().rposition(|it| it.records > 0);
        let left = with_records.map_or(0, |at| at.saturating_add(1));
        self.removed.truncate(left);
        // Less goes than before, so that something does remain.
        let times = times_of(std::slice::from_ref(&last));
        if let Some(after) = without(&self.before, &self.removed, times) {
            self.after = after;
        }
        self.next = Some(last);
    }

    /// Plans for a partition with these segments what is older than a timestamp; `None` where they are more than its row states.
    fn of(
        id: PartitionId,
        before: &PartitionState,
        segments: &[SegmentEntry],
        older_than: i64,
    ) -> Option<PartitionExpiry> {
        let (removed, kept) = segments.split_at(expirable(segments, older_than));
        Some(PartitionExpiry {
            id,
            after: without(before, removed, times_of(kept))?,
            before: before.clone(),
            removed: removed.to_vec(),
            next: kept.iter().find(|it| it.records > 0).cloned(),
            last_record: None,
        })
    }
}

impl PartitionEdit for &PartitionExpiry {
    /// Makes of a partition as it is now what remains of it.
    fn edit(
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
        state.state_damage();
        Ok(())
    }
}

fn times_of(segments: &[SegmentEntry]) -> Times {
    let mut sums = PartitionState::empty(PartitionNumber::from(0), 0);
    for segment in segments {
        sums.add(segment);
    }
    sums.max_timestamp.map(|max| (sums.min_timestamp, max))
}

/// Returns what remains of a partition without its first segments, with timestamps of the others; `None` where the row states less than these.
fn without(
    before: &PartitionState,
    removed: &[SegmentEntry],
    times: Times,
) -> Option<PartitionState> {
    let rest = |stated: u64, of: fn(&SegmentEntry) -> u64| {
        let sum = removed.iter().map(of).fold(0, u64::saturating_add);
        stated.checked_sub(sum)
    };
    let start = removed
        .last()
        .map_or(before.base_offset, |it| it.end_offset);
    let (min_timestamp, max_timestamp) = times.unzip();
    let min_timestamp = min_timestamp.flatten();
    Some(PartitionState {
        end_offset: before.end_offset,
        segments: rest(before.segments, |_| 1)?,
        records: rest(before.records, |it| it.records)?,
        stored_bytes: rest(before.stored_bytes, |it| it.size)?,
        raw_bytes: rest(before.raw_bytes, |it| it.raw_bytes)?,
        min_timestamp,
        max_timestamp,
        ..PartitionState::empty(before.partition, start)
    })
}

/// Returns how many of a partition's segments are older than a timestamp: those before the first one that is not, up to the last one
/// with records. Of a segment without any timestamp nobody knows how old it is.
fn expirable(segments: &[SegmentEntry], older_than: i64) -> usize {
    let is_old = |segment: &&SegmentEntry| {
        let is_dated = match segment.is_computed() {
            true => segment.min_known_timestamp.is_some(),
            // Its bound was the timestamp of a record, or -1.
            false => segment.max_timestamp != -1,
        };
        segment.records == 0 || (segment.max_timestamp < older_than && is_dated)
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
    /// Of the index, only tables are read that have rows of segments with older records, and with those that are the oldest without them. All
    /// of the partition are read where older segments follow younger ones.
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
        let Some((min, max)) = state.time_bounds() else {
            return Ok(PartitionExpiry::nothing(id, state));
        };
        // Most partitions are ruled out by their own row.
        if min >= older_than {
            return Ok(PartitionExpiry::nothing(id, state));
        }
        // Without the smallest timestamp of every segment, that of what remains follows from all rows only.
        if max >= older_than
            && state.min_timestamp.is_some()
            && let Some(plan) = self.plan_from_old(snapshot, &id, state, older_than).await?
        {
            return Ok(plan);
        }
        let segments = self.segments(snapshot, &id, state).await?;
        let plan = PartitionExpiry::of(id.clone(), state, &segments, older_than);
        plan.ok_or_else(|| {
            let detail = "its row states less than its first segments".to_owned();
            let damage = RepoErrorKind::Damaged(Damage::Object { detail });
            self.store().error(&id, damage)
        })
    }

    /// Plans for a partition that has younger records, too, from the rows of segments with older ones; `None` where these are not all at its
    /// front, so that the rows between them matter.
    async fn plan_from_old(
        &self,
        snapshot: &Snapshot,
        id: &PartitionId,
        state: &PartitionState,
        older_than: i64,
    ) -> Result<Option<PartitionExpiry>> {
        let times = i64::MIN..=older_than.saturating_sub(1);
        let old = self.segments_of_times(snapshot, id, state, &times);
        let old = old.await?;
        let mut at = state.base_offset;
        let joins = |it: &SegmentEntry| std::mem::replace(&mut at, it.end_offset) == it.base_offset;
        if !old.iter().all(joins) {
            return Ok(None);
        }
        let (removed, kept) = old.split_at(expirable(&old, older_than));
        // The youngest record remains. The oldest one that does is of a segment with older records, if one stays.
        let min = match times_of(kept) {
            Some((min, _)) => min,
            None => self.oldest_from(snapshot, id, state, older_than).await?,
        };
        let times = min.zip(state.max_timestamp);
        let times = times.map(|(min, max)| (Some(min), max));
        let Some(after) = without(state, removed, times) else {
            return Ok(None);
        };
        Ok(min.map(|_| PartitionExpiry {
            id: id.clone(),
            before: state.clone(),
            after,
            removed: removed.to_vec(),
            next: kept.first().cloned(),
            last_record: None,
        }))
    }

    /// Finds the smallest timestamp of the segments that have none before `from`, which are read in the order of time.
    async fn oldest_from(
        &self,
        snapshot: &Snapshot,
        id: &PartitionId,
        state: &PartitionState,
        from: i64,
    ) -> Result<Option<i64>> {
        let last = state.max_timestamp.unwrap_or(from);
        let mut span = FIRST_SPAN_MS;
        loop {
            let to = from.saturating_add(span).min(last);
            let times = from..=to;
            let found = self.segments_of_times(snapshot, id, state, &times);
            let found = times_of(&found.await?).and_then(|(min, _)| min);
            if found.is_some() || to >= last {
                return Ok(found.filter(|min| *min >= from));
            }
            span = span.saturating_mul(8);
        }
    }

    /// Expires what was planned, and returns the sequence of the snapshot that says so; `None` where nothing is old enough.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] if another run has changed one of the partitions since, or the error of the store.
    pub async fn expire(&self, plan: &[PartitionExpiry], upkeep: &Upkeep) -> Result<Option<u64>> {
        let plan: HashMap<PartitionId, &PartitionExpiry> = plan
            .iter()
            .filter(|it| !it.is_empty())
            .map(|it| (it.id.clone(), it))
            .collect();
        if plan.is_empty() {
            return Ok(None);
        }
        let removed = plan.values().flat_map(|expiry| {
            let rows = expiry.removed.iter();
            rows.map(|entry| RowKey::segment(expiry.id.clone(), entry.base_offset))
        });
        let removed: Vec<RowKey> = removed.collect();
        let segments = SegmentChange {
            removed,
            ..SegmentChange::default()
        };
        let committed = self.commit_states(upkeep, &segments, &plan);
        Ok(Some(committed.await?))
    }
}

impl PartitionExpiry {
    fn nothing(id: PartitionId, state: &PartitionState) -> PartitionExpiry {
        PartitionExpiry {
            id,
            before: state.clone(),
            after: state.clone(),
            removed: Vec::new(),
            next: None,
            last_record: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use object_store::memory::InMemory;

    use super::*;
    use crate::TimestampType;
    use crate::repo::change::Change;
    use crate::repo::id::{Hex, Id};
    use crate::repo::identity::Identity;
    use crate::repo::keys::Key;
    use crate::repo::sealed::Digested;
    use crate::repo::segment_hash::SegmentHash;
    use crate::repo::store::Store;
    use crate::repo::testing;
    use crate::repo::testing::change::{partition_change, topic_change};

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
                blake3: SegmentHash(Hex([3; 32])),
                base_offset,
                end_offset: base_offset + 10,
                min_timestamp: Some(time_or_none),
                max_timestamp: time_or_none,
                min_known_timestamp: time.filter(|time| *time != -1),
                records: if time.is_some() { 9 } else { 0 },
                raw_bytes: 100,
                timestamp_type: TimestampType::CreateTime,
                content_digest: Some(Id::ZERO),
                rendered: None,
                whole_lines: None,
                key_filter: false,
                batches: false,
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
            .map(|(from, to)| LostRange::deleted(from, to))
            .into();
        let expiry = PartitionExpiry::of(id(), &state, &all, 50).unwrap();
        assert_eq!(
            (expiry.segments(), expiry.records(), expiry.bytes()),
            (2, 18, 32)
        );
        assert_eq!((expiry.last(), expiry.times()), (None, Some((Some(5), 6))));
        (&expiry).edit(&mut state, 8, &upkeep()).unwrap();
        assert_eq!(state.check().and(state.check_lost()), Ok(()));
        assert_eq!(state.difference(&all[2..]), None);
        let left = [(20, 25), (31, 33)].map(|(from, to)| LostRange::deleted(from, to));
        assert_eq!(state.lost, left);
        assert!(matches!(
            (&expiry).edit(&mut state, 9, &upkeep()),
            Err(RepoErrorKind::Outdated)
        ));

        // The rest, later: the sums are those of both.
        let expiry = PartitionExpiry::of(id(), &state, &all[2..], 1_000).unwrap();
        assert_eq!(expiry.last(), all.last());
        (&expiry).edit(&mut state, 9, &upkeep()).unwrap();
        assert_eq!(state.check().and(state.check_lost()), Ok(()));
        assert_eq!((state.base_offset, state.end_offset), (40, 40));
        let expired = state.expired.unwrap();
        let found = (expired.base_offset, expired.segments, expired.records);
        assert_eq!((found, expired.snapshot), ((0, 4, 36), 9));
    }

    #[test]
    fn the_last_segment_is_kept_where_its_last_record_cannot_be_read() {
        let all = segments(&[Some(5), None, Some(6), None]);
        let state = stored(&all);
        let mut expiry = PartitionExpiry::of(id(), &state, &all, 50).unwrap();
        assert_eq!((expiry.segments(), expiry.last()), (3, Some(&all[2])));
        expiry.keep_last();
        assert_eq!(
            (expiry.segments(), expiry.next.as_ref()),
            (1, Some(&all[2]))
        );
        let mut state = state;
        (&expiry).edit(&mut state, 8, &upkeep()).unwrap();
        assert_eq!(state.check(), Ok(()));
        assert_eq!(state.difference(&all[1..]), None);
    }

    type Base = Option<Digested<Snapshot>>;

    fn change(base: &Base, segments: &[SegmentEntry]) -> Change {
        let partition = partition_change(0.into(), 100, segments.to_vec());
        testing::change::change(base.clone(), vec![topic_change(&id(), vec![partition])])
    }

    /// A repository whose snapshot 1 has the first three of these segments.
    async fn repository(segments: &[SegmentEntry]) -> (Repository, Base) {
        let store = Store::new(Arc::new(InMemory::new()), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        let first = &segments[..segments.len().min(3)];
        let base = repository.commit(&change(&None, first)).await;
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

    /// Makes the segments of every sequence of these kinds: without records, without timestamps, old, young, and both.
    fn kinds(length: u32) -> impl Iterator<Item = Vec<SegmentEntry>> {
        let kinds = [None, Some(-1), Some(5), Some(60), Some(61)];
        (0..5usize.pow(length)).map(move |number| {
            let digit = |at: u32| number / 5usize.pow(at) % 5;
            let times: Vec<_> = (0..length).map(|at| kinds[digit(at)]).collect();
            let mut segments = segments(&times);
            for segment in segments.iter_mut().filter(|it| it.max_timestamp == 61) {
                segment.min_timestamp = Some(5);
                segment.min_known_timestamp = Some(5);
            }
            segments
        })
    }

    #[tokio::test]
    async fn a_plan_from_some_tables_is_that_from_all() {
        for all in kinds(4) {
            let (repository, mut base) = repository(&all[..1]).await;
            for at in 1..all.len() {
                let next = repository.commit(&change(&base, &all[at..=at])).await;
                base = Some(next.unwrap());
            }
            let base = base.unwrap();
            let state = base.partition(&id()).unwrap();
            let expected = PartitionExpiry::of(id(), state, &all, 50).unwrap();
            let plan = repository.plan_expiry(&base, id(), state, 50);
            let plan = plan.await.unwrap();
            assert_eq!(plan.removed, expected.removed, "{all:?}");
            if !plan.is_empty() {
                assert_eq!(plan.after, expected.after, "{all:?}");
            }
            if expected.after.min_timestamp.is_some_and(|min| min < 50) {
                assert_eq!(plan.next, expected.next, "{all:?}");
            }
        }
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
    async fn a_backup_appends_after_any_number_of_expiries() {
        let all = segments(&[Some(5), Some(6), Some(70), Some(80)]);
        let (repository, base) = repository(&all).await;
        assert_eq!(expire(&repository, 6).await, Some(2));
        assert_eq!(expire(&repository, 50).await, Some(3));
        assert_eq!(expire(&repository, 50).await, None);
        repository.commit(&change(&base, &all[3..])).await.unwrap();
        let (state, segments) = stored_now(&repository).await;
        assert_eq!((state.base_offset, &segments[..]), (20, &all[2..]));
        // Another backup was faster.
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
