//! Groups that a restore commits no offset of, and why.

use kbk_format::repo::{GroupState, GroupTopic, Id, RestoredTopic};
use serde::Serialize;

use crate::human;

/// A group that is selected, and that no offset is committed of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupWithoutOffsets {
    /// The group's id.
    pub group: String,
    /// Why there is none.
    pub why: String,
}

impl GroupWithoutOffsets {
    /// Returns the groups without a committed offset of what is restored.
    pub fn find<'a>(
        groups: impl IntoIterator<Item = &'a GroupState>,
        restored: &[RestoredTopic],
    ) -> Vec<GroupWithoutOffsets> {
        let without = groups.into_iter().filter_map(|group| {
            let why = why_none(group, restored)?;
            let group = group.group.clone();
            Some(GroupWithoutOffsets { group, why })
        });
        without.collect()
    }
}

/// Returns why no offset of a group is committed; `None` if one is.
pub(super) fn why_none(group: &GroupState, restored: &[RestoredTopic]) -> Option<String> {
    let mut missing = Vec::new();
    for topic in &group.topics {
        let of_name: Vec<&RestoredTopic> = restored
            .iter()
            .filter(|restored| restored.topic == topic.topic)
            .collect();
        let name = &topic.topic;
        let Some(found) = of_name.iter().find(|restored| is_of(topic, restored)) else {
            missing.push(match of_name[..] {
                [] => name.to_string(),
                _ => format!("{name} as it was before it was deleted and created again"),
            });
            continue;
        };
        for committed in &topic.partitions {
            let number = committed.partition;
            if found.partitions.iter().any(|it| it.partition == number) {
                return None;
            }
            missing.push(format!("{name}/{number}"));
        }
    }
    Some(match missing[..] {
        [] => "the backup has no committed offset of it".to_owned(),
        _ => format!(
            "it has committed offsets only of what is not restored: {}",
            human::some_of(&missing)
        ),
    })
}

/// Returns whether a topic of a group is one that was restored. One with the same name and another id is a different one, unless either id is
/// unknown.
pub(super) fn is_of(topic: &GroupTopic, restored: &RestoredTopic) -> bool {
    let unknown = topic.topic_id == Id::ZERO || restored.topic_id == Id::ZERO;
    restored.topic == topic.topic && (unknown || restored.topic_id == topic.topic_id)
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::{CommittedOffset, RestoredPartition};

    use super::*;

    fn topic(name: &str, topic_id: Id, partitions: &[u16]) -> GroupTopic {
        let partitions = partitions.iter().map(|partition| CommittedOffset {
            partition: (*partition).into(),
            offset: 3,
            leader_epoch: None,
            metadata: String::new(),
        });
        GroupTopic {
            topic: name.parse().unwrap(),
            topic_id,
            taken_at: None,
            partitions: partitions.collect(),
        }
    }

    #[test]
    fn a_group_of_which_nothing_is_committed_is_named_with_the_reason() {
        let (old, new) = (Id::random(), Id::random());
        let partition = RestoredPartition {
            partition: 0.into(),
            target_partition: Some(0.into()),
            base_offset: 0,
            end_offset: 9,
        };
        let restored = [RestoredTopic {
            topic: "a".parse().unwrap(),
            topic_id: new,
            target: "b".parse().unwrap(),
            create: None,
            purge: false,
            config_afterwards: [].into(),
            targets: Vec::new(),
            partitions: vec![partition],
        }];
        let why = |topics: Vec<GroupTopic>| {
            let group = GroupState {
                group: "g".to_owned(),
                r#type: None,
                state: None,
                taken_at: None,
                topics,
            };
            let without = GroupWithoutOffsets::find([&group], &restored);
            without.into_iter().next().map(|it| it.why)
        };
        assert_eq!(why(vec![topic("a", new, &[0, 1])]), None);
        assert_eq!(why(vec![topic("a", Id::ZERO, &[0])]), None);
        assert_eq!(
            why(vec![]).unwrap(),
            "the backup has no committed offset of it"
        );
        let other = vec![
            topic("a", old, &[0]),
            topic("a", new, &[1]),
            topic("c", new, &[0]),
        ];
        assert_eq!(
            why(other).unwrap(),
            "it has committed offsets only of what is not restored: a as it was before it was deleted and created again, a/1, c"
        );
    }
}
