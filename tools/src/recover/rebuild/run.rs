//! Applies a plan: `kbk.json`, new segments, one commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{
    Id, LostRange, PartitionId, Rebuild, RebuiltPartition, RebuiltTopic, RepoErrorKind, Repository,
    SegmentEntry, Upkeep,
};
use kbk_format::salvage::write_parts;
use kbk_format::{FileHeader, GapReason, IsolationLevel};

use super::super::events::RecoverEvents;
use super::super::ranges::Offsets;
use super::super::written::{Expected, write_segment};
use super::arrange::{Item, NewSegment};
use super::error::RebuildError;
use super::found::{Loader, Node};
use super::plan::{PlannedPartition, RebuildPlan};
use super::report::RebuildReport;
use super::sources::{load, with_parts};

/// What the snapshot says of what committed it.
pub const REBUILD: &str = "recover --rebuild";

/// How a plan is applied.
#[derive(Clone, Debug)]
pub struct RebuildOptions {
    /// Program and version.
    pub writer: String,
    /// What was asked for, in words: the snapshot says it.
    pub policy: String,
    /// The present time.
    pub now: Timestamp,
    /// Whether offsets are stated as lost that objects may have which cannot be read now.
    pub abandons_unread: bool,
}

/// Builds the snapshot of a plan. The caller holds a claim on everything, so that nobody writes segments meanwhile.
///
/// # Errors
///
/// Why nothing was committed. What is lost is no error.
pub async fn rebuild(
    repository: &Repository,
    plan: &RebuildPlan,
    options: &RebuildOptions,
    events: &Arc<dyn RecoverEvents>,
) -> Result<RebuildReport, RebuildError> {
    let mut report = plan.report.clone();
    if report.interrupted {
        return Ok(report);
    }
    plan.check(options.abandons_unread)?;
    // First: without it, nobody reads a snapshot. It states nothing but which repository this is, so it harms nothing if this ends here.
    if let Some(lost) = &plan.identity {
        repository.write_identity(lost, options.now).await?;
    }
    if !plan.commits {
        return Ok(report);
    }
    let mut writing = Writing {
        repository,
        loader: Loader::new(repository),
        options,
        events,
    };
    let mut topics = Vec::new();
    for topic in &plan.topics {
        let mut rebuilt = RebuiltTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            internal: topic.internal,
            written_ms: topic.written_ms,
            partitions: BTreeMap::new(),
        };
        for (number, partition) in &topic.partitions {
            let id = PartitionId {
                topic: topic.name.clone(),
                topic_id: topic.topic_id,
                partition: *number,
            };
            let Some(built) = writing.partition(&id, partition).await? else {
                report.interrupted = true;
                return Ok(report);
            };
            rebuilt.partitions.insert(*number, built);
        }
        topics.push(rebuilt);
    }
    let base = &plan.base;
    let commit = Rebuild {
        base: base.snapshot.clone(),
        ignored: base.ignored.clone(),
        used: base.used,
        is_behind: base.is_behind(),
        groups: base.cluster.groups.clone(),
        acls: base.cluster.acls.clone(),
        keeps_pruning: base.keeps_pruning,
        newest_segment: plan.newest_segment,
        cluster_id: plan.cluster_id.clone(),
        topics,
        stated: base.topics.clone(),
        upkeep: Upkeep {
            command: REBUILD.to_owned(),
            detail: options.policy.clone(),
            writer: options.writer.clone(),
            now: options.now,
        },
    };
    let committed = repository.commit_rebuild(&commit).await;
    let snapshot = committed.map_err(|error| match error.kind() {
        RepoErrorKind::Outdated => RebuildError::Overtaken,
        _ => error.into(),
    })?;
    report.snapshot = Some(snapshot.sequence);
    events.committed(snapshot.sequence);
    Ok(report)
}

struct Writing<'a> {
    repository: &'a Repository,
    loader: Loader<'a>,
    options: &'a RebuildOptions,
    events: &'a Arc<dyn RecoverEvents>,
}

impl Writing<'_> {
    /// Writes what is new of a partition; `None` if a signal ended it.
    async fn partition(
        &mut self,
        id: &PartitionId,
        planned: &PlannedPartition,
    ) -> Result<Option<RebuiltPartition>, RebuildError> {
        let mut built = RebuiltPartition::default();
        let (mut damaged, mut deleted) = (Vec::new(), Vec::new());
        let mut add = |lost: &Offsets, gone: &Offsets| {
            damaged.extend(lost.iter());
            deleted.extend(gone.iter());
        };
        let mut expected = planned.expected.iter();
        for item in &planned.items {
            match item {
                Item::Whole(at) => {
                    let Some(node) = planned.nodes.get(*at) else {
                        continue;
                    };
                    add(&node.lost(), &node.deleted);
                    built.compacted = built.compacted.saturating_add(node.compacted);
                    built.segments.extend(node.entry.as_deref().cloned());
                }
                Item::New(segment) => {
                    let Some(expected) = expected.next() else {
                        continue;
                    };
                    for (at, part) in &segment.parts {
                        if let Some(node) = planned.nodes.get(*at) {
                            let part = Offsets::one(part.clone());
                            add(&Offsets::default(), &node.deleted.and(&part));
                        }
                    }
                    add(&segment.lost(), &Offsets::default());
                    let (entry, compacted) = self.write(id, planned, segment, expected).await?;
                    built.compacted = built.compacted.saturating_add(compacted);
                    self.events.sealed(entry.size);
                    built.segments.push(entry);
                }
            }
            if self.events.is_stopped() {
                return Ok(None);
            }
        }
        let damaged = Offsets::of(damaged);
        let damaged_rows = damaged
            .iter()
            .map(|it| LostRange::damaged(it.start, it.end));
        let deleted = Offsets::of(deleted).without(&damaged);
        let deleted_rows = deleted
            .iter()
            .map(|it| LostRange::deleted(it.start, it.end));
        built.lost = damaged_rows.chain(deleted_rows).collect();
        built.lost.sort_by_key(|lost| lost.from);
        Ok(Some(built))
    }

    /// Writes a new segment, and returns its row, and how many records its sources state as removed by key within its offsets.
    async fn write(
        &mut self,
        id: &PartitionId,
        planned: &PlannedPartition,
        segment: &NewSegment,
        expected: &Expected,
    ) -> Result<(SegmentEntry, u64), RebuildError> {
        let sources = load(&mut self.loader, &planned.nodes, segment).await?;
        let mut compacted = 0_u64;
        for (at, part) in &segment.parts {
            let Some(source) = sources.get(at) else {
                continue;
            };
            let part = Offsets::one(part.clone());
            let gaps = source.salvage.gaps().iter();
            let gaps = gaps.filter(|gap| gap.reason == GapReason::Compacted);
            let gaps = Offsets::of(gaps.map(|gap| gap.from_offset..gap.to_offset));
            compacted = compacted.saturating_add(gaps.and(&part).count());
        }
        let nodes = segment.parts.iter();
        let nodes: Vec<&Node> = nodes.filter_map(|(at, _)| planned.nodes.get(*at)).collect();
        let header = header(id, segment, &nodes, &self.options.writer);
        let (parts, end) = (segment.clone(), segment.offsets.end);
        let write = move |header, upload| {
            with_parts(&parts, &sources, |parts| {
                write_parts(parts, end, GapReason::Damaged, header, upload)
            })
        };
        let written = write_segment(self.repository, id, header, expected.clone(), write);
        Ok((written.await?, compacted))
    }
}

/// Returns the header of a new segment. What the objects that it is made of do not state is stated as for every other backup.
fn header(id: &PartitionId, segment: &NewSegment, nodes: &[&Node], writer: &str) -> FileHeader {
    let is_uncommitted = |node: &&&Node| node.isolation_level == IsolationLevel::ReadUncommitted;
    FileHeader {
        segment_id: Id::random().0,
        topic_id: id.topic_id.0,
        topic: id.topic.to_string(),
        partition: id.partition,
        timestamp_type: segment.timestamp_type,
        isolation_level: match nodes.iter().find(is_uncommitted) {
            Some(node) => node.isolation_level,
            None => IsolationLevel::ReadCommitted,
        },
        base_offset: segment.offsets.start,
        cluster_id: nodes.iter().find_map(|node| node.cluster_id.clone()),
        writer: Some(writer.to_owned()),
        // A snapshot without a backup is as old as its newest segment: rebuilding makes no record newer.
        created_at: nodes.iter().filter_map(|node| node.created_ms).max(),
        compression: None,
    }
}
