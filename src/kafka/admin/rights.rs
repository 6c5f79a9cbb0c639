//! Permissions of this principal, checked before they are needed.

#![expect(
    unsafe_code,
    reason = "authorized operations exist in librdkafka's C interface only"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use kbk_format::PartitionNumber;
use kbk_format::repo::CommittedOffset;
use rdkafka_sys as sys;
use sys::rd_kafka_AclOperation_t as Operation;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::items;
use super::coordinators::GroupCall;
use super::groups::{CommittedTopic, GroupOffsets, checked, code, elements};
use super::owned::{StoreOffsets, TopicCollection};
use super::request::{BrokerError, Request, Responder};
use super::topics::from_description;
use super::{Admin, invalid};
use crate::kafka::client::owned_text;
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::permission::AclOperation;

/// What this principal may do with a topic or a group: one bit per operation of librdkafka's enum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u32);

impl Rights {
    /// Returns whether the operation is permitted.
    #[must_use]
    pub fn allow(self, operation: AclOperation) -> bool {
        self.0 & bit(number(operation)) != 0
    }

    fn of(operations: &[i32]) -> Rights {
        Rights(operations.iter().fold(0, |bits, &one| bits | bit(one)))
    }
}

/// The bit of an operation; 0 for one that a newer broker may send.
fn bit(operation: i32) -> u32 {
    u32::try_from(operation)
        .ok()
        .and_then(|operation| 1_u32.checked_shl(operation))
        .unwrap_or(0)
}

fn number(operation: AclOperation) -> i32 {
    let operation = match operation {
        AclOperation::Read => Operation::RD_KAFKA_ACL_OPERATION_READ,
        AclOperation::Write => Operation::RD_KAFKA_ACL_OPERATION_WRITE,
        AclOperation::Create => Operation::RD_KAFKA_ACL_OPERATION_CREATE,
        AclOperation::Delete => Operation::RD_KAFKA_ACL_OPERATION_DELETE,
        AclOperation::Alter => Operation::RD_KAFKA_ACL_OPERATION_ALTER,
        AclOperation::Describe => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        AclOperation::DescribeConfigs => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        AclOperation::AlterConfigs => Operation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS,
    };
    operation as i32
}

/// Permissions on the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRights {
    /// DESCRIBE, which listing every group and every ACL needs as well.
    pub describe: bool,
    /// ALTER, which creating ACLs needs as well.
    pub alter: bool,
}

impl Admin {
    /// Returns the permissions on the cluster; all of them where brokers do not report them.
    pub fn cluster_rights(&self) -> Result<ClusterRights, KafkaError> {
        let request = Request {
            doing: "describe the cluster".to_owned(),
            op: Op::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER,
            responder: Responder::Controller,
        };
        self.request(
            &request,
            |client, options, queue| {
                // SAFETY: all handles are live; the options are not shared with another request. The setter returns null, for
                // success: this operation has the option.
                unsafe {
                    sys::rd_kafka_AdminOptions_set_include_authorized_operations(
                        options.cast_mut(),
                        1,
                    );
                    sys::rd_kafka_DescribeCluster(client, options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeCluster_result(event);
                    let operations = sys::rd_kafka_DescribeCluster_result_authorized_operations(
                        result, &mut count,
                    );
                    let allowed = allowed(operations, count);
                    let may =
                        |operation| allowed.is_none_or(|allowed| allowed.contains(&operation));
                    Ok(ClusterRights {
                        describe: may(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE as i32),
                        alter: may(Operation::RD_KAFKA_ACL_OPERATION_ALTER as i32),
                    })
                }
            },
        )
    }

    /// Returns the permissions on topics, which must exist. Topics whose brokers do not report permissions are left out.
    pub fn topic_rights(&self, names: &[String]) -> Result<BTreeMap<String, Rights>, KafkaError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        match self.describe_rights(names, |code| code == Code::TOPIC_DENIED) {
            Err(error) if error.is_unsupported() => Ok(BTreeMap::new()),
            answer => Ok(answer?
                .into_iter()
                // Whoever may read, write, delete or alter a topic may describe it.
                .filter_map(|(name, rights)| {
                    Some((name, rights.unwrap_or(Some(Rights::default()))?))
                })
                .collect()),
        }
    }

    /// Describes topics with the permissions on them. Errors that `keep` selects are part of the answer.
    fn describe_rights(
        &self,
        names: &[String],
        keep: impl Fn(Code) -> bool,
    ) -> Result<BTreeMap<String, Result<Option<Rights>, Code>>, KafkaError> {
        let doing = "read the permissions on topics".to_owned();
        let collection = TopicCollection::new(names).map_err(|cause| invalid(&doing, cause))?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                responder: Responder::Controller,
            },
            |client, options, queue| {
                // SAFETY: all handles are live; the options are not shared with another request. The setter returns null, for
                // success: this operation has the option. The collection is copied.
                unsafe {
                    sys::rd_kafka_AdminOptions_set_include_authorized_operations(
                        options.cast_mut(),
                        1,
                    );
                    sys::rd_kafka_DescribeTopics(client, collection.0.as_ptr(), options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeTopics_result(event);
                    let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
                    let mut answers = BTreeMap::new();
                    for &topic in items(topics, count) {
                        match from_description(topic) {
                            Ok(found) => drop(answers.insert(found.name, Ok(rights(topic)))),
                            Err(error) if keep(error.code) => {
                                answers.insert(error.topic, Err(error.code));
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(answers)
                }
            },
        )
    }

    /// Returns the permissions on groups, which need not exist. Groups whose brokers do not report permissions are left out.
    pub fn group_rights(&self, groups: &[&str]) -> Result<BTreeMap<String, Rights>, KafkaError> {
        const DOING: &str = "read the permissions on";
        // SAFETY: `ask_descriptions` passes groups of a live answer.
        let read = |group| unsafe { rights_on_group(group) };
        let answers = match self.ask_descriptions(DOING, groups, true, true, &read) {
            Err(error) if error.is_unsupported() => return Ok(BTreeMap::new()),
            answers => answers?.into_iter(),
        };
        let reported = answers.filter_map(|(group, answer)| match answer {
            // Whoever may do anything with a group may describe it.
            Err(_) => Some((group, Rights::default())),
            Ok(rights) => Some((group, rights??)),
        });
        Ok(reported.collect())
    }

    /// Returns what brokers report of permissions on topics that do not exist: by topic and operation, where they report it.
    ///
    /// They check READ where offsets of a topic are committed, so `group` must be one that this principal may commit offsets of. They
    /// check WRITE only where records are sent, which the client does not do for a topic that it does not find: WRITE is missing from the
    /// result if this principal may describe the topic.
    pub fn rights_on_new_topics(
        &self,
        names: &[String],
        group: Option<&str>,
    ) -> Result<BTreeMap<String, BTreeMap<AclOperation, bool>>, KafkaError> {
        const AT_ONCE: usize = 500;
        let mut rights = BTreeMap::new();
        for names in names.chunks(AT_ONCE) {
            let hidden_config = self.topics_with_hidden_config(names)?;
            let fixed_config = self.topics_with_fixed_config(names)?;
            let hidden = self.hidden_topics(names)?;
            let unread = match group {
                Some(group) => Some(self.topics_without_commits(names, group)?),
                None => None,
            };
            for name in names {
                let mut of_topic = BTreeMap::from([
                    (AclOperation::DescribeConfigs, !hidden_config.contains(name)),
                    (AclOperation::AlterConfigs, !fixed_config.contains(name)),
                ]);
                if hidden.contains(name) {
                    of_topic.extend([(AclOperation::Read, false), (AclOperation::Write, false)]);
                } else if let Some(unread) = &unread {
                    of_topic.insert(AclOperation::Read, !unread.contains(name));
                }
                rights.insert(name.clone(), of_topic);
            }
        }
        Ok(rights)
    }

    /// Returns the topics that this principal may not describe. They need not exist.
    pub fn hidden_topics(&self, names: &[String]) -> Result<BTreeSet<String>, KafkaError> {
        let described = self.describe_rights(names, |code| {
            [Code::TOPIC_DENIED, Code::UNKNOWN_TOPIC].contains(&code)
        });
        let described = match described {
            Err(error) if error.is_unsupported() => return Ok(BTreeSet::new()),
            described => described?,
        };
        let hidden = described.into_iter();
        Ok(hidden
            .filter(|(_, answer)| *answer == Err(Code::TOPIC_DENIED))
            .map(|(name, _)| name)
            .collect())
    }

    /// Returns the topics of which this principal may not commit offsets. The topics must not exist: brokers reject the offsets, so that
    /// nothing is committed.
    fn topics_without_commits(
        &self,
        names: &[String],
        group: &str,
    ) -> Result<BTreeSet<String>, KafkaError> {
        let call = GroupCall {
            op: Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
            doing: "read the permissions on topics for",
            on_group: AclOperation::Read,
            on_topic: AclOperation::Read,
        };
        let topics = names.iter().map(|name| CommittedTopic {
            topic: name.clone(),
            partitions: vec![CommittedOffset {
                partition: PartitionNumber::ZERO,
                offset: 0,
                leader_epoch: None,
                metadata: String::new(),
            }],
        });
        let nowhere = GroupOffsets {
            group: group.to_owned(),
            topics: topics.collect(),
        };
        let request = StoreOffsets::new(&nowhere).map_err(|cause| invalid(call.doing, cause))?;
        let answers = self.ask_coordinators(
            &call,
            &[group],
            &|_, client, options, queue| {
                let mut request = [request.0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_AlterConsumerGroupOffsets(
                        client,
                        request.as_mut_ptr(),
                        1,
                        options,
                        queue,
                    );
                }
            },
            // SAFETY: the event is of this kind, and its contents live as long as it does.
            &|event| unsafe { denied_commits(event) },
        )?;
        let denied = answers.into_iter().filter_map(|(_, denied)| denied);
        Ok(denied.flatten().collect())
    }
}

/// Returns the topics whose offsets were rejected because a permission is missing.
///
/// # Safety
/// `event` is a live answer to a change of committed offsets.
unsafe fn denied_commits(
    event: *mut sys::rd_kafka_event_t,
) -> Result<BTreeSet<String>, BrokerError> {
    // SAFETY: by contract, for everything reached from the event.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
        let groups = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &mut count);
        let mut denied = BTreeSet::new();
        for &group in items(groups, count) {
            checked(group)?;
            for element in elements(group) {
                if code(element) == Code::TOPIC_DENIED {
                    denied.insert(owned_text((&raw const (*element).topic).read()));
                }
            }
        }
        Ok(denied)
    }
}

/// Reads the permissions on a topic; `None` where the broker did not report them.
///
/// # Safety
/// `topic` is part of a live answer.
unsafe fn rights(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<Rights> {
    // SAFETY: by contract.
    unsafe {
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        allowed(operations, count).map(Rights::of)
    }
}

/// Reads the permissions on a group; `None` where the broker did not report them.
///
/// # Safety
/// `group` is part of a live answer.
unsafe fn rights_on_group(
    group: *const sys::rd_kafka_ConsumerGroupDescription_t,
) -> Result<Option<Rights>, BrokerError> {
    // SAFETY: by contract.
    unsafe {
        BrokerError::check_error(sys::rd_kafka_ConsumerGroupDescription_error(group), "")?;
        let mut count = 0;
        let operations =
            sys::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &mut count);
        Ok(allowed(operations, count).map(Rights::of))
    }
}

/// Borrows operations as numbers, since a newer broker may send any; `None` where it did not report them.
///
/// # Safety
/// `operations` is null, or an array of `count` that lives as long as the result is used.
unsafe fn allowed<'a>(operations: *const Operation, count: usize) -> Option<&'a [i32]> {
    // SAFETY: by contract.
    (!operations.is_null()).then(|| unsafe { slice::from_raw_parts(operations.cast(), count) })
}
