//! The consumer groups of a snapshot: how far each has read, and the rules of the list (SPEC section 11.5). A manifest names them by digest.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::keys::TopicName;
use super::order::{check_order, check_read_after};
use super::packed::{PackedFormat, PackedRef, check_limits};
use crate::PartitionNumber;

/// What a manifest states about the groups of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsRef {
    /// Sequence of the snapshot whose backup read them.
    pub seen: u64,
    /// Sequence of the newest snapshot when it read them, 0 where there was none: orders answers, which clocks cannot.
    pub read_after: u64,
    /// When it read them.
    pub taken_at: Timestamp,
    /// How many there are.
    pub groups: u64,
    /// The object that has them.
    pub object: PackedRef,
}

/// All groups of a cluster, as one backup read them. Clones share the groups, which may be many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Sequence of the snapshot whose backup read them.
    pub seen: u64,
    /// Sequence of the newest snapshot when it read them, 0 where there was none: orders answers, which clocks cannot.
    pub read_after: u64,
    /// When it read them.
    pub taken_at: Timestamp,
    /// Ordered by `group`.
    pub groups: Arc<[GroupState]>,
}

/// One group and its committed offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// Its id.
    pub group: String,
    /// The cluster's name of its protocol, where it reported that.
    pub r#type: Option<String>,
    /// The cluster's name of its state then, where it reported that.
    pub state: Option<String>,
    /// When it was read, if that was by an earlier backup than the others: the cluster did not report it again.
    pub taken_at: Option<Timestamp>,
    /// The topics for which it has committed offsets, ordered by name.
    pub topics: Vec<GroupTopic>,
}

/// A topic of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTopic {
    /// Its name.
    pub topic: TopicName,
    /// The id that the topic of this name had then; zeros where it is not known.
    pub topic_id: Id,
    /// When these offsets were read, if that was by an earlier backup than the rest of the group.
    pub taken_at: Option<Timestamp>,
    /// Ordered by `partition`.
    pub partitions: Vec<CommittedOffset>,
}

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// The partition.
    pub partition: PartitionNumber,
    /// The next record to read.
    pub offset: i64,
    /// Leader epoch of the last record that was read, where the group committed one.
    pub leader_epoch: Option<i32>,
    /// The metadata that the group committed with the offset.
    pub metadata: String,
}

impl GroupsRef {
    /// Checks the rules of SPEC section 11.5; the error names the one that is violated.
    pub(super) fn check(&self, sequence: u64) -> Result<(), String> {
        if !(1..=sequence).contains(&self.seen) {
            let seen = self.seen;
            return Err(format!("its groups were seen by snapshot {seen}"));
        }
        check_read_after("groups", self.read_after, self.seen)?;
        check_limits(PackedFormat::Groups, &self.object)
    }
}

/// Checks the list of all groups; the error names the rule that is violated.
pub(super) fn check_groups(groups: &[GroupState]) -> Result<(), String> {
    check_order("groups", groups, |group| &group.group)?;
    groups.iter().try_for_each(GroupState::check)
}

impl GroupState {
    fn check(&self) -> Result<(), String> {
        let name = &self.group;
        let in_group = |detail| format!("group {name:?}: {detail}");
        check_order("topics", &self.topics, |topic| &topic.topic).map_err(in_group)?;
        let checked = self.topics.iter().try_for_each(GroupTopic::check);
        checked.map_err(in_group)
    }
}

impl GroupTopic {
    fn check(&self) -> Result<(), String> {
        let topic = &self.topic;
        let in_topic = |detail| format!("{topic}: {detail}");
        if self.partitions.is_empty() {
            return Err(in_topic("it has no partitions".to_owned()));
        }
        let partition = |committed: &CommittedOffset| committed.partition;
        check_order("partitions", &self.partitions, partition).map_err(in_topic)?;
        let checked = self.partitions.iter().try_for_each(CommittedOffset::check);
        checked.map_err(in_topic)
    }
}

impl CommittedOffset {
    fn check(&self) -> Result<(), String> {
        let (partition, offset, epoch) = (self.partition, self.offset, self.leader_epoch);
        if offset < 0 || epoch.is_some_and(|epoch| epoch < 0) {
            return Err(format!(
                "partition {partition} is committed at offset {offset}, leader epoch {epoch:?}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::id::Hex;

    fn committed(partition: PartitionNumber) -> CommittedOffset {
        CommittedOffset {
            partition,
            offset: 7,
            leader_epoch: Some(0),
            metadata: String::new(),
        }
    }

    fn topic(name: &str) -> GroupTopic {
        GroupTopic {
            topic: name.parse().unwrap(),
            topic_id: Id::ZERO,
            taken_at: None,
            partitions: vec![committed(0.into()), committed(2.into())],
        }
    }

    fn group(name: &str) -> GroupState {
        GroupState {
            group: name.to_owned(),
            r#type: None,
            state: Some("Empty".to_owned()),
            taken_at: None,
            topics: vec![topic("a"), topic("b")],
        }
    }

    fn reference() -> GroupsRef {
        GroupsRef {
            seen: 2,
            read_after: 1,
            taken_at: Timestamp::UNIX_EPOCH,
            groups: 2,
            object: PackedRef {
                sha256: Hex([1; 32]),
                size: 10,
                raw_size: 20,
            },
        }
    }

    #[test]
    fn any_text_is_a_valid_group_and_so_is_an_empty_list() {
        let names = ["", " ", "Z", "a", "a\u{0}", "ö/1", "長"];
        let all = names.map(group).to_vec();
        assert_eq!(check_groups(&all), Ok(()));
        assert_eq!(check_groups(&[]), Ok(()));
        assert_eq!(reference().check(2), Ok(()));
    }

    #[test]
    fn every_rule_is_checked() {
        let mut late = reference();
        for seen in [0, 3] {
            late.seen = seen;
            assert!(late.check(2).unwrap_err().contains("seen by"), "{seen}");
        }
        (late.seen, late.read_after) = (2, 2);
        assert!(late.check(2).unwrap_err().contains("read after"));
        late = reference();
        late.object.size = u64::MAX;
        assert!(late.check(2).unwrap_err().contains("limit"));
        let wrongs: [fn(&mut Vec<GroupState>); 9] = [
            |list| list.swap(0, 1),
            |list| list[1].group = "g".to_owned(),
            |list| list[1].topics.swap(0, 1),
            |list| list[1].topics[1].topic = "a".parse().unwrap(),
            |list| list[1].topics[1].partitions.clear(),
            |list| list[1].topics[1].partitions.swap(0, 1),
            |list| list[1].topics[1].partitions[1].partition = 0.into(),
            |list| list[1].topics[1].partitions[0].offset = -1,
            |list| list[1].topics[1].partitions[0].leader_epoch = Some(-1),
        ];
        for (at, wrong) in wrongs.iter().enumerate() {
            let mut list = vec![group("g"), group("h")];
            wrong(&mut list);
            assert!(check_groups(&list).is_err(), "rule {at}");
        }
    }
}
