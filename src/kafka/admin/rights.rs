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

impl Admin {
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
    // SAFETY: by contract; the operations are read as numbers, since a newer broker may send any.
    unsafe {
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        if operations.is_null() {
            return None;
        }
        let operations = slice::from_raw_parts(operations.cast::<i32>(), count);
        let may = |operation: Operation| operations.contains(&(operation as i32));
        Some(TopicRights {
            read: may(Operation::RD_KAFKA_ACL_OPERATION_READ),
            write: may(Operation::RD_KAFKA_ACL_OPERATION_WRITE),
            alter_configs: may(Operation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS),
        })
    }
}
