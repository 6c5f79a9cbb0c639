//! Merges the committed offsets of a topic's partitions where their records were merged.
//!
//! In a repartitioned topic, each partition of the cluster has records of many partitions of the backup, but a group has one offset
//! in it. That offset is the first record that the group may not have read, whichever partition it is from: nothing is skipped,
//! and records after it that the group had read are read again.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::{GroupState, GroupTopic, PartitionId, RepoError, Repository, RestoredTopic};
use kbk_tools::restores::{FinishedRestore, Landing, Overlap, Translated};

use super::plan::{GroupPlan, OffsetPlan, restored_topic};

/// How far a group had read a restored partition.
#[derive(Clone, Debug)]
pub(super) struct SourceOffset {
    pub(super) id: PartitionId,
    /// The next offset to read; the base of the restored partition if nothing was committed.
    pub(super) offset: i64,
    /// The committed metadata; `None` if nothing was committed.
    pub(super) metadata: Option<String>,
}

impl SourceOffset {
    /// Returns one for each restored partition with a committed offset; in a repartitioned topic also for the others, unless there is
    /// no committed offset at all.
    pub(super) fn all(topic: &GroupTopic, restored: &RestoredTopic) -> Vec<SourceOffset> {
        let offsets = topic.partitions.iter();
        let offsets: BTreeMap<PartitionNumber, _> =
            offsets.map(|found| (found.partition, found)).collect();
        let everywhere = restored.repartitioned().is_some();
        let all: Vec<_> = restored
            .partitions
            .iter()
            .map(|partition| {
                let found = offsets.get(&partition.partition);
                SourceOffset {
                    id: PartitionId {
                        topic: restored.topic.clone(),
                        topic_id: restored.topic_id,
                        partition: partition.partition,
                    },
                    offset: found.map_or(partition.base_offset, |found| found.offset),
                    metadata: found.map(|found| found.metadata.clone()),
                }
            })
            .collect();
        let is_committed = |committed: &SourceOffset| committed.metadata.is_some();
        match everywhere && all.iter().any(is_committed) {
            true => all,
            false => all.into_iter().filter(is_committed).collect(),
        }
    }

    /// Plans to commit `target` for this offset.
    fn plan(&self, target: &Translated) -> OffsetPlan {
        OffsetPlan {
            source_topic: self.id.topic.to_string(),
            source_partition: self.id.partition,
            source_offset: self.offset,
            target: target.clone(),
            metadata: self.metadata.clone().unwrap_or_default(),
            read_again: 0,
            before: None,
        }
    }
}

/// Plans the offset of a partition that was restored to one target as a whole.
pub(super) fn translated(
    (committed, targets): &(SourceOffset, &[Translated]),
) -> Option<OffsetPlan> {
    targets.first().map(|target| committed.plan(target))
}

/// Plans one offset per target partition, from all partitions of a repartitioned topic and their offsets in each target. The plan
/// names the source partition that decides.
pub(super) fn merged(committed: &[(SourceOffset, &[Translated])]) -> Vec<OffsetPlan> {
    let mut firsts: BTreeMap<PartitionNumber, (&SourceOffset, &Translated)> = BTreeMap::new();
    for (committed, targets) in committed {
        for target in *targets {
            firsts
                .entry(target.partition)
                .and_modify(|first| {
                    if comes_first(target, first.1) {
                        *first = (committed, target);
                    }
                })
                .or_insert((committed, target));
        }
    }
    let mut metadata = committed
        .iter()
        .filter_map(|(committed, _)| committed.metadata.as_deref());
    // Metadata belongs to one source partition; it is kept only if all have the same.
    let first = metadata.next().unwrap_or_default();
    let shared = if metadata.all(|other| other == first) {
        first
    } else {
        ""
    };
    firsts
        .into_values()
        .map(|(committed, target)| OffsetPlan {
            metadata: shared.to_owned(),
            ..committed.plan(target)
        })
        .collect()
}

/// Returns whether a group must resume at `target` rather than at `other` in the same partition: at the first record, or else at
/// the last end.
fn comes_first(target: &Translated, other: &Translated) -> bool {
    match (
        target.lands == Landing::AtEnd,
        other.lands == Landing::AtEnd,
    ) {
        (false, false) => target.offset < other.offset,
        (true, true) => target.offset > other.offset,
        (at_end, _) => !at_end,
    }
}

/// Which records of one source partition a group reads again after it resumes at a planned offset.
struct ReadAgain {
    overlap: Overlap,
    /// The index of the group's plan.
    group: usize,
    /// The index of the offset's plan in it.
    offset: usize,
}

/// Counts, for each planned offset in a repartitioned topic, the records after it that the group had read.
pub(super) async fn count_read_again(
    repository: &Repository,
    restore: &FinishedRestore,
    plans: &mut [(&GroupState, GroupPlan)],
) -> Result<(), RepoError> {
    let mut questions: BTreeMap<PartitionId, Vec<ReadAgain>> = BTreeMap::new();
    for (number, (group, plan)) in plans.iter().enumerate() {
        for topic in &group.topics {
            let restored = restored_topic(restore, topic);
            if let Some(restored) = restored.filter(|topic| topic.repartitioned().is_some()) {
                ask(
                    &SourceOffset::all(topic, restored),
                    (number, plan),
                    &mut questions,
                );
            }
        }
    }
    for (id, questions) in questions {
        let overlaps: Vec<Overlap> = questions.iter().map(|question| question.overlap).collect();
        let counts = restore.count(repository, &id, &overlaps).await?;
        assert_eq!(counts.len(), questions.len(), "one count per overlap");
        for (question, count) in questions.iter().zip(counts) {
            plans[question.group].1.offsets[question.offset].read_again += count;
        }
    }
    Ok(())
}

/// Adds a question for each planned offset of a group in a topic and each source partition of that topic.
fn ask(
    committed: &[SourceOffset],
    (group, plan): (usize, &GroupPlan),
    questions: &mut BTreeMap<PartitionId, Vec<ReadAgain>>,
) {
    for committed in committed {
        let offsets = plan.offsets.iter().enumerate();
        let of_topic = offsets.filter(|(_, plan)| plan.source_topic == *committed.id.topic);
        let read_again = of_topic.map(|(offset, plan)| ReadAgain {
            overlap: Overlap {
                partition: plan.target.partition,
                from_target_offset: plan.target.offset,
                before_source_offset: committed.offset,
            },
            group,
            offset,
        });
        let id = committed.id.clone();
        questions.entry(id).or_default().extend(read_again);
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::Id;

    use super::*;

    fn committed(partition: PartitionNumber, metadata: Option<&str>) -> SourceOffset {
        SourceOffset {
            id: PartitionId {
                topic: "orders".parse().unwrap(),
                topic_id: Id::ZERO,
                partition,
            },
            offset: 100 * i64::from(partition.get()),
            metadata: metadata.map(str::to_owned),
        }
    }

    /// In target partitions 0 and up.
    fn places(places: [(i64, Landing); 2]) -> Vec<Translated> {
        let place = |(partition, (offset, lands))| Translated {
            topic: "copies".parse().unwrap(),
            partition,
            offset,
            lands,
        };
        PartitionNumber::all().zip(places).map(place).collect()
    }

    fn merge(
        found: &[(SourceOffset, Vec<Translated>)],
    ) -> Vec<(PartitionNumber, PartitionNumber, i64, String)> {
        let found: Vec<_> = found
            .iter()
            .map(|(committed, places)| (committed.clone(), places.as_slice()))
            .collect();
        let plans = merged(&found).into_iter();
        plans
            .map(|plan| {
                let Translated {
                    partition, offset, ..
                } = plan.target;
                (partition, plan.source_partition, offset, plan.metadata)
            })
            .collect()
    }

    #[test]
    fn a_group_resumes_at_its_first_unread_record_or_else_at_the_last_end() {
        use Landing::{AtEnd, OnRecord};
        let next = Landing::OnNext { source_offset: 7 };
        let found = merge(&[
            (
                committed(0.into(), Some("a")),
                places([(50, OnRecord), (9, AtEnd)]),
            ),
            (
                committed(1.into(), Some("a")),
                places([(40, next), (12, AtEnd)]),
            ),
            (committed(2.into(), None), places([(3, AtEnd), (11, AtEnd)])),
        ]);
        let expected = [(0, 1, 40), (1, 1, 12)];
        let expected = expected.map(|(target, source, offset): (u16, u16, i64)| {
            (target.into(), source.into(), offset, "a".to_owned())
        });
        assert_eq!(found, expected, "an unread record wins over any end");
    }

    #[test]
    fn metadata_is_kept_only_if_all_partitions_agree() {
        let at = || places([(1, Landing::OnRecord), (2, Landing::OnRecord)]);
        let of = |metadata: [&str; 2]| {
            let found = [0, 1].map(|partition| {
                let metadata = metadata[partition as usize];
                (committed(partition.into(), Some(metadata)), at())
            });
            merge(&found)[0].3.clone()
        };
        assert_eq!(of(["same", "same"]), "same");
        assert_eq!(of(["one", "other"]), "");
    }
}
