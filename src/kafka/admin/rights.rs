//! What this principal may do, asked before it is tried.

#![expect(
    unsafe_code,
    reason = "brokers tell permissions through librdkafka's C interface only"
)]

use std::collections::BTreeMap;
use std::slice;

use rdkafka_sys as sys;
use sys::rd_kafka_AclOperation_t as Operation;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::{from_description, items};
use super::owned::TopicCollection;
use super::request::{Request, Target};
use super::{Admin, invalid};
use crate::kafka::error::{Code, KafkaError};

/// Permissions on one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRights {
    /// READ: also to commit positions of it.
    pub read: bool,
    /// WRITE.
    pub write: bool,
    /// ALTER_CONFIGS.
    pub alter_configs: bool,
}

/// Permissions on the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRights {
    /// DESCRIBE: also to see every group and every ACL.
    pub describe: bool,
    /// ALTER: also to make ACLs.
    pub alter: bool,
}

/// What it takes to see every group and every ACL.
pub(super) const DESCRIBE_CLUSTER: &str = "DESCRIBE on CLUSTER kafka-cluster";

impl Admin {
    /// Permissions on the cluster; all of them where brokers do not say.
    pub fn cluster_rights(&self) -> Result<ClusterRights, KafkaError> {
        let request = Request {
            doing: "describe the cluster".to_owned(),
            op: Op::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER,
            target: Target::Controller,
        };
        self.request(
            &request,
            |client, options, queue| {
                // SAFETY: all handles are live; the options are not shared with another request. A null error is success, and
                // the option exists for this operation.
                unsafe {
                    sys::rd_kafka_AdminOptions_set_include_authorized_operations(
                        options.cast_mut(),
                        1,
                    );
                    sys::rd_kafka_DescribeCluster(client, options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeCluster_result(event);
                    let operations = sys::rd_kafka_DescribeCluster_result_authorized_operations(
                        result, &mut count,
                    );
                    let told = told(operations, count);
                    let may = |operation| told.is_none_or(|told| told.contains(&operation));
                    Ok(ClusterRights {
                        describe: may(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE as i32),
                        alter: may(Operation::RD_KAFKA_ACL_OPERATION_ALTER as i32),
                    })
                }
            },
        )
    }

    /// Permissions on topics, which exist. Brokers that do not tell are not in the answer.
    pub fn topic_rights(
        &self,
        names: &[String],
    ) -> Result<BTreeMap<String, TopicRights>, KafkaError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let doing = "ask for the permissions on topics".to_owned();
        let collection = TopicCollection::new(names).map_err(|cause| invalid(&doing, cause))?;
        let told = self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                target: Target::Controller,
            },
            |client, options, queue| {
                // SAFETY: all handles are live; the options are not shared with another request. A null error is success, and
                // the option exists for this operation. The collection is copied.
                unsafe {
                    sys::rd_kafka_AdminOptions_set_include_authorized_operations(
                        options.cast_mut(),
                        1,
                    );
                    sys::rd_kafka_DescribeTopics(client, collection.0.as_ptr(), options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and what it holds lives as long as it.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_DescribeTopics_result(event);
                    let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
                    let mut told = BTreeMap::new();
                    for &topic in items(topics, count) {
                        match from_description(topic) {
                            Ok(found) => {
                                told.extend(rights(topic).map(|rights| (found.name, rights)));
                            }
                            // Each permission lets it be described too, so this principal has none.
                            Err(refusal) if refusal.code == Code::TOPIC_DENIED => {
                                told.insert(refusal.topic, TopicRights::default());
                            }
                            Err(refusal) => return Err(refusal),
                        }
                    }
                    Ok(told)
                }
            },
        );
        match told {
            Err(error) if error.is_unsupported() => Ok(BTreeMap::new()),
            told => told,
        }
    }
}

/// # Safety
/// `topic` is part of a live answer.
unsafe fn rights(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<TopicRights> {
    // SAFETY: by contract.
    unsafe {
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        let operations = told(operations, count)?;
        let may = |operation: Operation| operations.contains(&(operation as i32));
        Some(TopicRights {
            read: may(Operation::RD_KAFKA_ACL_OPERATION_READ),
            write: may(Operation::RD_KAFKA_ACL_OPERATION_WRITE),
            alter_configs: may(Operation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS),
        })
    }
}

/// Operations as numbers, since a newer broker may send any; `None` where it did not tell.
///
/// # Safety
/// `operations` is null, or that many which live as long as they are used.
unsafe fn told<'a>(operations: *const Operation, count: usize) -> Option<&'a [i32]> {
    // SAFETY: by contract.
    (!operations.is_null()).then(|| unsafe { slice::from_raw_parts(operations.cast(), count) })
}
