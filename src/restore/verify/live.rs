//! What a cluster should still hold of a snapshot, whoever wrote it there: for `kbk diff --live`.
//!
//! Records are paired by their offsets where these are related: in the topic that was backed up itself, and where a finished restore kept
//! an offset map. In any other copy they are paired in order.

use std::collections::BTreeMap;
use std::ops::Range;

use kbk_format::counted;
use kbk_format::repo::{Digested, Hex, Id, PartitionId, RepoError, Repository, Snapshot};
use kbk_tools::read::GapReasons;
use kbk_tools::restores::{FinishedRestore, OffsetMapError};
use tokio::runtime::Handle;

use crate::compare::{
    self, CompareError, ExpectedPartition, Former, OffsetMap, Pairing, PartitionComparison,
    SharedOffsets,
};
use crate::kafka::{Admin, Answers, ClientSettings, KafkaError, PartitionOffsets, TopicPartition};
use crate::restore::plan::restore_plan::{PartitionPlan, RestorePlan, TopicPlan};
use crate::run::Cancel;
use crate::select::DropHeaders;

/// Compares the records that both the cluster and the snapshot of a plan hold. Blocks; must not be called from asynchronous code.
///
/// # Errors
///
/// If a target, or a partition of it, does not exist; if the cluster or the repository cannot be read.
pub fn compare_live(
    plan: &RestorePlan,
    repository: &Repository,
    kafka: &ClientSettings,
    cancel: &Cancel,
    runtime: &Handle,
) -> Result<Vec<PartitionComparison>, CompareError> {
    let live = Live::describe(plan, repository, kafka, runtime)?;
    let mut expected = Vec::new();
    for topic in plan.topics() {
        for partition in topic.partitions() {
            expected.extend(live.expected(plan, topic, partition)?);
        }
    }
    compare::compare(expected, plan.client, kafka, cancel, runtime)
}

/// The targets of a plan as they are now.
struct Live<'a> {
    repository: &'a Repository,
    runtime: &'a Handle,
    ids: BTreeMap<String, Id>,
    /// Whether the topic is compacted.
    compacted: BTreeMap<String, bool>,
    bounds: Answers<TopicPartition, PartitionOffsets>,
    /// The last finished restore into each target.
    restores: BTreeMap<String, FinishedRestore>,
    snapshot: Digested<Snapshot>,
}

impl<'a> Live<'a> {
    fn describe(
        plan: &RestorePlan,
        repository: &'a Repository,
        kafka: &ClientSettings,
        runtime: &'a Handle,
    ) -> Result<Live<'a>, CompareError> {
        let admin = Admin::connect(kafka)?;
        let names: Vec<String> = plan
            .topics()
            .map(|topic| topic.target().to_owned())
            .collect();
        let described = admin.describe_topics(Some(&names))?;
        let ids: BTreeMap<String, Id> = described
            .into_iter()
            .map(|topic| (topic.name, Hex(topic.topic_id)))
            .collect();
        let partitions: Vec<TopicPartition> = plan
            .topics()
            .flat_map(|topic| topic.restored.targets.iter().map(move |t| (topic, t)))
            .map(|(topic, target)| TopicPartition::new(topic.target(), target.partition))
            .collect();
        Ok(Live {
            repository,
            runtime,
            compacted: compacted(&admin, &names)?,
            bounds: admin.offsets(&partitions)?,
            restores: runtime.block_on(restores(plan, &ids, repository))?,
            snapshot: runtime.block_on(repository.snapshot(plan.manifest.snapshot.sequence))?,
            ids,
        })
    }

    /// Returns what a partition should hold; `None` where its records were distributed by key.
    fn expected(
        &self,
        plan: &RestorePlan,
        topic: TopicPlan<'_>,
        partition: PartitionPlan<'_>,
    ) -> Result<Option<ExpectedPartition>, CompareError> {
        let Some(number) = partition.restored.target_partition else {
            return Ok(None);
        };
        let target = TopicPartition::new(topic.target(), number);
        let mut drop_headers = plan.manifest.drop_headers.clone();
        let read = partition.reading.read.clone();
        let source = read.partition_id();
        let state = self.snapshot.partition(source);
        let removed = state.filter(|state| state.compacted_records() > 0);
        let removed = removed.map(|state| {
            let opened = GapReasons::open(self.repository, &self.snapshot, source.clone(), state);
            self.runtime.block_on(opened)
        });
        let former = Former {
            removed: removed.transpose()?,
            damaged: state.map_or_else(Vec::new, |state| state.damaged_ranges().collect()),
        };
        let shared = if self.is_source(topic) && number == partition.restored.partition {
            let restored = partition.restored;
            Some(self.shared(
                plan,
                topic,
                (None, former),
                restored.base_offset..restored.end_offset,
            ))
        } else if let Some((map, covered)) = self.map(source, &target)? {
            let restore = &self.restores[topic.target()].restore;
            drop_headers.extend(restore.drop_headers.iter().cloned());
            Some(self.shared(plan, topic, (Some(map), former), covered))
        } else {
            if let Some(state) = state.filter(|state| state.compacted_records() > 0) {
                let records = counted(state.compacted_records(), "record");
                tracing::warn!(
                    "{source}: `kbk compact` has removed {records} from the backup, and no offset map says which these are in {target}: if they are there, \
                     they count as differences, and so does what follows them"
                );
            }
            if let Some(state) = state.filter(|state| state.damaged_offsets() > 0) {
                let offsets = counted(state.damaged_offsets(), "offset");
                tracing::warn!(
                    "{source}: the backup lost {offsets} to damage, and no offset map says where these are in {target}: records that are there \
                     count as differences, and so does what follows them"
                );
            }
            None
        };
        Ok(Some(ExpectedPartition {
            partition: target,
            read,
            drop_headers: DropHeaders::new(drop_headers),
            pairing: shared.map_or(Pairing::InOrder, |shared| {
                Pairing::ByOffset(Box::new(shared))
            }),
        }))
    }

    /// Returns whether a target is the topic that was backed up, whichever history of it the backup has.
    fn is_source(&self, topic: TopicPlan<'_>) -> bool {
        let saved = topic.details.source_kafka_id;
        saved.is_some() && self.ids.get(topic.target()) == saved.as_ref()
    }

    fn shared(
        &self,
        plan: &RestorePlan,
        topic: TopicPlan<'_>,
        (map, former): (Option<OffsetMap>, Former),
        covered: Range<i64>,
    ) -> SharedOffsets {
        let compacted = self.compacted.get(topic.target());
        SharedOffsets {
            map,
            covered,
            open_end: plan.selection.has_open_end(),
            compacted: compacted.copied().unwrap_or(false),
            former,
        }
    }

    /// Returns the offset map of a partition with the offsets that it covers in the target; `None` if there is none, or if the target is
    /// not the topic that it describes.
    fn map(
        &self,
        source: &PartitionId,
        target: &TopicPartition,
    ) -> Result<Option<(OffsetMap, Range<i64>)>, CompareError> {
        let restore = self.restores.get(&target.topic);
        let Some((restore, done)) = restore.and_then(|it| Some((it, it.done(source)?))) else {
            return Ok(None);
        };
        let Some((topic, restored)) = restore.restore.partition(source) else {
            return Ok(None);
        };
        let start = topic.target(target.partition).map(|target| target.offset);
        let Some(start) = start.filter(|_| restored.target_partition == Some(target.partition))
        else {
            return Ok(None);
        };
        let map = OffsetMap {
            repository: self.repository.clone(),
            restore: restore.restore.restore.clone(),
            partition: done.clone(),
        };
        let mut reader = map.read();
        let last = self.runtime.block_on(reader.next())?;
        let last = last.and_then(|page| page.runs.last().copied());
        let end = last.map_or(start, |run| {
            run.target_offset.saturating_add_unsigned(run.records)
        });
        // A shorter log is another topic of that name, or has lost its last records.
        let held = self.bounds.get(target)?.high_watermark;
        Ok((end <= held).then_some((map, start..end)))
    }
}

/// Returns which topics are compacted. Where the cluster does not say, records that compaction may have removed count as missing.
fn compacted(admin: &Admin, names: &[String]) -> Result<BTreeMap<String, bool>, KafkaError> {
    let configs = match admin.topic_configs(names) {
        Err(error) if error.is_denied() || error.is_unsupported() => {
            tracing::warn!("records that compaction has removed count as missing: {error}");
            return Ok(BTreeMap::new());
        }
        configs => configs?,
    };
    let is_compacted = |policy: &str| policy.split(',').any(|word| word.trim() == "compact");
    let compacted = configs.into_iter().map(|(name, config)| {
        let policy = config.get("cleanup.policy");
        let policy = policy.and_then(|entry| entry.value.as_deref());
        (name, policy.is_some_and(is_compacted))
    });
    Ok(compacted.collect())
}

/// Returns the last finished restore into each target that is not the topic that was backed up.
async fn restores(
    plan: &RestorePlan,
    ids: &BTreeMap<String, Id>,
    repository: &Repository,
) -> Result<BTreeMap<String, FinishedRestore>, RepoError> {
    let is_copy = |topic: &TopicPlan<'_>| ids.get(topic.target()) != Some(&topic.restored.topic_id);
    let mut wanted: BTreeMap<&str, Id> = plan
        .topics()
        .filter(is_copy)
        .map(|topic| (topic.target(), topic.restored.topic_id))
        .collect();
    let mut found = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    for name in repository.restores().await?.iter().rev() {
        let Some(manifest) = repository.restore(name).await? else {
            continue;
        };
        if manifest.cluster_id != plan.manifest.cluster_id {
            continue;
        }
        let written = manifest.topics.iter();
        let written = written.filter(|topic| wanted.get(&*topic.target) == Some(&topic.topic_id));
        let written: Vec<&str> = written.map(|topic| &*topic.target).collect();
        if written.is_empty() {
            continue;
        }
        let finished = match FinishedRestore::open(repository, Some(name)).await {
            Ok(finished) => finished,
            Err(OffsetMapError::Repo(error)) => return Err(error),
            Err(_) => continue,
        };
        for target in written {
            wanted.remove(target);
            found.insert(target.to_owned(), finished.clone());
        }
    }
    Ok(found)
}
