//! Compares the consumer groups and ACLs of two snapshots. No I/O.

use std::collections::BTreeMap;

use kbk_format::PartitionNumber;
use kbk_format::repo::{AclBinding, GroupState, Id};

use super::difference::{Committed, PartitionOf, Side, SnapshotDifference, TopicHistory};

/// The committed offsets of a group, by partition.
type Offsets<'a> = BTreeMap<(&'a str, Id, PartitionNumber), Committed>;

/// Adds the groups that only one snapshot has, and the committed offsets that differ. State and type of a group are those of a moment, and are
/// not compared.
pub(super) fn groups(
    a: &[GroupState],
    b: &[GroupState],
    differences: &mut Vec<SnapshotDifference>,
) {
    let named = |groups: &[GroupState]| -> BTreeMap<String, usize> {
        let names = groups.iter().enumerate();
        names.map(|(at, group)| (group.group.clone(), at)).collect()
    };
    let (names_a, names_b) = (named(a), named(b));
    let only_in_b = names_b.keys().filter(|name| !names_a.contains_key(*name));
    for name in names_a.keys().chain(only_in_b) {
        let of = |groups: &'_ [GroupState], names: &BTreeMap<String, usize>| {
            let group = names.get(name).and_then(|at| groups.get(*at));
            group.cloned()
        };
        match (of(a, &names_a), of(b, &names_b)) {
            (Some(one), Some(other)) => committed(name, &one, &other, differences),
            (Some(only), None) => differences.push(group_only_in(Side::A, name, &only)),
            (None, Some(only)) => differences.push(group_only_in(Side::B, name, &only)),
            (None, None) => {}
        }
    }
}

fn group_only_in(side: Side, name: &str, group: &GroupState) -> SnapshotDifference {
    SnapshotDifference::GroupOnlyIn {
        side,
        group: name.to_owned(),
        committed_offsets: offsets(group).len() as u64,
    }
}

fn offsets(group: &GroupState) -> Offsets<'_> {
    let topics = group.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(move |it| {
            let committed = Committed {
                offset: it.offset,
                leader_epoch: it.leader_epoch,
                metadata: it.metadata.clone(),
            };
            ((&*topic.topic, topic.topic_id, it.partition), committed)
        })
    });
    topics.collect()
}

fn committed(
    name: &str,
    a: &GroupState,
    b: &GroupState,
    differences: &mut Vec<SnapshotDifference>,
) {
    let (mut a, mut b) = (offsets(a), offsets(b));
    let mut places: Vec<_> = a.keys().chain(b.keys()).copied().collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        let (one, other) = (a.remove(&place), b.remove(&place));
        if one != other {
            let (topic, topic_id, partition) = place;
            differences.push(SnapshotDifference::CommittedOffset {
                group: name.to_owned(),
                partition: PartitionOf {
                    topic: TopicHistory {
                        topic: topic.to_owned(),
                        topic_id,
                    },
                    partition,
                },
                committed_in_a: one,
                committed_in_b: other,
            });
        }
    }
}

/// Adds the ACLs that only one snapshot has. Both are in order.
pub(super) fn acls(a: &[AclBinding], b: &[AclBinding], differences: &mut Vec<SnapshotDifference>) {
    for (side, ones, others) in [(Side::A, a, b), (Side::B, b, a)] {
        for acl in ones {
            if others.binary_search(acl).is_err() {
                let acl = acl.clone();
                differences.push(SnapshotDifference::AclOnlyIn { side, acl });
            }
        }
    }
}
