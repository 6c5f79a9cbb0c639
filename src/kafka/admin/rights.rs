//! Permissions of this principal, checked before they are needed.

#![expect(
    unsafe_code,
    reason = "authorized operations exist in librdkafka's C interface only"
)]

use std::collections::BTreeMap;
use std::slice;

use rdkafka_sys as sys;
use sys::rd_kafka_AclOperation_t as Operation;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::items;
use super::owned::TopicCollection;
use super::request::{Request, Responder};
use super::topics::from_description;
use super::{Admin, invalid};
use crate::kafka::error::{Code, KafkaError};

/// Permissions on one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRights {
    /// READ, which committing offsets of the topic needs as well.
    pub read: bool,
    /// WRITE.
    pub write: bool,
    /// ALTER_CONFIGS.
    pub alter_configs: bool,
}

/// Permissions on the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRights {
    /// DESCRIBE, which listing every group and every ACL needs as well.
    pub describe: bool,
    /// ALTER, which creating ACLs needs as well.
    pub alter: bool,
}

/// The permission needed to list every group and every ACL.
pub(super) const DESCRIBE_CLUSTER: &str = "DESCRIBE on CLUSTER kafka-cluster";

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
    pub fn topic_rights(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, TopicRights>, KafkaError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let doing = "read the permissions on topics".to_owned();
        let collection = TopicCollection::new(names).map_err(|cause| invalid(&doing, cause))?;
        let rights_by_topic = self.request(
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
                    let mut rights_by_topic = BTreeMap::new();
                    for &topic in items(topics, count) {
                        match from_description(topic) {
                            Ok(found) => {
                                let rights = rights(topic);
                                rights_by_topic.extend(rights.map(|rights| (found.name, rights)));
                            }
                            // Each of these permissions implies DESCRIBE, so a principal without it has none of them.
                            Err(error) if error.code == Code::TOPIC_DENIED => {
                                rights_by_topic.insert(error.topic, TopicRights::default());
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(rights_by_topic)
                }
            },
        );
        match rights_by_topic {
            Err(error) if error.is_unsupported() => Ok(BTreeMap::new()),
            answer => answer,
        }
    }
}

/// Reads the permissions on a topic; `None` where the broker did not report them.
///
/// # Safety
/// `topic` is part of a live answer.
unsafe fn rights(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<TopicRights> {
    // SAFETY: by contract.
    unsafe {
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        let operations = allowed(operations, count)?;
        let may = |operation: Operation| operations.contains(&(operation as i32));
        Some(TopicRights {
            read: may(Operation::RD_KAFKA_ACL_OPERATION_READ),
            write: may(Operation::RD_KAFKA_ACL_OPERATION_WRITE),
            alter_configs: may(Operation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS),
        })
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
