//! Commits a snapshot that was built from the segments alone (SPEC section 11.14).
//!
//! The order of writes is that of every commit: segments, which are durable before, then tables, then the snapshot. Every snapshot that cannot be
//! read is passed over, as by a backup that ignores damaged ones: it stays as it is, and its number is not used again.
//!
//! | a crash | leaves |
//! |---|---|
//! | before the snapshot | segments and tables that nothing names: whoever rebuilds again finds the segments |
//! | after it | the rebuilt snapshot |

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::acls::AclsRef;
use super::change::Applied;
use super::commit::Published;
use super::compacted::Compacted;
use super::error::{RepoError, RepoErrorKind, Result};
use super::groups::GroupsRef;
use super::id::Id;
use super::incomplete::{Incomplete, IncompleteReason};
use super::index::Row;
use super::index_writer::IndexWriter;
use super::keys::{Key, PartitionId, SEGMENTS, TopicName};
use super::latest::Latest;
use super::manifest::{Maintenance, Manifest, ParentRef, Totals};
use super::passed_over::{CarriedOver, PassedOver};
use super::repository::Repository;
use super::retention::Upkeep;
use super::sealed::Digested;
use super::segment_entry::SegmentEntry;
use super::snapshot::Snapshot;
use super::state_rows::{changed_rows, check_states};
use super::states::{LostRange, PartitionState, TopicState};
use crate::PartitionNumber;

/// The replication factor of a topic of which nothing states it.
const UNKNOWN_REPLICATION: i32 = -1;

/// A pending commit: what the segments of a repository prove, beside what its newest readable snapshot states.
#[derive(Clone, Debug)]
pub struct Rebuild {
    /// The newest snapshot of which every row can be read; `None` where there is none.
    pub base: Option<Digested<Snapshot>>,
    /// Every other snapshot above it. They stay as they are.
    pub ignored: BTreeSet<u64>,
    /// The highest sequence that is known to have been used.
    pub used: u64,
    /// Whether snapshots after the base are damaged or gone, or there is no base: what the sources had is not known.
    pub is_behind: bool,
    /// The groups of the newest snapshot, the base or a later one, of which they can be read.
    pub groups: Option<GroupsRef>,
    /// The ACLs of the newest one of which they can be.
    pub acls: Option<AclsRef>,
    /// Whether the list of what a prune in progress deletes can be read.
    pub keeps_pruning: bool,
    /// When the newest segment was begun, which is as old as the snapshot is without a base.
    pub newest_segment: Timestamp,
    /// Kafka's id of the cluster, as the segments state it; counts without a base.
    pub cluster_id: Option<String>,
    /// The topics that have something that the base does not.
    pub topics: Vec<RebuiltTopic>,
    /// The topics of the newest snapshot after the base of which these can be read, although other rows of it cannot be.
    pub stated: Vec<TopicState>,
    /// Who commits, and why.
    pub upkeep: Upkeep,
}

/// One history of a topic.
#[derive(Clone, Debug)]
pub struct RebuiltTopic {
    /// The name.
    pub name: TopicName,
    /// Its id, as the names and headers of the segments have it.
    pub topic_id: Id,
    /// Whether it is one of Kafka's own topics.
    pub internal: bool,
    /// When its last segment was begun, in milliseconds since the epoch, as far as headers state it: orders the histories of one name.
    pub written_ms: i64,
    /// What is added to its partitions. All numbers up to the last one exist.
    pub partitions: BTreeMap<PartitionNumber, RebuiltPartition>,
}

/// What is added to a partition.
#[derive(Clone, Debug, Default)]
pub struct RebuiltPartition {
    /// The segments, already durable, in offset order and without a hole. The first one begins where the base ends; in a partition of which the
    /// base has nothing, anywhere.
    pub segments: Vec<SegmentEntry>,
    /// Ranges inside these that are lost.
    pub lost: Vec<LostRange>,
    /// Offsets in these whose records were removed by key.
    pub compacted: u64,
}

impl Rebuild {
    fn stored(&self) -> impl Iterator<Item = (PartitionId, &[SegmentEntry])> {
        self.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|(number, partition)| {
                let id = PartitionId {
                    topic: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition: *number,
                };
                (id, partition.segments.as_slice())
            })
        })
    }

    /// Returns the highest sequence that the new snapshot has to be above, 0 where the base alone decides: besides those that were used, each new
    /// history of a name takes a number of its own as its first_seen, and the backup that they are of has one below.
    fn used(&self) -> u64 {
        let base = self.base.as_ref();
        let mut new: BTreeMap<&TopicName, u64> = BTreeMap::new();
        for topic in &self.topics {
            let known = base.is_some_and(|it| it.topic(&topic.name, topic.topic_id).is_some());
            if !known {
                *new.entry(&topic.name).or_default() += 1;
            }
        }
        let most = new.values().copied().max().unwrap_or(0);
        let base = base.map_or(0, |base| base.sequence);
        let histories = match most {
            0 | 1 => 0,
            more => base.saturating_add(more.saturating_sub(1)),
        };
        match (base, self.used.max(histories)) {
            (0, used) => used.max(1),
            // The next number follows from the base, as in every other commit.
            (base, used) if used <= base => 0,
            (_, used) => used,
        }
    }

    fn apply(
        &self,
        repository_id: Id,
        passed_over: &PassedOver,
    ) -> std::result::Result<Applied, String> {
        let before = self.base.as_ref();
        let manifest = before.map(|before| &before.manifest);
        let CarriedOver {
            following: sequence,
            forgotten,
            pruning,
            pruned,
        } = passed_over.carried_over(manifest);
        let carried_over = before.map_or(&[][..], |before| &before.topics);
        let topics = self.apply_topics(carried_over, sequence)?;
        check_states(&topics)?;
        let mut rows = changed_rows(carried_over, &topics);
        let segments = self.stored().flat_map(|(id, segments)| {
            let row = move |entry: &SegmentEntry| Row::Segment(id.clone(), Box::new(entry.clone()));
            segments.iter().map(row)
        });
        // In the order of keys: rows about segments are after all states.
        let mut segments: Vec<Row> = segments.collect();
        segments.sort_by_cached_key(Row::key);
        rows.append(&mut segments);
        let backup = manifest.map_or(0, Manifest::backup);
        let origin = manifest.and_then(|manifest| manifest.origin.clone());
        let manifest = Manifest {
            repository_id,
            sequence,
            parent: before.map(|before| ParentRef {
                sequence: before.sequence,
                sha256: before.sha256,
            }),
            nonce: Id::random(),
            started_at: manifest.map_or(self.newest_segment, |it| it.started_at),
            created_at: manifest.map_or(self.newest_segment, |it| it.created_at),
            maintenance: Some(Maintenance {
                command: self.upkeep.command.clone(),
                detail: self.upkeep.detail.clone(),
                at: self.upkeep.now,
                // Segments are of a backup, whichever it was: the last number before this one is free, and stays so.
                backup: match backup {
                    0 if !topics.is_empty() => sequence.saturating_sub(1),
                    known => known,
                },
            }),
            totals: Totals::of(&topics, origin.as_ref()),
            origin,
            next: None,
            writer: self.upkeep.writer.clone(),
            cluster_id: match manifest {
                Some(manifest) => manifest.cluster_id.clone(),
                None => self.cluster_id.clone(),
            },
            sightings: manifest.map_or_else(Vec::new, |it| it.sightings.clone()),
            runs: manifest.map_or_else(Vec::new, |it| it.runs.clone()),
            groups: self.groups.clone(),
            acls: self.acls.clone(),
            forgotten,
            pruning: pruning.filter(|_| self.keeps_pruning),
            pruned,
        };
        let snapshot = Snapshot { manifest, topics };
        Ok(Applied { snapshot, rows })
    }

    fn apply_topics(
        &self,
        carried_over: &[TopicState],
        sequence: u64,
    ) -> std::result::Result<Vec<TopicState>, String> {
        let mut topics = carried_over.to_vec();
        let base_ms = self
            .base
            .as_ref()
            .map_or(i64::MIN, |base| base.started_at.as_millisecond());
        let mut new: BTreeMap<&TopicName, Vec<&RebuiltTopic>> = BTreeMap::new();
        for rebuilt in &self.topics {
            let known = topics
                .iter_mut()
                .find(|it| (&it.name, it.topic_id) == (&rebuilt.name, rebuilt.topic_id));
            match known {
                Some(topic) => rebuilt.apply(topic, sequence, &self.upkeep)?,
                None => new.entry(&rebuilt.name).or_default().push(rebuilt),
            }
        }
        for (name, mut histories) in new {
            histories.sort_by_key(|it| (it.written_ms, it.topic_id));
            // What was written before the base, and is not in it, is not what the base's topic was replaced by.
            let is_replaced = histories.last().is_some_and(|it| it.written_ms > base_ms);
            let named = topics.iter_mut().filter(|topic| topic.name == *name);
            if is_replaced {
                named.for_each(|topic| topic.deleted = true);
            }
            let has_live = match is_replaced {
                true => false,
                false => topics.iter().any(|it| it.name == *name && !it.deleted),
            };
            let count = histories.len() as u64;
            for (at, rebuilt) in (1..=count).zip(histories) {
                let first_seen = sequence.saturating_sub(count - at);
                let mut topic = TopicState {
                    name: name.clone(),
                    topic_id: rebuilt.topic_id,
                    kafka_id: (rebuilt.topic_id != Id::ZERO).then_some(rebuilt.topic_id),
                    first_seen,
                    last_seen: sequence,
                    sighting: None,
                    deleted: at < count || has_live,
                    internal: rebuilt.internal,
                    replication_factor: UNKNOWN_REPLICATION,
                    config: None,
                    partitions: Vec::new(),
                };
                rebuilt.apply(&mut topic, sequence, &self.upkeep)?;
                topics.push(topic);
            }
        }
        for topic in &mut topics {
            let mut stated = self.stated.iter();
            if let Some(stated) =
                stated.find(|it| (&it.name, it.topic_id) == (&topic.name, topic.topic_id))
            {
                topic.take_over(stated);
            }
        }
        // Of a deleted topic, too: no backup completes it, and a restore of it must say so.
        for topic in topics.iter_mut().filter(|_| self.is_behind) {
            for state in &mut topic.partitions {
                state.state_rebuilt();
            }
        }
        topics.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(topics)
    }
}

impl TopicState {
    /// Takes over what a later snapshot states of the topic itself. What it states of its partitions is about records that may be gone.
    fn take_over(&mut self, stated: &TopicState) {
        // Of a topic without a segment, nothing else says whether it was deleted.
        let is_empty = |state: &PartitionState| state.segments == 0 && state.expired.is_none();
        if self.partitions.iter().all(is_empty) {
            self.deleted |= stated.deleted;
        }
        if stated.config.is_some() {
            self.config.clone_from(&stated.config);
        }
        if let Some(known) = stated.known_replication_factor() {
            self.replication_factor = known;
        }
        let missing = PartitionNumber::all().take(stated.partitions.len());
        for number in missing.skip(self.partitions.len()) {
            self.partitions.push(PartitionState::empty(number, 0));
        }
    }
}

impl RebuiltTopic {
    fn apply(
        &self,
        topic: &mut TopicState,
        sequence: u64,
        upkeep: &Upkeep,
    ) -> std::result::Result<(), String> {
        let Some(last) = self.partitions.keys().next_back() else {
            return Ok(());
        };
        let missing = PartitionNumber::all().take_while(|number| number <= last);
        for number in missing.skip(topic.partitions.len()) {
            topic.partitions.push(PartitionState::empty(number, 0));
        }
        for state in &mut topic.partitions {
            if let Some(partition) = self.partitions.get(&state.partition) {
                let applied = partition.apply(state, sequence, upkeep);
                let number = state.partition;
                applied.map_err(|detail| format!("{}/{number}: {detail}", self.name))?;
            }
        }
        Ok(())
    }
}

impl RebuiltPartition {
    fn apply(
        &self,
        state: &mut PartitionState,
        sequence: u64,
        upkeep: &Upkeep,
    ) -> std::result::Result<(), String> {
        let has_been = state.segments > 0 || state.expired.is_some();
        if let Some(first) = self.segments.first().filter(|_| !has_been) {
            (state.base_offset, state.end_offset) = (first.base_offset, first.base_offset);
        }
        state.continue_with(&self.segments, sequence)?;
        state.lost.extend(&self.lost);
        state.state_damage();
        if self.compacted > 0 {
            let before = state.compacted_records();
            state.compacted = Some(Box::new(Compacted {
                records: before.saturating_add(self.compacted),
                snapshot: sequence,
                at: upkeep.now,
                policy: "stated by segments".to_owned(),
            }));
        }
        Ok(())
    }
}

impl PartitionState {
    /// States that it is incomplete since what its source had after the stored offsets is not known, unless another reason is stated. Damage is
    /// stated by its lost ranges, too.
    fn state_rebuilt(&mut self) {
        if self.incomplete.is_none() || self.is_damaged() {
            let end = self.end_offset;
            self.incomplete = Some(Incomplete {
                reason: IncompleteReason::Rebuilt,
                detail: match self.segments {
                    0 => "the index was rebuilt from the segments, and no usable one is left of the partition".to_owned(),
                    _ => format!(
                        "the index was rebuilt from the segments, which end at offset {end}: what was stored after it is not known"
                    ),
                },
            });
        }
    }
}

impl PartitionState {
    /// Returns whether the beginning of a history that was rebuilt is missing, although its source has it: no backup reads it, unless it stores the
    /// topic again.
    #[must_use]
    pub fn lacks_beginning(&self) -> bool {
        self.is_rebuilt() && self.begins_late()
    }

    fn begins_late(&self) -> bool {
        let sourced = (0..self.base_offset).contains(&self.log_start_offset);
        self.segments > 0 && self.expired.is_none() && sourced
    }

    /// States of a history that was rebuilt that its beginning is missing, whatever else a backup states, as long as its source has offsets before
    /// the stored ones. Nothing but the segments said where it had begun, and the first ones may be gone.
    pub(super) fn state_beginning(&mut self) {
        let (start, base) = (self.log_start_offset, self.base_offset);
        if self.begins_late() {
            self.incomplete = Some(Incomplete {
                reason: IncompleteReason::Rebuilt,
                detail: format!(
                    "the index was rebuilt from the segments, which begin at offset {base}, and the source has offsets from {start} on: `kbk backup --refresh` stores the topic again"
                ),
            });
        }
    }
}

impl Repository {
    /// Lists the histories of topics that have a folder, with or without segments in it.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn stored_histories(&self) -> Result<Vec<(TopicName, Id)>> {
        let mut found = Vec::new();
        for topic in self.store().names(SEGMENTS).await? {
            let Ok(name) = topic.parse::<TopicName>() else {
                continue;
            };
            for id in self.store().names(&format!("{SEGMENTS}/{topic}")).await? {
                if let Ok(id) = id.parse::<Id>() {
                    found.push((name.clone(), id));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Lists what is in `data` under names that no segment has, with its length.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn other_files(&self) -> Result<Vec<(String, u64)>> {
        self.store().list_others(SEGMENTS).await
    }

    /// Lists the sequences of all snapshots that are there, ascending, forgotten ones too.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn listed_sequences(&self) -> Result<Vec<u64>> {
        self.sequences_from(1).await
    }

    /// Returns the sequence that the hint names, whether its snapshot is there or not; 0 where there is no usable hint.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn hinted_sequence(&self) -> Result<u64> {
        match self.store().read::<Latest>(&Key::LatestSnapshot).await {
            Ok(hint) => Ok(hint.map_or(0, |hint| hint.sequence)),
            Err(error) if error.kind().is_about_content() => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Commits a snapshot that was built from segments, all of which are durable, and returns it.
    ///
    /// # Errors
    ///
    /// [`RepoErrorKind::Outdated`] if another snapshot was committed since the base was looked for; [`RepoErrorKind::Refused`] where a rule of
    /// the format would be violated; [`RepoErrorKind::Pruned`], or the error of the store. After any error the repository is as it was, and the
    /// rebuild can be repeated.
    pub async fn commit_rebuild(&self, rebuild: &Rebuild) -> Result<Digested<Snapshot>> {
        // Segments before the tables that name them, tables before the snapshot.
        let keys = rebuild.stored().flat_map(|(_, segments)| segments);
        let keys: Vec<String> = keys.map(|segment| segment.key.clone()).collect();
        self.store().sync_folders(keys).await?;
        let base = rebuild.base.as_ref().map_or(0, |base| base.sequence);
        let listed = self.sequences_from(base.saturating_add(1)).await?;
        if listed.iter().any(|it| !rebuild.ignored.contains(it)) {
            return Err(self.outdated());
        }
        let passed_over = self
            .passed_over_up_to(&rebuild.ignored, rebuild.used())
            .await?;
        let id = self.identity().repository_id;
        let applied = rebuild.apply(id, &passed_over);
        let applied = applied.map_err(|detail| {
            let kind = RepoErrorKind::Refused { detail };
            self.store().error_of_whole(kind)
        });
        let Applied { mut snapshot, rows } = applied?;
        let mut index = IndexWriter::new(self.clone());
        let (runs, sequence) = (
            std::mem::take(&mut snapshot.manifest.runs),
            snapshot.sequence,
        );
        snapshot.manifest.runs = index.write(runs, sequence, &rows).await?;
        let manifest = rebuild.base.as_ref().map(|base| &base.manifest);
        let before = passed_over.newest(manifest);
        if rebuild.keeps_pruning {
            let segments = rebuild.stored().flat_map(|(_, segments)| segments);
            self.check_prunes(segments, base, before).await?;
        }
        self.store()
            .sync_folders(index.written().map(|key| key.to_string()))
            .await?;
        let totals = snapshot.check_totals();
        let put = self.put_snapshot(&snapshot.manifest, &rebuild.ignored, totals);
        match put.await? {
            Published::Ours(sha256) => Ok(Digested {
                value: snapshot,
                sha256,
            }),
            Published::Taken | Published::Overtaken => Err(self.outdated()),
        }
    }

    fn outdated(&self) -> RepoError {
        self.store().error_of_whole(RepoErrorKind::Outdated)
    }
}
