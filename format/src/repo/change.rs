//! What one backup run found and stored, and how the next snapshot follows from the one before. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::acls::{AclBinding, AclsRef};
use super::error::RepoErrorKind;
use super::groups::{GroupState, GroupsRef};
use super::id::Id;
use super::incomplete::Incomplete;
use super::index::Row;
use super::keys::{PartitionId, TopicName};
use super::manifest::{Manifest, ParentRef, Totals};
use super::packed::PackedRef;
use super::passed_over::{CarriedOver, PassedOver};
use super::sealed::Digested;
use super::segment_entry::{SegmentEntry, check_joined};
use super::sightings::sight;
use super::snapshot::Snapshot;
use super::state_rows::{changed_rows, check_states};
use super::states::{LostRange, PartitionState, TopicState};
use crate::PartitionNumber;

/// A pending commit: what is new since the snapshot it started from.
///
/// It leaves out topics that the run did not look at, so it also applies to a later snapshot,
/// as long as no other writer changed the same partitions.
#[derive(Clone, Debug)]
pub struct Change {
    /// The newest snapshot when the run began; every partition resumes where it ends there.
    pub base: Option<Digested<Snapshot>>,
    /// Sequences of damaged snapshots that are neither the base nor its successors. They stay as they are.
    pub ignored: BTreeSet<u64>,
    /// Sequence of the newest snapshot before the run asked the cluster anything; 0 where there was none. Whatever a snapshot with
    /// a higher sequence states may be newer than what this run found.
    pub read_after: u64,
    /// A random value, new for each commit.
    pub nonce: Id,
    /// When the offsets were read.
    pub started_at: Timestamp,
    /// When the snapshot was created.
    pub created_at: Timestamp,
    /// Program and version.
    pub writer: String,
    /// Kafka's id of the cluster, where it gave one.
    pub cluster_id: Option<String>,
    /// The topics that the run looked at and found.
    pub topics: Vec<TopicChange>,
    /// Topics of the base that the run looked for and that the cluster no longer has.
    pub gone: Vec<(TopicName, Id)>,
    /// Topics of the base that the run looked for, and of which the cluster did not report whether it still has them.
    pub unseen: Vec<UnseenTopic>,
    /// The consumer groups, if the run read them and the cluster reported all.
    pub groups: Option<FoundGroups>,
    /// The ACLs, if the run read them and the cluster reported them.
    pub acls: Option<FoundAcls>,
}

/// The consumer groups of a cluster.
#[derive(Clone, Debug)]
pub struct FoundGroups {
    /// When they were read.
    pub taken_at: Timestamp,
    /// Ordered by `group`.
    pub groups: Arc<[GroupState]>,
}

/// The ACLs of a cluster.
#[derive(Clone, Debug)]
pub struct FoundAcls {
    /// When they were read.
    pub taken_at: Timestamp,
    /// Whether the cluster has an authorizer.
    pub authorizer: bool,
    /// The number of bindings that the backup cannot represent.
    pub left_out: u64,
    /// All others, in order.
    pub acls: Arc<[AclBinding]>,
}

/// A topic of the base about which the cluster reported nothing.
#[derive(Clone, Debug)]
pub struct UnseenTopic {
    /// The name.
    pub name: TopicName,
    /// Its id in the base.
    pub topic_id: Id,
    /// Why it may lack records from now on.
    pub incomplete: Incomplete,
}

/// A topic as the cluster described it.
#[derive(Clone, Debug)]
pub struct TopicChange {
    /// The name.
    pub name: TopicName,
    /// The history that the cluster's topic continues, or begins; see [`TopicState::topic_id`].
    pub topic_id: Id,
    /// Kafka's topic id; `None` where the cluster gave none.
    pub kafka_id: Option<Id>,
    /// Whether it is one of Kafka's own topics.
    pub internal: bool,
    /// Replicas of each partition.
    pub replication_factor: i32,
    /// Every value that is not the broker's default; `None` where the cluster did not report them, so that those that were saved
    /// before are kept.
    pub config: Option<BTreeMap<String, String>>,
    /// Every partition of the topic.
    pub partitions: Vec<PartitionChange>,
}

/// A partition as the cluster described it, and what was stored of it.
#[derive(Clone, Debug)]
pub struct PartitionChange {
    /// The partition.
    pub partition: PartitionNumber,
    /// The log start offset of the source when the run began; -1 if it did not state one, so that the one before is kept.
    pub log_start_offset: i64,
    /// The high watermark of the source when the run began; -1 as above.
    pub high_watermark: i64,
    /// The last stable offset of the source when the run began; -1 as above.
    pub last_stable_offset: i64,
    /// Why records that the source had are missing; `None` if none is.
    pub incomplete: Option<Incomplete>,
    /// New segments, already durable, in offset order. The first one begins where the base ends;
    /// in a partition that the base does not have, anywhere.
    pub segments: Vec<SegmentEntry>,
    /// Ranges inside the new segments that the source had deleted before they were read.
    pub lost: Vec<LostRange>,
}

/// Where the groups and ACLs that the run read are stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredAnswers {
    pub(super) groups: Option<PackedRef>,
    pub(super) acls: Option<PackedRef>,
}

/// The snapshot that follows from a change.
#[derive(Debug)]
pub(super) struct Applied {
    /// With the runs of the snapshot before it.
    pub(super) snapshot: Snapshot,
    /// The rows that differ from those of the snapshot before it, in the order of their keys.
    pub(super) rows: Vec<Row>,
}

type Topics = BTreeMap<(TopicName, Id), TopicState>;

impl Change {
    /// Iterates over the partitions that have new segments, with these.
    pub(super) fn stored(&self) -> impl Iterator<Item = (PartitionId, &[SegmentEntry])> {
        self.topics.iter().flat_map(|topic| {
            let stored = topic.partitions.iter().filter(|p| !p.segments.is_empty());
            stored.map(|p| (topic.partition_id(p.partition), p.segments.as_slice()))
        })
    }

    /// Builds the snapshot that follows `newest`, which is the base or a later one.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Conflict`] where a partition with new segments is not in `newest` as it
    /// was in the base.
    pub(super) fn apply(
        &self,
        repository_id: Id,
        newest: Option<&Digested<Snapshot>>,
        passed_over: Option<&PassedOver>,
        stored: &StoredAnswers,
    ) -> Result<Applied, RepoErrorKind> {
        let before = newest.map(|newest| &newest.manifest);
        let CarriedOver {
            following: sequence,
            forgotten,
            pruning,
            pruned,
        } = match passed_over {
            Some(passed_over) => passed_over.carried_over(before),
            None => CarriedOver::of(before),
        };
        let carried_over = newest.map_or(&[][..], |newest| &newest.topics);
        let mut topics: Topics = carried_over
            .iter()
            .map(|topic| ((topic.name.clone(), topic.topic_id), topic.clone()))
            .collect();
        for gone in &self.gone {
            self.apply_gone(gone, &mut topics);
        }
        for unseen in &self.unseen {
            self.apply_unseen(unseen, &mut topics);
        }
        for found in &self.topics {
            self.apply_topic(found, sequence, &mut topics)?;
        }
        let mut topics: Vec<TopicState> = topics.into_values().collect();
        topics.sort_by(|a, b| a.order().cmp(&b.order()));
        check_states(&topics).map_err(|detail| RepoErrorKind::Refused { detail })?;
        let sightings = before.map_or(&[][..], |before| &before.sightings);
        let sightings = sight(sightings, &mut topics, sequence, self.started_at);
        let mut rows = changed_rows(carried_over, &topics);
        // In the order of keys: rows about segments are after all states.
        let mut segments: Vec<Row> = self.segment_rows().collect();
        segments.sort_by_cached_key(Row::key);
        rows.append(&mut segments);
        let manifest = Manifest {
            repository_id,
            sequence,
            parent: newest.map(|newest| ParentRef {
                sequence: newest.sequence,
                sha256: newest.sha256,
            }),
            nonce: self.nonce,
            started_at: self.started_at,
            created_at: self.created_at,
            maintenance: None,
            origin: None,
            next: None,
            writer: self.writer.clone(),
            cluster_id: self.cluster_id.clone(),
            totals: Totals::of(&topics, None),
            sightings,
            runs: before.map_or_else(Vec::new, |before| before.runs.clone()),
            groups: self.apply_groups(sequence, before, stored.groups),
            acls: self.apply_acls(sequence, before, stored.acls),
            forgotten,
            pruning,
            pruned,
        };
        let snapshot = Snapshot { manifest, topics };
        Ok(Applied { snapshot, rows })
    }

    fn segment_rows(&self) -> impl Iterator<Item = Row> {
        self.stored().flat_map(|(id, segments)| {
            let row = move |entry: &SegmentEntry| Row::Segment(id.clone(), Box::new(entry.clone()));
            segments.iter().map(row)
        })
    }

    fn apply_groups(
        &self,
        sequence: u64,
        before: Option<&Manifest>,
        stored: Option<PackedRef>,
    ) -> Option<GroupsRef> {
        let found = self.groups.as_ref().zip(stored);
        let found = found.map(|(found, object)| GroupsRef {
            seen: sequence,
            read_after: self.read_after,
            taken_at: found.taken_at,
            groups: found.groups.len() as u64,
            object,
        });
        let carried_over = before.and_then(|before| before.groups.as_ref());
        read_last(found, carried_over, |groups| groups.read_after)
    }

    fn apply_acls(
        &self,
        sequence: u64,
        before: Option<&Manifest>,
        stored: Option<PackedRef>,
    ) -> Option<AclsRef> {
        let found = self.acls.as_ref().zip(stored);
        let found = found.map(|(found, object)| AclsRef {
            seen: sequence,
            read_after: self.read_after,
            taken_at: found.taken_at,
            authorizer: found.authorizer,
            left_out: found.left_out,
            acls: found.acls.len() as u64,
            object,
        });
        let carried_over = before.and_then(|before| before.acls.as_ref());
        read_last(found, carried_over, |acls| acls.read_after)
    }

    /// Marks a topic as deleted, unless another run may have seen it since.
    fn apply_gone(&self, gone: &(TopicName, Id), topics: &mut Topics) {
        if let Some(topic) = topics.get_mut(gone)
            && topic.last_seen <= self.read_after
        {
            topic.deleted = true;
        }
    }

    /// Marks a topic's partitions as incomplete, unless another run has seen the topic since the base. Of a history that was to be begun and is not
    /// there, those of the one that it was to follow.
    fn apply_unseen(&self, unseen: &UnseenTopic, topics: &mut Topics) {
        let id = (unseen.name.clone(), unseen.topic_id);
        let found = match topics.contains_key(&id) {
            true => topics.get_mut(&id),
            false => topics
                .values_mut()
                .find(|topic| topic.name == unseen.name && !topic.deleted),
        };
        if let Some(topic) = found
            && topic.last_seen <= self.read_after
        {
            for state in &mut topic.partitions {
                state.incomplete = Some(unseen.incomplete.clone());
            }
        }
    }

    fn apply_topic(
        &self,
        found: &TopicChange,
        sequence: u64,
        topics: &mut Topics,
    ) -> Result<(), RepoErrorKind> {
        let id = (found.name.clone(), found.topic_id);
        let before = topics.remove(&id);
        let first_seen = before.as_ref().map_or(sequence, |topic| topic.first_seen);
        let saved_config = before.as_ref().and_then(|topic| topic.config.clone());
        let sighting = before.as_ref().and_then(|topic| topic.sighting);
        let mut partitions: BTreeMap<PartitionNumber, PartitionState> = before
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .map(|state| (state.partition, state))
            .collect();
        for change in &found.partitions {
            let partition = found.partition_id(change.partition);
            let before = partitions.get(&change.partition);
            self.check_conflict(&partition, change, before)?;
            let joins = change.check_joins(before);
            joins.map_err(|detail| RepoErrorKind::Refused {
                detail: format!("{partition}: {detail}"),
            })?;
            let state = change.apply(before, sequence);
            partitions.insert(change.partition, state);
        }
        let topic = TopicState {
            name: found.name.clone(),
            topic_id: found.topic_id,
            kafka_id: found.kafka_id,
            first_seen,
            last_seen: sequence,
            sighting,
            deleted: self.delete_namesakes(found, topics),
            internal: found.internal,
            replication_factor: found.replication_factor,
            config: found.config.clone().or(saved_config),
            partitions: partitions.into_values().collect(),
        };
        topics.insert(id, topic);
        Ok(())
    }

    /// Marks other topics of this name as deleted: a cluster has only one of a name. But if another run
    /// may have found one since, then `found` may be the deleted one: returns whether that is so.
    /// If that is wrong, the next backup corrects it.
    fn delete_namesakes(&self, found: &TopicChange, topics: &mut Topics) -> bool {
        let name = &found.name;
        let namesakes = || (name.clone(), Id::ZERO)..=(name.clone(), Id::MAX);
        let is_newer = |topic: &TopicState| !topic.deleted && topic.first_seen > self.read_after;
        if topics.range(namesakes()).any(|(_, topic)| is_newer(topic)) {
            return true;
        }
        for (_, topic) in topics.range_mut(namesakes()) {
            topic.deleted = true;
        }
        false
    }

    fn check_conflict(
        &self,
        partition: &PartitionId,
        change: &PartitionChange,
        now: Option<&PartitionState>,
    ) -> Result<(), RepoErrorKind> {
        let base = self
            .base
            .as_ref()
            .and_then(|base| base.partition(partition));
        if change.segments.is_empty() || continues(base, now) {
            return Ok(());
        }
        Err(RepoErrorKind::Conflict {
            partition: partition.clone(),
            expected: base.map_or(change.start(), |state| state.end_offset),
            found: now.map_or(change.start(), |state| state.end_offset),
        })
    }
}

/// Returns whether segments that continue a partition as it was can be added to it as it is now.
pub(super) fn continues(base: Option<&PartitionState>, now: Option<&PartitionState>) -> bool {
    // Whoever expires or replaces segments leaves the end as it is.
    let end = |state: &PartitionState| (state.appended, state.end_offset);
    base.map(end) == now.map(end)
}

/// Returns the later answer: another run may have read after this one and committed before it. The clocks of their machines do not
/// decide, since one of them may be wrong.
fn read_last<T: Clone>(
    found: Option<T>,
    carried_over: Option<&T>,
    read_after: impl Fn(&T) -> u64,
) -> Option<T> {
    match (found, carried_over) {
        (Some(found), Some(theirs)) if read_after(theirs) > read_after(&found) => {
            Some(theirs.clone())
        }
        (Some(found), _) => Some(found),
        (None, carried_over) => carried_over.cloned(),
    }
}

impl TopicChange {
    fn partition_id(&self, partition: PartitionNumber) -> PartitionId {
        PartitionId {
            topic: self.name.clone(),
            topic_id: self.topic_id,
            partition,
        }
    }
}

impl PartitionChange {
    /// Returns where the coverage begins of a partition that no snapshot has yet.
    fn start(&self) -> i64 {
        let first = self.segments.first();
        first.map_or(self.log_start_offset.max(0), |segment| segment.base_offset)
    }

    /// Checks that the segments continue what is stored, without a hole.
    fn check_joins(&self, before: Option<&PartitionState>) -> Result<(), String> {
        let has_been = |state: &&PartitionState| state.segments > 0 || state.expired.is_some();
        let stored = before.filter(has_been);
        let end = stored.map_or(self.start(), |state| state.end_offset);
        check_joined(&self.segments, end)
    }

    fn apply(&self, before: Option<&PartitionState>, sequence: u64) -> PartitionState {
        let mut state = before.cloned().unwrap_or_else(|| PartitionState {
            log_start_offset: self.log_start_offset,
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            ..PartitionState::empty(self.partition, self.start())
        });
        if state.log_start_offset < 0 && state.segments == 0 && state.expired.is_none() {
            // Nothing was known of it, so nothing is stored, and the coverage begins only now.
            (state.base_offset, state.end_offset) = (self.start(), self.start());
        }
        if self.high_watermark >= 0 {
            state.log_start_offset = self.log_start_offset;
            state.high_watermark = self.high_watermark;
            state.last_stable_offset = self.last_stable_offset;
        }
        let is_rebuilt = state.is_rebuilt();
        state.incomplete.clone_from(&self.incomplete);
        if is_rebuilt {
            state.state_beginning();
        }
        state.lost.extend(&self.lost);
        // No backup reads again what is damaged.
        state.state_damage();
        for segment in &self.segments {
            state.append(segment, sequence);
        }
        state
    }
}
