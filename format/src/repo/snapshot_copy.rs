//! Commits a copy of a snapshot of another repository (SPEC section 11.11).
//!
//! The order of writes is that of every commit: segments, which are durable before, then groups, ACLs and tables, then the snapshot.
//! Where the snapshot's number is not the next one, a reservation is committed in between.
//!
//! | a crash | leaves |
//! |---|---|
//! | before the snapshot | segments that the next copy takes over, and objects that only a prune removes |
//! | after the reservation | a snapshot that holds what the one before it holds, and whose successor has the number |
//! | after the snapshot | the object of the reservation, which readers do not see |

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use super::acls::{Acls, AclsRef};
use super::change::{Applied, StoredAnswers};
use super::commit::Published;
use super::error::{RepoError, RepoErrorKind, Result};
use super::groups::{Groups, GroupsRef};
use super::id::{Hex, Id};
use super::incomplete::Incomplete;
use super::index::Row;
use super::index_writer::IndexWriter;
use super::keys::{Key, PartitionId, TopicName};
use super::manifest::{Maintenance, Manifest, ParentRef, Totals};
use super::origin::Origin;
use super::ranges;
use super::repository::Repository;
use super::retention::Upkeep;
use super::sealed::Digested;
use super::segment_entry::SegmentEntry;
use super::snapshot::Snapshot;
use super::state_rows::{changed_rows, check_states};
use super::states::{LostRange, PartitionState, TopicState};
use crate::layout::limits;

/// A pending commit: a snapshot of another repository, and what of it is new here.
#[derive(Clone, Debug)]
pub struct SnapshotCopy {
    /// The newest snapshot of this repository, which the copy follows.
    pub base: Option<Digested<Snapshot>>,
    /// Sequence of the newest snapshot of this repository before the run wrote anything; 0 where there was none.
    pub read_after: u64,
    /// The snapshot of the other repository.
    pub origin: Arc<Digested<Snapshot>>,
    /// The topics of the origin that are copied.
    pub topics: BTreeSet<(TopicName, Id)>,
    /// The partitions of these that have new segments, or cannot be copied in full.
    pub partitions: BTreeMap<PartitionId, CopiedPartition>,
    /// The groups of the origin; `None` where those of the base stay.
    pub groups: Option<Groups>,
    /// The ACLs of the origin; `None` where those of the base stay.
    pub acls: Option<Acls>,
    /// Program and version.
    pub writer: String,
    /// The present time.
    pub now: Timestamp,
}

/// What is new of a partition.
#[derive(Clone, Debug, Default)]
pub struct CopiedPartition {
    /// Segments of the origin, which are durable here too, in offset order.
    pub segments: Vec<SegmentEntry>,
    /// Why the partition ends before that of the origin; `None` if it does not.
    pub incomplete: Option<Incomplete>,
}

impl SnapshotCopy {
    /// Returns the offset from which on segments of a partition are copied.
    #[must_use]
    pub fn start(before: Option<&PartitionState>, origin: &PartitionState) -> i64 {
        match before {
            Some(before) if !begins_anew(before, origin) => before.end_offset,
            _ => origin.base_offset,
        }
    }

    fn stored(&self) -> impl Iterator<Item = &SegmentEntry> {
        self.partitions.values().flat_map(|copied| &copied.segments)
    }

    /// Builds the snapshot that follows `newest`: the base, or the reservation that follows it.
    fn apply(
        &self,
        repository_id: Id,
        newest: Option<&Digested<Snapshot>>,
        sequence: u64,
        stored: &StoredAnswers,
    ) -> std::result::Result<Applied, String> {
        let carried_over = newest.map_or(&[][..], |newest| &newest.topics);
        let topics = self.apply_topics(carried_over, sequence)?;
        check_states(&topics)?;
        let mut rows = changed_rows(carried_over, &topics);
        // In the order of keys: rows about segments are after all states.
        let mut segments: Vec<Row> = self.segment_rows().collect();
        segments.sort_by_cached_key(Row::key);
        rows.append(&mut segments);
        let before = newest.map(|newest| &newest.manifest);
        let origin = &self.origin.value.manifest;
        let copied = Origin {
            repository_id: origin.repository_id,
            sequence: origin.sequence,
            backup: origin.backup(),
            sha256: self.origin.sha256,
        };
        let manifest = Manifest {
            repository_id,
            sequence,
            parent: newest.map(|newest| ParentRef {
                sequence: newest.sequence,
                sha256: newest.sha256,
            }),
            nonce: Id::random(),
            started_at: origin.started_at,
            created_at: origin.created_at,
            // What committed the origin's snapshot has done nothing here: an expiry there removes nothing.
            maintenance: None,
            origin: Some(copied.clone()),
            next: None,
            writer: self.writer.clone(),
            cluster_id: origin.cluster_id.clone(),
            totals: Totals::of(&topics, Some(&copied)),
            sightings: origin.sightings.clone(),
            runs: before.map_or_else(Vec::new, |before| before.runs.clone()),
            groups: self
                .groups(stored)
                .or_else(|| before.and_then(|before| before.groups.clone())),
            acls: self
                .acls(stored)
                .or_else(|| before.and_then(|before| before.acls.clone())),
            forgotten: before.map_or_else(Vec::new, Manifest::forgotten_by_next),
            pruning: before.and_then(|before| before.pruning.clone()),
            pruned: before.map_or(0, |before| before.pruned),
        };
        let snapshot = Snapshot { manifest, topics };
        Ok(Applied { snapshot, rows })
    }

    fn segment_rows(&self) -> impl Iterator<Item = Row> {
        self.partitions.iter().flat_map(|(id, copied)| {
            let row = |entry: &SegmentEntry| Row::Segment(id.clone(), Box::new(entry.clone()));
            copied.segments.iter().map(row)
        })
    }

    fn groups(&self, stored: &StoredAnswers) -> Option<GroupsRef> {
        let (groups, object) = self.groups.as_ref().zip(stored.groups)?;
        Some(GroupsRef {
            seen: groups.seen,
            read_after: groups.read_after,
            taken_at: groups.taken_at,
            groups: groups.groups.len() as u64,
            object,
        })
    }

    fn acls(&self, stored: &StoredAnswers) -> Option<AclsRef> {
        let (acls, object) = self.acls.as_ref().zip(stored.acls)?;
        Some(AclsRef {
            seen: acls.seen,
            read_after: acls.read_after,
            taken_at: acls.taken_at,
            authorizer: acls.authorizer,
            left_out: acls.left_out,
            acls: acls.acls.len() as u64,
            object,
        })
    }

    fn apply_topics(
        &self,
        carried_over: &[TopicState],
        sequence: u64,
    ) -> std::result::Result<Vec<TopicState>, String> {
        let id_of = |topic: &TopicState| (topic.name.clone(), topic.topic_id);
        let before: BTreeMap<(TopicName, Id), &TopicState> = carried_over
            .iter()
            .map(|topic| (id_of(topic), topic))
            .collect();
        let copied = self.origin.topics.iter();
        let copied = copied.filter(|topic| self.topics.contains(&id_of(topic)));
        let mut topics = Vec::new();
        for origin in copied {
            let before = before.get(&id_of(origin)).copied();
            topics.push(self.apply_topic(before, origin, sequence)?);
        }
        let ids: BTreeSet<(TopicName, Id)> = topics.iter().map(id_of).collect();
        let live = topics.iter().filter(|topic| !topic.deleted);
        let live: BTreeSet<TopicName> = live.map(|topic| topic.name.clone()).collect();
        for topic in carried_over.iter().filter(|it| !ids.contains(&id_of(it))) {
            topics.push(TopicState {
                sighting: topic.sighting.filter(|id| self.has_sighting(*id, topic)),
                deleted: topic.deleted || live.contains(&topic.name),
                ..topic.clone()
            });
        }
        topics.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(topics)
    }

    /// Returns whether a topic that is carried over was last seen when the origin says that the topics of a sighting were.
    fn has_sighting(&self, id: u64, topic: &TopicState) -> bool {
        let mut sightings = self.origin.sightings.iter();
        sightings.any(|sighting| sighting.id == id && sighting.last_seen == topic.last_seen)
    }

    fn apply_topic(
        &self,
        before: Option<&TopicState>,
        origin: &TopicState,
        sequence: u64,
    ) -> std::result::Result<TopicState, String> {
        let stored = before.map_or(&[][..], |before| &before.partitions);
        let mut partitions = Vec::new();
        for state in &origin.partitions {
            let id = origin.partition_id(state.partition);
            let before = stored.get(state.partition.index());
            let applied = match self.partitions.get(&id) {
                Some(copied) => copied.apply(before, state, sequence),
                None => CopiedPartition::default().apply(before, state, sequence),
            };
            partitions.push(applied.map_err(|detail| format!("{id}: {detail}"))?);
        }
        partitions.extend(stored.iter().skip(partitions.len()).cloned());
        Ok(TopicState {
            partitions,
            ..origin.clone()
        })
    }
}

impl CopiedPartition {
    fn apply(
        &self,
        before: Option<&PartitionState>,
        origin: &PartitionState,
        sequence: u64,
    ) -> std::result::Result<PartitionState, String> {
        let mut state = match before {
            Some(before) if !begins_anew(before, origin) => before.clone(),
            _ => begun_anew(before, origin, sequence),
        };
        let start = state.end_offset;
        state.continue_with(&self.segments, sequence)?;
        let (end, expected) = (state.end_offset, origin.end_offset);
        if end != expected && self.incomplete.is_none() {
            return Err(format!("its copy ends at offset {end}, not at {expected}"));
        }
        if !self.segments.is_empty() {
            state.compacted.clone_from(&origin.compacted);
        }
        state.lost.extend(clipped(&origin.lost, start..end));
        state.log_start_offset = origin.log_start_offset;
        state.high_watermark = origin.high_watermark;
        state.last_stable_offset = origin.last_stable_offset;
        let incomplete = self.incomplete.as_ref().or(origin.incomplete.as_ref());
        state.incomplete = incomplete.cloned();
        // What the origin lost of it may be intact here.
        state.state_damage();
        Ok(state)
    }
}

/// Returns whether what is stored of a partition says nothing about where its copy begins: nothing ever was, or all of it was expired, and
/// the origin has expired more. An origin that begins later and has expired nothing is not the one that was copied.
fn begins_anew(before: &PartitionState, origin: &PartitionState) -> bool {
    let has_expired_more = origin.expired.is_some() && origin.base_offset > before.end_offset;
    before.segments == 0 && (before.expired.is_none() || has_expired_more)
}

fn begun_anew(
    before: Option<&PartitionState>,
    origin: &PartitionState,
    sequence: u64,
) -> PartitionState {
    let mut changes = before
        .map(|before| before.changes.clone())
        .unwrap_or_default();
    if origin.expired.is_some() {
        changes.record(sequence);
    }
    PartitionState {
        expired: origin.expired.clone(),
        compacted: origin.compacted.clone(),
        changes,
        // Of snapshots of this repository, whatever is damaged in the origin.
        damaged_in: before.map(|it| it.damaged_in.clone()).unwrap_or_default(),
        ..PartitionState::empty(origin.partition, origin.base_offset)
    }
}

fn clipped(lost: &[LostRange], to: Range<i64>) -> impl Iterator<Item = LostRange> {
    let within = lost.iter().map(move |lost| LostRange {
        from: lost.from.max(to.start),
        to: lost.to.min(to.end),
        cause: lost.cause,
    });
    within.filter(|lost| lost.from < lost.to)
}

impl Repository {
    /// Returns what the commit of a copy would make of its base, without writing anything.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Refused`], with the rule that the snapshot would violate.
    pub fn preview_copy(&self, copy: &SnapshotCopy) -> Result<Digested<Snapshot>> {
        let stored = StoredAnswers {
            groups: copy.origin.groups.as_ref().map(|groups| groups.object),
            acls: copy.origin.acls.as_ref().map(|acls| acls.object),
        };
        let following = copy.base.as_ref().map_or(1, |base| base.following());
        let sequence = following.max(copy.origin.sequence);
        let id = self.identity().repository_id;
        let applied = copy.apply(id, copy.base.as_ref(), sequence, &stored);
        let applied = applied.map_err(|detail| self.refused_copy(detail))?;
        Ok(Digested {
            value: applied.snapshot,
            sha256: Hex([0; 32]),
        })
    }

    /// Makes the names of segments durable that the newest snapshot names already, and that a copy has written again.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn sync_segments(&self, keys: impl IntoIterator<Item = String>) -> Result<()> {
        self.store().sync_folders(keys).await
    }

    fn refused_copy(&self, detail: String) -> RepoError {
        let kind = RepoErrorKind::Refused { detail };
        self.store().error_of_whole(kind)
    }

    /// Commits a copy, whose segments are already durable, and returns its snapshot.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] if another writer has committed since the base: look at its snapshot and plan again. After any error
    /// what was committed before is as it was, and the copy can be repeated. Only if the store could not be read either, the commit may have
    /// taken effect all the same.
    pub async fn commit_copy(&self, copy: &SnapshotCopy) -> Result<Digested<Snapshot>> {
        // Segments before the tables that name them, tables before the snapshot.
        let keys: Vec<String> = copy.stored().map(|segment| segment.key.clone()).collect();
        self.store().sync_folders(keys).await?;
        let following = copy.base.as_ref().map_or(1, |base| base.following());
        let (newest, reserved) = match following < copy.origin.sequence {
            true => {
                let reservation = self.reserve(copy).await?;
                let sequence = reservation.sequence;
                (Some(reservation), Some(sequence))
            }
            false => (copy.base.clone(), None),
        };
        let before = newest.as_ref().map(|newest| &newest.manifest);
        let groups = copy.groups.as_ref().map(|groups| &*groups.groups);
        let acls = copy.acls.as_ref().map(|acls| &*acls.acls);
        let stored = self.store_answers(groups, acls, before).await?;
        let sequence = newest.as_ref().map_or(1, |newest| newest.following());
        let id = self.identity().repository_id;
        let applied = copy.apply(id, newest.as_ref(), sequence, &stored);
        let Applied { mut snapshot, rows } = applied.map_err(|detail| self.refused_copy(detail))?;
        let mut gone: BTreeSet<u64> = reserved.into_iter().collect();
        gone.extend(before.filter(|it| it.next.is_some()).map(|it| it.sequence));
        let forgotten = ranges::with(&snapshot.manifest.forgotten, &gone);
        if forgotten.len() <= limits::FORGOTTEN_RANGES {
            snapshot.manifest.forgotten = forgotten;
        } else {
            gone.clear();
        }
        let mut index = IndexWriter::new(self.clone());
        let runs = std::mem::take(&mut snapshot.manifest.runs);
        snapshot.manifest.runs = index.write(runs, sequence, &rows).await?;
        self.check_prunes(copy.stored(), copy.read_after, before)
            .await?;
        let written = index.written().map(|key| key.to_string());
        self.store().sync_folders(written).await?;
        let totals = snapshot.check_totals();
        let none = BTreeSet::new();
        let put = self.put_snapshot(&snapshot.manifest, &none, totals);
        let Published::Ours(sha256) = put.await? else {
            return Err(self.store().error_of_whole(RepoErrorKind::Outdated));
        };
        for sequence in gone {
            // The commit is done, and says that they do not exist; whoever forgets or prunes next removes what is left.
            let _ = self.store().remove(&Key::Snapshot { sequence }).await;
        }
        let value = snapshot;
        Ok(Digested { value, sha256 })
    }

    /// Commits a snapshot that holds what the base holds, and that the origin's number follows.
    async fn reserve(&self, copy: &SnapshotCopy) -> Result<Digested<Snapshot>> {
        let number = copy.origin.sequence;
        let upkeep = Upkeep {
            command: "copy".to_owned(),
            detail: format!("the copy of snapshot {number} follows"),
            writer: copy.writer.clone(),
            now: copy.now,
        };
        let mut manifest = match &copy.base {
            Some(base) => upkeep.follow(&Digested {
                value: base.manifest.clone(),
                sha256: base.sha256,
            }),
            None => self.nothing(&upkeep),
        };
        manifest.next = (number > manifest.following()).then_some(number);
        let none = BTreeSet::new();
        let put = self.put_snapshot(&manifest, &none, Ok(()));
        let Published::Ours(sha256) = put.await? else {
            return Err(self.store().error_of_whole(RepoErrorKind::Outdated));
        };
        let topics = copy.base.as_ref().map(|base| base.topics.clone());
        let value = Snapshot {
            manifest,
            topics: topics.unwrap_or_default(),
        };
        Ok(Digested { value, sha256 })
    }

    /// Creates the first snapshot of a repository, which holds nothing.
    fn nothing(&self, upkeep: &Upkeep) -> Manifest {
        Manifest {
            repository_id: self.identity().repository_id,
            sequence: 1,
            parent: None,
            nonce: Id::random(),
            started_at: upkeep.now,
            created_at: upkeep.now,
            maintenance: Some(Maintenance {
                command: upkeep.command.clone(),
                detail: upkeep.detail.clone(),
                at: upkeep.now,
                backup: 0,
            }),
            origin: None,
            next: None,
            writer: upkeep.writer.clone(),
            cluster_id: None,
            totals: Totals::default(),
            sightings: Vec::new(),
            runs: Vec::new(),
            groups: None,
            acls: None,
            forgotten: Vec::new(),
            pruning: None,
            pruned: 0,
        }
    }
}
