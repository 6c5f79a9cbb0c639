//! Whether the brokers know which groups they coordinate.
//!
//! A group's offsets are in one partition of `__consumer_offsets`, whose leader coordinates it. A broker that has just become the leader, such
//! as after its start, lists no group of that partition until it notices, and reports no error: a list of all groups is complete only if
//! every leader coordinated its partitions before it was asked, and still led them afterwards. So each is asked about a group of each of its
//! partitions, which does not exist: a broker that does not coordinate it says so.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use kbk_format::PartitionNumber;

use super::client::{ATTEMPT, WireClient};
use super::deadline::Deadline;
use super::error::WireError;
use super::leaders::{PartitionLeader, TopicMetadata};
use super::protocol::{DescribeGroupsRequest, DescribeGroupsResponse, ErrorCode, Request as _};

/// The topic of committed offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Who leads each partition of committed offsets, and in which leader epoch; `None` where nobody does.
pub type GroupCoordinators = BTreeMap<PartitionNumber, Option<(i32, i32)>>;

/// A broker and a group to ask it about, which would be in this partition.
struct Question {
    broker: i32,
    partition: PartitionNumber,
    group: String,
}

impl WireClient {
    /// Returns the coordinators of all groups as soon as each is ready, for `limit`; `None` where this principal may not ask. Partitions without a
    /// leader are not waited for.
    ///
    /// # Errors
    ///
    /// Where one is not ready by then, its answer; where one does not answer, that.
    pub async fn group_coordinators(
        &self,
        limit: Duration,
    ) -> Result<Option<GroupCoordinators>, WireError> {
        let deadline = Deadline::after(limit);
        let mut backoff = self.backoff();
        loop {
            let Some(leaders) = self.offsets_leaders().await? else {
                return Ok(None);
            };
            let pause = backoff.pause();
            match self.unready(&leaders).await? {
                None => return Ok(Some(leaders)),
                Some(error) if error.code().is_some_and(is_denial) => return Ok(None),
                Some(error) if !error.is_transient() || deadline.left() <= pause => {
                    return Err(error);
                }
                Some(error) => tracing::debug!("asking the coordinators of groups again: {error}"),
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns who leads the partitions of committed offsets; `None` where this principal may not know.
    pub async fn offsets_leaders(&self) -> Result<Option<GroupCoordinators>, WireError> {
        let deadline = Deadline::after(ATTEMPT);
        let metadata = self.metadata_by(Some(&[OFFSETS_TOPIC]), deadline).await?;
        Ok(metadata.topics.get(OFFSETS_TOPIC).and_then(leaders_of))
    }

    /// Returns why one of the coordinators is not ready, if one is not.
    async fn unready(&self, leaders: &GroupCoordinators) -> Result<Option<WireError>, WireError> {
        let count = i32::try_from(leaders.len()).unwrap_or(i32::MAX);
        let mut by_broker: BTreeMap<i32, Vec<Question>> = BTreeMap::new();
        for (partition, leader) in leaders {
            let Some((broker, _)) = *leader else {
                continue;
            };
            by_broker.entry(broker).or_default().push(Question {
                broker,
                partition: *partition,
                group: group_in(partition.get(), count),
            });
        }
        let asked = by_broker
            .values()
            .map(|questions| self.ask_ready(questions));
        for answer in join_all(asked).await {
            if let Some(unready) = answer? {
                return Ok(Some(unready));
            }
        }
        Ok(None)
    }

    async fn ask_ready(&self, questions: &[Question]) -> Result<Option<WireError>, WireError> {
        let Some(Question { broker, .. }) = questions.first() else {
            return Ok(None);
        };
        let groups = questions.iter().map(|question| question.group.as_str());
        let request = DescribeGroupsRequest {
            groups: groups.collect(),
        };
        let deadline = Deadline::after(ATTEMPT);
        let convert = |response: DescribeGroupsResponse<'_>| {
            let groups = response.groups.into_iter();
            let errors = groups.map(|it| (it.group.to_owned(), it.error));
            errors.collect::<BTreeMap<String, ErrorCode>>()
        };
        let answers = self
            .ask_broker(*broker, &request, deadline, convert)
            .await?;
        let broker = self.broker_name(*broker)?;
        let request = DescribeGroupsRequest::API;
        Ok(questions.iter().find_map(|question| {
            // A group that is left out is not one that is answered for.
            let code = answers.get(&question.group).copied();
            let code = code.unwrap_or(ErrorCode::COORDINATOR_NOT_AVAILABLE);
            (code != ErrorCode::NONE).then(|| WireError::Partition {
                broker: broker.clone(),
                request,
                subject: format!("groups of {OFFSETS_TOPIC}/{}", question.partition),
                code,
            })
        }))
    }
}

fn is_denial(code: ErrorCode) -> bool {
    code == ErrorCode::GROUP_AUTHORIZATION_FAILED
}

/// Returns the leaders of a topic's partitions. A topic that does not exist has none: nobody has committed anything.
fn leaders_of(topic: &TopicMetadata) -> Option<GroupCoordinators> {
    match topic.error {
        ErrorCode::NONE => {
            let leaders = topic.partitions.iter();
            let leader = |(number, leader): (&PartitionNumber, &PartitionLeader)| {
                (*number, leader.broker.map(|broker| (broker, leader.epoch)))
            };
            Some(leaders.map(leader).collect())
        }
        code if code.is_unknown_topic() => Some(GroupCoordinators::new()),
        _ => None,
    }
}

/// Returns the id of a group whose offsets would be in this partition of `count`.
fn group_in(partition: i32, count: i32) -> String {
    let mut ids = (0..u32::MAX).map(|salt| format!("kbk-is-ready-{partition}-{salt}"));
    let found = ids.find(|id| partition_of(id, count) == partition);
    found.unwrap_or_default()
}

/// Returns the partition of a group, as Kafka's `GroupMetadataManager.partitionFor`: by `String.hashCode`, and `Utils.abs`.
fn partition_of(group: &str, count: i32) -> i32 {
    let units = group.encode_utf16().map(i32::from);
    let hash = units.fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit));
    // The absolute value of the smallest number is none.
    hash.checked_abs().unwrap_or(0) % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `"".hashCode()` and so on, by Java.
    #[test]
    fn groups_are_where_kafka_has_them() {
        for (group, hash) in [
            ("", 0_i32),
            ("a", 97),
            ("orders", -1_008_770_331),
            ("polygenelubricants", i32::MIN),
        ] {
            for count in [1, 50, 7] {
                let expected = hash.checked_abs().unwrap_or(0) % count;
                assert_eq!(partition_of(group, count), expected, "{group}");
            }
        }
    }

    #[test]
    fn each_partition_has_a_group() {
        for count in [1, 2, 50, 200] {
            for partition in 0..count {
                assert_eq!(partition_of(&group_in(partition, count), count), partition);
            }
        }
    }
}
