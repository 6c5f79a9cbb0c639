//! What the committed offsets of a topic's partitions become in the partitions that their records went to.
//!
//! In a topic that was repartitioned, records of every partition of the backup meet in every one of the cluster, and a group
//! can stand at one place in each. It is put in front of the first record that it may not have read, whichever partition that
//! is from: nothing is skipped, and what other partitions had read behind that place is read again.

use std::collections::BTreeMap;

use kbk_format::repo::{GroupState, GroupTopic, PartitionId, RepoError, Repository, RestoredTopic};
use kbk_tools::restores::{FinishedRestore, Landing, Overlap, Translated};

use super::plan::{GroupPlan, OffsetPlan, restored_topic};

/// How far a group had read a restored partition.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    pub(super) place: PartitionId,
    /// The next one to read; where the restore of the partition begins if nothing was committed.
    pub(super) offset: i64,
    /// What was committed beside it, if anything was.
    pub(super) metadata: Option<String>,
}

impl Committed {
    /// Of every restored partition that a group had committed for; where they meet, of the others too, unless there is none.
    pub(super) fn all(topic: &GroupTopic, restored: &RestoredTopic) -> Vec<Committed> {
        let offsets = topic.partitions.iter();
        let offsets: BTreeMap<i32, _> = offsets.map(|found| (found.partition, found)).collect();
        let everywhere = restored.repartitioned().is_some();
        let all: Vec<_> = restored
            .partitions
            .iter()
            .map(|partition| {
                let found = offsets.get(&partition.partition);
                Committed {
                    place: PartitionId {
                        topic: restored.topic.clone(),
                        topic_id: restored.topic_id,
                        partition: partition.partition,
                    },
                    offset: found.map_or(partition.base_offset, |found| found.offset),
                    metadata: found.map(|found| found.metadata.clone()),
                }
            })
            .collect();
        let is_committed = |committed: &Committed| committed.metadata.is_some();
        match everywhere && all.iter().any(is_committed) {
            true => all,
            false => all.into_iter().filter(is_committed).collect(),
        }
    }

    /// The plan that puts a group where this leads to.
    fn plan(&self, target: &Translated) -> OffsetPlan {
        OffsetPlan {
            source_topic: self.place.topic.to_string(),
            source_partition: self.place.partition,
            source_offset: self.offset,
            target: target.clone(),
            metadata: self.metadata.clone().unwrap_or_default(),
            read_again: 0,
            before: None,
        }
    }
}

/// Of a partition that went to another one as a whole.
pub(super) fn handed_on((committed, targets): &(Committed, &[Translated])) -> Option<OffsetPlan> {
    targets.first().map(|target| committed.plan(target))
}

/// Of partitions whose records met, each with where it leads to in every target partition: one plan for each of those, which
/// names the partition that decides.
pub(super) fn merged(committed: &[(Committed, &[Translated])]) -> Vec<OffsetPlan> {
    let mut firsts: BTreeMap<i32, (&Committed, &Translated)> = BTreeMap::new();
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
    // What is kept beside offsets is of one partition each: it stays where it says the same of all.
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

/// Whether a place is where to go on rather than another one in the same partition: the first record, or the last end.
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

/// What a group that stands at a plan's offset reads again of one partition of the backup.
struct Question {
    overlap: Overlap,
    /// The plan of the group, and that of its offset.
    group: usize,
    offset: usize,
}

/// Counts, for each offset in a repartitioned topic, the records behind it that the group had read already. `plans` are of
/// `groups`, in their order.
pub(super) async fn count_read_again(
    repository: &Repository,
    restore: &FinishedRestore,
    groups: &[&GroupState],
    plans: &mut [GroupPlan],
) -> Result<(), RepoError> {
    let mut questions: BTreeMap<PartitionId, Vec<Question>> = BTreeMap::new();
    for (number, (group, plan)) in groups.iter().zip(plans.iter()).enumerate() {
        for topic in &group.topics {
            let restored = restored_topic(restore, topic);
            if let Some(restored) = restored.filter(|topic| topic.repartitioned().is_some()) {
                ask(
                    &Committed::all(topic, restored),
                    (number, plan),
                    &mut questions,
                );
            }
        }
    }
    for (place, questions) in questions {
        let overlaps: Vec<Overlap> = questions.iter().map(|question| question.overlap).collect();
        let counts = restore.count(repository, &place, &overlaps).await?;
        for (question, count) in questions.iter().zip(counts) {
            plans[question.group].offsets[question.offset].read_again += count;
        }
    }
    Ok(())
}

/// Of each of a group's places in a topic, every partition that it had read of that topic.
fn ask(
    committed: &[Committed],
    (group, plan): (usize, &GroupPlan),
    questions: &mut BTreeMap<PartitionId, Vec<Question>>,
) {
    for committed in committed {
        let offsets = plan.offsets.iter().enumerate();
        let of_topic = offsets.filter(|(_, plan)| plan.source_topic == *committed.place.topic);
        let of_place = of_topic.map(|(offset, plan)| Question {
            overlap: Overlap {
                partition: plan.target.partition,
                from_target_offset: plan.target.offset,
                before_source_offset: committed.offset,
            },
            group,
            offset,
        });
        let place = committed.place.clone();
        questions.entry(place).or_default().extend(of_place);
    }
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::Id;

    use super::*;

    fn committed(partition: i32, metadata: Option<&str>) -> Committed {
        Committed {
            place: PartitionId {
                topic: "orders".parse().unwrap(),
                topic_id: Id::ZERO,
                partition,
            },
            offset: 100 * i64::from(partition),
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
        (0..).zip(places).map(place).collect()
    }

    fn merge(found: &[(Committed, Vec<Translated>)]) -> Vec<(i32, i32, i64, String)> {
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
    fn a_group_goes_on_at_its_first_unread_record_or_behind_the_last_of_all() {
        use Landing::{AtEnd, OnRecord};
        let next = Landing::OnNext { source_offset: 7 };
        let found = merge(&[
            (
                committed(0, Some("a")),
                places([(50, OnRecord), (9, AtEnd)]),
            ),
            (committed(1, Some("a")), places([(40, next), (12, AtEnd)])),
            (committed(2, None), places([(3, AtEnd), (11, AtEnd)])),
        ]);
        let expected = [(0, 1, 40, "a".to_owned()), (1, 1, 12, "a".to_owned())];
        assert_eq!(found, expected, "an end is no record, however early");
    }

    #[test]
    fn metadata_that_differs_is_nobodys() {
        let at = || places([(1, Landing::OnRecord), (2, Landing::OnRecord)]);
        let of = |metadata: [&str; 2]| {
            let found = [0, 1].map(|partition| {
                let metadata = metadata[partition as usize];
                (committed(partition, Some(metadata)), at())
            });
            merge(&found)[0].3.clone()
        };
        assert_eq!(of(["same", "same"]), "same");
        assert_eq!(of(["one", "other"]), "");
    }
}
