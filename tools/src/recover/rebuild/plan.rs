//! What is to be done: the base, and what the objects of every partition prove. `totals` compares it with what snapshots state.

mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{
    Id, Key, ListedObject, LostIdentity, PartitionId, PartitionState, RepoError, Repository,
    SegmentEntry, TopicName,
};
use kbk_format::{PartitionNumber, counted};

use super::super::events::RecoverEvents;
use super::super::ranges::Offsets;
use super::super::written::Expected;
use super::arrange::{Item, arrange};
use super::base::{self, Base};
use super::error::{MAX_PARTITION, RebuildError};
use super::found::{self, Inspected, Loader, Node, inspect, inspect_stray};
use super::histories::{self, Histories};
use super::judge::Judging;
use super::report::{
    EmptyTopic, Fate, IdentityRebuild, ObjectRow, PartitionRebuild, RebuildReport,
};
use super::sources::{expect, load};
use crate::import::INTERNAL;

/// What is to be done.
#[derive(Debug)]
pub struct RebuildPlan {
    pub(super) base: Base,
    pub(super) identity: Option<LostIdentity>,
    pub(super) topics: Vec<PlannedTopic>,
    /// When the newest segment was begun.
    pub(super) newest_segment: Timestamp,
    pub(super) cluster_id: Option<String>,
    /// What applying it would do.
    pub(super) report: RebuildReport,
    /// Whether a snapshot is committed: otherwise only `kbk.json` is written.
    pub(super) commits: bool,
}

/// A history of a topic.
#[derive(Debug)]
pub(super) struct PlannedTopic {
    pub(super) name: TopicName,
    pub(super) topic_id: Id,
    pub(super) internal: bool,
    pub(super) written_ms: i64,
    pub(super) partitions: BTreeMap<PartitionNumber, PlannedPartition>,
}

/// What is added to a partition.
#[derive(Debug, Default)]
pub(super) struct PlannedPartition {
    pub(super) nodes: Vec<Node>,
    pub(super) items: Vec<Item>,
    /// Of the new segments among these, in order, what each must hold.
    pub(super) expected: Vec<Expected>,
    rows: Vec<ObjectRow>,
    summary: Option<PartitionRebuild>,
}

impl RebuildPlan {
    /// Returns what applying it would do.
    #[must_use]
    pub fn report(&self) -> &RebuildReport {
        &self.report
    }

    /// Checks that it states nothing as lost that may come back, unless such objects are abandoned.
    ///
    /// # Errors
    ///
    /// [`RebuildError::Unread`].
    pub fn check(&self, abandons_unread: bool) -> Result<(), RebuildError> {
        if self.report.unread_offsets == 0 || abandons_unread {
            return Ok(());
        }
        let mut objects = self.report.data_objects.iter();
        let first = objects.find(|object| {
            let is_of = |row: &PartitionRebuild| {
                row.unread_offsets > 0
                    && (&row.topic, &row.topic_id, row.partition)
                        == (&object.topic, &object.topic_id, object.partition)
            };
            object.fate.may_come_back() && self.report.rebuilt.iter().any(is_of)
        });
        Err(RebuildError::Unread {
            key: first.map_or_else(String::new, |first| first.key.clone()),
            offsets: counted(self.report.unread_offsets, "offset"),
        })
    }
}

/// Reads everything that is left, and plans the snapshot that can be built of it. Nothing is written.
///
/// # Errors
///
/// Why nothing can be rebuilt; that nothing needs to be; or the error of the store.
pub async fn plan_rebuild(
    repository: &Repository,
    identity: Option<LostIdentity>,
    events: &Arc<dyn RecoverEvents>,
) -> Result<RebuildPlan, RebuildError> {
    let repository = &repository.uncached();
    let base = base::find(repository).await?;
    plan_on(repository, base, identity, events).await
}

/// Does so on this base.
pub(super) async fn plan_on(
    repository: &Repository,
    base: Base,
    identity: Option<LostIdentity>,
    events: &Arc<dyn RecoverEvents>,
) -> Result<RebuildPlan, RebuildError> {
    let is_intact = !base.is_behind() && base.cluster.unread.is_empty();
    if let (true, Some(snapshot), None) = (is_intact, &base.snapshot, &identity) {
        return Err(RebuildError::Intact {
            repository: repository.store().url().to_owned(),
            sequence: snapshot.sequence,
        });
    }
    let mut planning = Planning {
        repository,
        events,
        base: &base,
        loader: Loader::new(repository),
        report: RebuildReport {
            base_snapshot: base.snapshot.as_ref().map(|base| base.sequence),
            damaged_snapshots: base.damaged.clone(),
            unread: base.cluster.unread.clone(),
            kbk_json: identity.as_ref().map(|lost| IdentityRebuild {
                damage: lost.damage.clone(),
                repository_id: lost.repository_id.to_string(),
                stated_by: lost.stated_by.clone(),
            }),
            prune_unknown: !base.keeps_pruning,
            ..RebuildReport::default()
        },
        newest_ms: None,
        cluster_id: None,
        clusters: BTreeMap::new(),
        planned: BTreeMap::new(),
        strays: Some(BTreeMap::new()),
        is_readable: false,
        inaccessible: None,
    };
    let stated = base.manifest().and_then(|base| base.cluster_id.clone());
    planning.clusters.extend(stated.map(|id| (id, 0)));
    let mut topics = Vec::new();
    if base.is_behind() {
        for (name, topic_id) in repository.stored_histories().await? {
            planning.topic(&name, topic_id).await?;
            if planning.report.interrupted {
                break;
            }
        }
        planning.strays().await?;
        planning.report.other_files = found::other_files(repository).await?;
        topics = planning.finish();
        planning.add_empty_topics(&mut topics);
        planning.missing_segments();
    }
    // Without a base, there is nothing to build a snapshot of, and what keeps one object from being read keeps all of them.
    if base.snapshot.is_none()
        && !planning.is_readable
        && let Some(error) = planning.inaccessible.take()
    {
        return Err(error.into());
    }
    planning.name_clusters();
    planning.compare_totals(&topics);
    planning.report.sum_up();
    let Planning {
        report,
        newest_ms,
        cluster_id,
        ..
    } = planning;
    let is_nothing = report.data_objects.is_empty() && report.empty_topics.is_empty();
    if base.snapshot.is_none() && is_nothing && !report.interrupted {
        let url = repository.store().url().to_owned();
        return Err(RebuildError::Nothing(url));
    }
    let newest = newest_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Ok(RebuildPlan {
        commits: !is_intact,
        base,
        identity,
        topics,
        newest_segment: newest.unwrap_or(Timestamp::UNIX_EPOCH),
        cluster_id: cluster_id.map(|(_, id)| id),
        report,
    })
}

struct Planning<'a> {
    repository: &'a Repository,
    events: &'a Arc<dyn RecoverEvents>,
    base: &'a Base,
    loader: Loader<'a>,
    report: RebuildReport,
    newest_ms: Option<i64>,
    /// That of the newest segment that states one.
    cluster_id: Option<(i64, String)>,
    /// How many of the segments that are used state each cluster; that of the base counts, too.
    clusters: BTreeMap<String, u64>,
    planned: BTreeMap<PartitionId, PlannedPartition>,
    /// Objects under the names of others, by the partition that they are of; `None` once their partitions are planned.
    strays: Option<BTreeMap<PartitionId, Vec<ListedObject>>>,
    /// Whether an object could be read.
    is_readable: bool,
    /// Why the first of those could not be that the store does not return.
    inaccessible: Option<RepoError>,
}

impl Planning<'_> {
    /// Plans the partitions of one history of a topic.
    async fn topic(&mut self, name: &TopicName, topic_id: Id) -> Result<(), RebuildError> {
        for (id, objects) in self.listed(name, topic_id).await? {
            let planned = self.partition(&id, objects, Vec::new()).await?;
            self.planned.insert(id, planned);
            if self.stops() {
                break;
            }
        }
        Ok(())
    }

    /// Lists the objects of one history of a topic, by partition.
    async fn listed(
        &self,
        name: &TopicName,
        topic_id: Id,
    ) -> Result<BTreeMap<PartitionId, Vec<ListedObject>>, RebuildError> {
        let mut partitions: BTreeMap<PartitionId, Vec<ListedObject>> = BTreeMap::new();
        for object in self.repository.topic_segments(name, topic_id).await? {
            if let Key::Segment { partition, .. } = &object.key {
                if partition.partition.index() > MAX_PARTITION {
                    return Err(RebuildError::Partition {
                        key: object.key.to_string(),
                        partition: partition.partition,
                    });
                }
                let objects = partitions.entry(partition.clone()).or_default();
                objects.push(object);
            }
        }
        Ok(partitions)
    }

    /// Plans the partitions anew of which segments have the names of others.
    async fn strays(&mut self) -> Result<(), RebuildError> {
        for (id, strays) in self.strays.take().unwrap_or_default() {
            if self.report.interrupted {
                break;
            }
            let mut listed = self.listed(&id.topic, id.topic_id).await?;
            let objects = listed.remove(&id).unwrap_or_default();
            // Those of its own that are of other partitions are in their rows.
            let rows = self.planned.remove(&id).map(|planned| planned.rows);
            let known: BTreeSet<String> = rows.into_iter().flatten().map(|row| row.key).collect();
            let objects = objects.into_iter();
            let objects = objects.filter(|object| known.contains(&object.key.to_string()));
            let planned = self.partition(&id, objects.collect(), strays).await?;
            self.planned.insert(id, planned);
            self.stops();
        }
        Ok(())
    }

    /// Returns whether a signal ended it.
    fn stops(&mut self) -> bool {
        self.report.interrupted |= self.events.is_stopped();
        self.report.interrupted
    }

    /// Adds up what was planned, and returns the topics that have something that the base does not.
    fn finish(&mut self) -> Vec<PlannedTopic> {
        let mut topics: Vec<PlannedTopic> = Vec::new();
        for (id, mut planned) in std::mem::take(&mut self.planned) {
            // Nothing is left where all objects are of other partitions.
            if planned.rows.is_empty() {
                continue;
            }
            self.report.data_objects.append(&mut planned.rows);
            if let Some(summary) = planned.summary.take() {
                self.report.add(summary);
            }
            self.see_all(&planned);
            let is_next = |topic: &&mut PlannedTopic| {
                (&topic.name, topic.topic_id) == (&id.topic, id.topic_id)
            };
            let created = planned.nodes.iter().filter_map(|node| node.created_ms);
            let written_ms = created.fold(i64::MIN, i64::max);
            match topics.last_mut().filter(is_next) {
                Some(topic) => {
                    topic.written_ms = topic.written_ms.max(written_ms);
                    topic.partitions.insert(id.partition, planned);
                }
                None => topics.push(PlannedTopic {
                    internal: INTERNAL.contains(&&*id.topic),
                    name: id.topic,
                    topic_id: id.topic_id,
                    written_ms,
                    partitions: BTreeMap::from([(id.partition, planned)]),
                }),
            }
        }
        let base = self.base.snapshot.as_ref();
        topics.retain(|topic| {
            let is_known = base.is_some_and(|it| it.topic(&topic.name, topic.topic_id).is_some());
            if !is_known {
                self.report.new_topics = self.report.new_topics.saturating_add(1);
            }
            // Where it adds nothing, everything that it has is known already.
            !is_known || topic.partitions.values().any(|it| !it.items.is_empty())
        });
        topics
    }

    /// Adds the topics of a damaged snapshot of which there is no segment: those without records, and those that lost all.
    fn add_empty_topics(&mut self, topics: &mut Vec<PlannedTopic>) {
        if self.report.interrupted {
            return;
        }
        let base = self.base.snapshot.as_ref();
        for stated in &self.base.topics {
            let is_of =
                |it: &PlannedTopic| (&it.name, it.topic_id) == (&stated.name, stated.topic_id);
            let is_known = base.is_some_and(|it| it.topic(&stated.name, stated.topic_id).is_some());
            if is_known || topics.iter().any(is_of) {
                continue;
            }
            let records = stated.partitions.iter().map(|it| it.records);
            self.report.new_topics = self.report.new_topics.saturating_add(1);
            self.report.empty_topics.push(EmptyTopic {
                topic: stated.name.to_string(),
                topic_id: stated.topic_id.to_string(),
                partitions: stated.partitions.len() as u64,
                deleted: stated.deleted,
                stated_records: records.fold(0, u64::saturating_add),
            });
            topics.push(PlannedTopic {
                name: stated.name.clone(),
                topic_id: stated.topic_id,
                internal: stated.internal,
                // The snapshot is newer than every segment of another history that it does not have.
                written_ms: if stated.deleted { i64::MIN } else { i64::MAX },
                partitions: BTreeMap::new(),
            });
        }
    }

    fn see_all(&mut self, planned: &PlannedPartition) {
        for item in &planned.items {
            let used: Vec<usize> = match item {
                Item::Whole(at) => vec![*at],
                Item::New(segment) => segment.parts.iter().map(|(at, _)| *at).collect(),
            };
            let used = used.into_iter().filter_map(|at| planned.nodes.get(at));
            used.for_each(|node| self.see(node));
        }
    }

    async fn partition(
        &mut self,
        id: &PartitionId,
        objects: Vec<ListedObject>,
        strays: Vec<ListedObject>,
    ) -> Result<PlannedPartition, RebuildError> {
        let (state, entries) = self.stated(id).await?;
        let has_been = |state: &PartitionState| state.segments > 0 || state.expired.is_some();
        let state = state.filter(has_been);
        let mut nodes = Vec::new();
        let mut rows: Vec<(ObjectRow, Option<usize>)> = Vec::new();
        // The first offset that something was of, whether or not that can be read.
        let mut first: Option<i64> = None;
        // The first one that an object may have which cannot be read now.
        let mut unread: Option<i64> = None;
        let own = objects.into_iter().map(|object| (object, false));
        let strays = strays.into_iter().map(|object| (object, true));
        for (object, is_stray) in own.chain(strays) {
            let key = object.key.to_string();
            if entries.contains_key(&key) {
                rows.push((ObjectRow::new(id, &object, Fate::Kept), None));
                continue;
            }
            if !self.base.adoptable.has(&object.key) {
                rows.push((ObjectRow::new(id, &object, Fate::Pruned), None));
                continue;
            }
            let inspected = self.inspect(id, &object, is_stray).await?;
            self.events.bytes_checked(object.bytes);
            let mut row = ObjectRow::new(id, &object, Fate::Unreadable);
            let node = match inspected {
                Inspected::Unusable(fate, detail) => {
                    (row.fate, row.detail) = (fate, Some(detail));
                    // What it held is not known.
                    row.lost_offsets = (fate == Fate::Empty).then_some(0);
                    if let (
                        Fate::Unreadable | Fate::Unsupported | Fate::Inaccessible,
                        Key::Segment { base_offset, .. },
                    ) = (fate, &object.key)
                    {
                        first = Some(first.map_or(*base_offset, |it| it.min(*base_offset)));
                        if fate.may_come_back() {
                            unread = Some(unread.map_or(*base_offset, |it| it.min(*base_offset)));
                        }
                    }
                    rows.push((row, None));
                    continue;
                }
                Inspected::Stray(other) => {
                    if let Some(strays) = &mut self.strays
                        && other.partition.index() <= MAX_PARTITION
                    {
                        strays.entry(other).or_default().push(object);
                    } else {
                        (row.fate, row.lost_offsets) = (Fate::Misplaced, None);
                        row.detail = Some(format!("its header states that it is of {other}"));
                        rows.push((row, None));
                    }
                    continue;
                }
                Inspected::Node(node) => *node,
            };
            row.offsets = Some(node.coverage.clone().into());
            row.records = Some(node.records);
            row.damaged_offsets = node.lost().count();
            row.detail.clone_from(&node.damage);
            if let Some(state) = &state
                && node.coverage.end <= state.base_offset
            {
                row.fate = match &state.expired {
                    Some(_) => Fate::Expired,
                    None => Fate::Outside,
                };
                rows.push((row, None));
                continue;
            }
            if node.entry.is_none() {
                let start = node.coverage.start;
                first = Some(first.map_or(start, |it| it.min(start)));
            }
            rows.push((row, Some(nodes.len())));
            nodes.push(node);
            if self.events.is_stopped() {
                self.report.interrupted = true;
                return Ok(PlannedPartition::default());
            }
        }
        let start = state.as_ref().map(|state| state.end_offset);
        // What the base states where others have the same offsets.
        let found = Offsets::of(nodes.iter().map(|node| node.coverage.clone()));
        let is_found = |entry: &&SegmentEntry| {
            let offsets = entry.base_offset..entry.end_offset;
            found.missing_of(offsets.clone()) < offsets.end.abs_diff(offsets.start)
        };
        nodes.extend(entries.values().filter(is_found).map(Node::stated));
        let histories =
            histories::compare(self.repository, &nodes, start, &mut self.loader).await?;
        let arranged = arrange(&nodes, &histories, start, first);
        let mut planned = PlannedPartition {
            items: arranged.items,
            nodes,
            ..PlannedPartition::default()
        };
        let before = start.map(|start| i64::MIN..start);
        let taken = arranged.taken.iter().flat_map(Offsets::iter);
        let have = Offsets::of(before.into_iter().chain(taken));
        let whole = planned.items.iter().filter_map(|item| match item {
            Item::Whole(at) => Some(*at),
            Item::New(_) => None,
        });
        let judging = Judging {
            nodes: &planned.nodes,
            start,
            whole: whole.collect(),
            taken: &arranged.taken,
            have,
            histories: &histories,
        };
        let mut judged = Vec::with_capacity(rows.len());
        for (mut row, at) in rows {
            if let Some(at) = at {
                judging.judge(&mut row, at);
            }
            if let Some(error) = self.loader.unread.get(&row.key) {
                row.detail = Some(error.clone());
            }
            judged.push(row);
        }
        planned.rows = judged;
        let unread = Offsets::of(unread.map(|from| from..i64::MAX));
        self.sum_up(id, &mut planned, &histories, &unread).await?;
        Ok(planned)
    }

    /// Reads an object. What the store does not return is of no use, and is no reason to leave out everything else.
    async fn inspect(
        &mut self,
        id: &PartitionId,
        object: &ListedObject,
        is_stray: bool,
    ) -> Result<Inspected, RebuildError> {
        let inspected = match is_stray {
            true => inspect_stray(self.repository, id, object).await,
            false => inspect(self.repository, id, object).await,
        };
        match inspected {
            Ok(inspected) => {
                self.is_readable = true;
                Ok(inspected)
            }
            Err(error) if self.repository.store().is_about_one_object(&error).await => {
                let detail = error.to_string();
                self.inaccessible.get_or_insert(error);
                Ok(Inspected::Unusable(Fate::Inaccessible, detail))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what the base states of a partition.
    async fn stated(
        &self,
        id: &PartitionId,
    ) -> Result<(Option<PartitionState>, BTreeMap<String, SegmentEntry>), RebuildError> {
        let mut entries = BTreeMap::new();
        let Some(base) = &self.base.snapshot else {
            return Ok((None, entries));
        };
        let Some(state) = base.partition(id) else {
            return Ok((None, entries));
        };
        for entry in self.repository.segments(base, id, state).await? {
            entries.insert(entry.key.clone(), entry);
        }
        Ok((Some(state.clone()), entries))
    }

    /// Adds up what is added to a partition, and what its new segments must hold. `unread` has the offsets that objects may have which cannot be
    /// read now.
    async fn sum_up(
        &mut self,
        id: &PartitionId,
        planned: &mut PlannedPartition,
        histories: &Histories,
        unread: &Offsets,
    ) -> Result<(), RebuildError> {
        let mut row = PartitionRebuild {
            topic: id.topic.to_string(),
            topic_id: id.topic_id.to_string(),
            partition: id.partition,
            offsets: None,
            records: 0,
            adopted_segments: 0,
            new_segments: 0,
            lost_offsets: 0,
            lost_spans: Vec::new(),
            unread_offsets: 0,
            unread_spans: Vec::new(),
            diverges_at: histories.fork.filter(|_| histories.is_contradictory),
            may_diverge_at: histories.fork.filter(|_| !histories.is_contradictory),
            returned_records: histories.returned.count(),
            may_be_stale: histories.may_be_stale,
        };
        let (mut start, mut end) = (None, None);
        let mut lost = Vec::new();
        for item in &planned.items {
            let (offsets, missing) = match item {
                Item::Whole(at) => {
                    let Some(node) = planned.nodes.get(*at) else {
                        continue;
                    };
                    row.adopted_segments = row.adopted_segments.saturating_add(1);
                    row.records = row.records.saturating_add(node.records);
                    (node.coverage.clone(), node.lost())
                }
                Item::New(segment) => {
                    let sources = load(&mut self.loader, &planned.nodes, segment).await?;
                    let expected = expect(segment, sources).await?;
                    row.new_segments = row.new_segments.saturating_add(1);
                    row.records = row.records.saturating_add(expected.records);
                    planned.expected.push(expected);
                    (segment.offsets.clone(), segment.lost())
                }
            };
            start.get_or_insert(offsets.start);
            end = Some(offsets.end);
            lost.extend(missing.iter());
        }
        let lost = Offsets::of(lost);
        row.offsets = start.zip(end).map(|(start, end)| (start..end).into());
        let unread = lost.and(unread);
        (row.unread_offsets, row.unread_spans) = (unread.count(), unread.spans());
        let certain = lost.without(&unread);
        (row.lost_offsets, row.lost_spans) = (certain.count(), certain.spans());
        // What is lost may have been what removed them.
        let returned = histories.returned.iter().next();
        let last = lost.iter().last();
        row.may_be_stale |= returned
            .zip(last)
            .is_some_and(|(first, last)| first.start < last.end);
        let base = self.base.snapshot.as_ref();
        let is_known = base.is_some_and(|base| base.partition(id).is_some());
        if !is_known || !planned.items.is_empty() || histories.fork.is_some() {
            planned.summary = Some(row);
        }
        Ok(())
    }

    fn see(&mut self, node: &Node) {
        self.newest_ms = self.newest_ms.max(node.created_ms);
        let created = node.created_ms.unwrap_or(i64::MIN);
        if let Some(id) = &node.cluster_id {
            let segments = self.clusters.entry(id.clone()).or_default();
            *segments = segments.saturating_add(1);
        }
        let is_newer = self
            .cluster_id
            .as_ref()
            .is_none_or(|(at, _)| *at <= created);
        if let Some(id) = node.cluster_id.clone().filter(|_| is_newer) {
            self.cluster_id = Some((created, id));
        }
    }
}
