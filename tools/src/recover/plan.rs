//! Which segments of a snapshot are damaged or missing: what a verification at the depth `records` finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kbk_format::PartitionNumber;
use kbk_format::repo::{
    Id, LostRange, PartitionId, PartitionState, RepoError, Repository, SegmentEntry, Snapshot,
    TopicName,
};

use super::events::RecoverEvents;
use super::ranges::Offsets;
use crate::verify::{
    Finding, FindingKind, Severity, VerifyDepth, VerifyEvents, VerifyOptions, verify,
};

/// What is damaged in a snapshot, and can be replaced.
#[derive(Clone, Debug)]
pub struct RecoveryPlan {
    /// The snapshot.
    pub snapshot: u64,
    /// The segments, in the order of partitions and offsets.
    pub(super) targets: Vec<Target>,
    /// What is wrong and cannot be replaced: it stays as it is.
    pub(super) findings: Vec<Finding>,
    /// Number of segments that were verified.
    pub(super) verified: u64,
    /// How many offsets earlier recoveries had lost.
    pub(super) lost_before: u64,
}

/// A segment that is replaced.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) id: PartitionId,
    pub(super) entry: SegmentEntry,
    /// What earlier recoveries had lost of it.
    pub(super) lost: Offsets,
    /// What was found, for people; empty where it is intact and lacks what an earlier recovery lost.
    pub(super) damage: Vec<String>,
    /// Whether this concerns its records: a damaged key filter does not.
    pub(super) is_damaged: bool,
}

impl RecoveryPlan {
    /// Returns the number of segments that are going to be replaced.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.targets.len() as u64
    }
}

/// Verifies these topics of a snapshot, and plans to replace what is damaged. Where there is another repository to take records from
/// (`fills`), segments that lack what an earlier recovery lost are planned for, too.
///
/// # Errors
///
/// That the snapshot was forgotten meanwhile. What is damaged is in the plan.
pub async fn plan(
    repository: &Repository,
    snapshot: &Snapshot,
    topics: &BTreeSet<(TopicName, Id)>,
    fills: bool,
    events: &Arc<dyn RecoverEvents>,
) -> Result<RecoveryPlan, RepoError> {
    let options = VerifyOptions {
        snapshots: vec![snapshot.sequence],
        topics: Some(topics.clone()),
        depth: VerifyDepth::Records,
        ..VerifyOptions::default()
    };
    let listening: Arc<dyn VerifyEvents> = Arc::clone(events) as _;
    let report = verify(repository, &options, listening).await;
    let mut plan = RecoveryPlan {
        snapshot: snapshot.sequence,
        targets: Vec::new(),
        findings: Vec::new(),
        verified: report.segments,
        lost_before: 0,
    };
    let mut damaged = Damaged::default();
    // What is left of a segment is read as a whole, and may be whole where it cannot be.
    let unread = report.findings.iter();
    let unread = unread.filter(|it| it.kind == FindingKind::Unreadable);
    let unread: BTreeSet<String> = unread.filter_map(|it| it.key.clone()).collect();
    for finding in report.findings {
        match (&finding.key, finding.kind) {
            (Some(key), _) if unread.contains(key) => plan.findings.push(finding.of_newest_only()),
            // A new segment has no key filter, which is missed by nobody; a compaction makes one.
            (Some(key), kind)
                if kind.is_damage_of_segment() || kind == FindingKind::DamagedKeyFilter =>
            {
                damaged.add(key, &finding);
            }
            // Known before, and nothing that a segment of this repository has.
            (
                _,
                FindingKind::Incomplete
                | FindingKind::DeletedBeforeRead
                | FindingKind::LostToDamage
                | FindingKind::DamagedRestore
                | FindingKind::OtherParent,
            ) => {}
            _ if finding.severity == Severity::Accepted => {}
            _ => plan.findings.push(finding.of_newest_only()),
        }
    }
    let selected = snapshot.topics.iter();
    let selected = selected.filter(|it| topics.contains(&(it.name.clone(), it.topic_id)));
    for topic in selected {
        for state in &topic.partitions {
            plan.lost_before = plan.lost_before.saturating_add(state.damaged_offsets());
            let id = topic.partition_id(state.partition);
            let targets = targets(repository, snapshot, (&id, state), fills, &mut damaged);
            plan.targets.extend(targets.await?);
        }
    }
    Ok(plan)
}

/// What a verification found damaged.
#[derive(Default)]
struct Damaged {
    /// What is wrong with segments, by key, and whether it concerns their records.
    messages: BTreeMap<String, (Vec<String>, bool)>,
    partitions: BTreeSet<FindingPartition>,
}

/// A partition, as a finding names it.
type FindingPartition = (String, String, PartitionNumber);

fn finding_partition(id: &PartitionId) -> FindingPartition {
    let (topic, topic_id) = (id.topic.to_string(), id.topic_id.to_string());
    (topic, topic_id, id.partition)
}

impl Damaged {
    fn add(&mut self, key: &str, finding: &Finding) {
        let (messages, is_damaged) = self.messages.entry(key.to_owned()).or_default();
        *is_damaged |= finding.kind.is_damage_of_segment();
        messages.push(format!("{}: {}", finding.kind, finding.message));
        if let (Some(topic), Some(topic_id), Some(partition)) =
            (&finding.topic, &finding.topic_id, finding.partition)
        {
            self.partitions
                .insert((topic.clone(), topic_id.clone(), partition));
        }
    }
}

/// Returns the segments of a partition that are replaced.
async fn targets(
    repository: &Repository,
    snapshot: &Snapshot,
    (id, state): (&PartitionId, &PartitionState),
    fills: bool,
    damaged: &mut Damaged,
) -> Result<Vec<Target>, RepoError> {
    let lacks = fills && state.damaged_ranges().next().is_some();
    if !lacks && !damaged.partitions.contains(&finding_partition(id)) {
        return Ok(Vec::new());
    }
    let entries = match repository.segments(snapshot, id, state).await {
        Ok(entries) => entries,
        Err(error) => {
            let error = repository.explain(snapshot.sequence, error).await;
            return match repository.store().is_about_one_object(&error).await {
                // A finding of the verification.
                true => Ok(Vec::new()),
                false => Err(error),
            };
        }
    };
    let targets = entries.into_iter().filter_map(|entry| {
        let found = damaged.messages.remove(&entry.key);
        let within = |it: LostRange| it.from.max(entry.base_offset)..it.to.min(entry.end_offset);
        let lost = Offsets::of(state.damaged_ranges().map(within));
        if found.is_none() && (!lacks || lost.is_empty()) {
            return None;
        }
        let (damage, is_damaged) = found.unwrap_or_default();
        Some(Target {
            id: id.clone(),
            entry,
            lost,
            damage,
            is_damaged,
        })
    });
    Ok(targets.collect())
}
