//! Offsets of partitions: where logs start and end, and deleting records from their start.

#![expect(
    unsafe_code,
    reason = "these calls exist in librdkafka's C interface only"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr;
use std::thread;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Op;

use super::answer::{items, structs};
use super::owned::{DeleteRecords, PartitionList};
use super::request::{BrokerError, Request, Responder};
use super::{Admin, invalid};
use crate::kafka::answers::Answers;
use crate::kafka::client::{Client, owned_text};
use crate::kafka::consumer::log_bounds;
use crate::kafka::error::{Code, KafkaError};
use crate::kafka::partition::TopicPartition;

/// The bounds of a partition's log. The ends are exclusive: one past the last offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The first offset in the log.
    pub log_start_offset: i64,
    /// The end of what all in-sync replicas have.
    pub high_watermark: i64,
    /// Where the first open transaction begins, or the high watermark if none is open: `read_committed` reads up to here.
    pub last_stable_offset: i64,
}

/// As in "cannot *list the offsets of partitions*".
const LIST_OFFSETS: &str = "list the offsets of partitions";

impl Admin {
    /// Returns the log bounds of partitions.
    pub fn offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Answers<TopicPartition, PartitionOffsets>, KafkaError> {
        use sys::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED as COMMITTED,
            RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED as UNCOMMITTED,
        };
        const EARLIEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64;
        const LATEST: i64 = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
        if partitions.is_empty() {
            return Answers::complete(LIST_OFFSETS, [], BTreeMap::new());
        }
        // The high watermark first: records that arrive in between would otherwise look like those of an open transaction. The start
        // last: if retention overtakes, the start is the most recent of them.
        let high = match self.list_offsets(partitions, LATEST, UNCOMMITTED) {
            Err(error) if error.is_unsupported() => return self.offsets_one_by_one(partitions),
            high => high?,
        };
        let stable = self.list_offsets(partitions, LATEST, COMMITTED)?;
        let start = self.list_offsets(partitions, EARLIEST, UNCOMMITTED)?;
        let mut bounds = BTreeMap::new();
        for (partition, log_start_offset) in start {
            let high_watermark = *high.get(&partition)?;
            let offsets = PartitionOffsets {
                log_start_offset,
                high_watermark,
                last_stable_offset: high_watermark.min(*stable.get(&partition)?),
            };
            bounds.insert(partition, offsets);
        }
        Answers::complete(LIST_OFFSETS, partitions, bounds)
    }

    /// Deletes the records of each partition below an offset, which must not exceed its high watermark. Offsets at or below the
    /// log start delete nothing.
    pub fn delete_records(&self, before: &[(TopicPartition, i64)]) -> Result<(), KafkaError> {
        if before.is_empty() {
            return Ok(());
        }
        let doing = "delete the records of partitions".to_owned();
        let records = DeleteRecords::new(before).map_err(|cause| invalid(&doing, cause))?;
        self.request(
            &Request {
                doing,
                op: Op::RD_KAFKA_ADMIN_OP_DELETERECORDS,
                responder: Responder::Controller,
            },
            |client, options, queue| {
                let mut records = [records.0.as_ptr()];
                // SAFETY: all handles are live; the array is read during the call.
                unsafe {
                    sys::rd_kafka_DeleteRecords(client, records.as_mut_ptr(), 1, options, queue);
                }
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let result = sys::rd_kafka_event_DeleteRecords_result(event);
                    check_partitions(sys::rd_kafka_DeleteRecords_result_offsets(result))
                }
            },
        )
    }

    /// Requests one offset per partition, in one call for any number of partitions and brokers. What cannot be answered yet is asked again,
    /// for as long as some of it is answered each time: the leaders of thousands of partitions are ready one after the other.
    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: i64,
        isolation: sys::rd_kafka_IsolationLevel_t,
    ) -> Result<Answers<TopicPartition, i64>, KafkaError> {
        let mut found = BTreeMap::new();
        let mut open = partitions.to_vec();
        loop {
            found.extend(self.list_some_offsets(&open, spec, isolation)?);
            let before = open.len();
            open.retain(|partition| !found.contains_key(partition));
            if open.is_empty() || open.len() == before {
                return Answers::complete(LIST_OFFSETS, partitions, found);
            }
            thread::sleep(Admin::FIRST_PAUSE);
        }
    }

    /// Returns the offsets of those partitions of which the leaders answer, which are some.
    fn list_some_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: i64,
        isolation: sys::rd_kafka_IsolationLevel_t,
    ) -> Result<BTreeMap<TopicPartition, i64>, KafkaError> {
        let list =
            PartitionList::new(partitions, spec).map_err(|cause| invalid(LIST_OFFSETS, cause))?;
        let silent = RefCell::new(None);
        let found = self.request(
            &Request {
                doing: LIST_OFFSETS.to_owned(),
                op: Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
                responder: Responder::Leaders(isolation),
            },
            |client, options, queue| {
                // SAFETY: all handles are live; the list is copied.
                unsafe { sys::rd_kafka_ListOffsets(client, list.0.as_ptr(), options, queue) };
            },
            |event| {
                // SAFETY: the event is of this kind, and its contents live as long as it does.
                unsafe {
                    let mut count = 0;
                    let result = sys::rd_kafka_event_ListOffsets_result(event);
                    let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
                    let (mut found, mut later) = (BTreeMap::new(), None);
                    silent.take();
                    for answer in items(infos, count).iter().map(|&info| from_offset(info)) {
                        match answer {
                            // librdkafka 2.12 loses the failure of a request to one of the leaders
                            // (`rd_kafka_ListOffsets_response_merge`): its partitions have no error then, and an invalid offset. Every
                            // log has a start and an end.
                            Ok((partition, ..0)) => {
                                silent.borrow_mut().get_or_insert(partition);
                                later.get_or_insert(BrokerError::of(Code::TRANSPORT));
                            }
                            Ok((partition, offset)) => drop(found.insert(partition, offset)),
                            Err(error) if error.may_pass() => drop(later.get_or_insert(error)),
                            Err(error) => return Err(error),
                        }
                    }
                    match later {
                        Some(error) if found.is_empty() => Err(error),
                        _ => Ok(found),
                    }
                }
            },
        );
        found.map_err(|error| match silent.take() {
            Some(partition) => self.unanswered(error, &partition),
            None => error,
        })
    }

    /// Names the leader that did not answer ListOffsets, where it can be found out.
    fn unanswered(&self, error: KafkaError, partition: &TopicPartition) -> KafkaError {
        const WAIT: Duration = Duration::from_secs(2);
        let KafkaError::Timeout {
            doing,
            waited,
            cause,
        } = error
        else {
            return error;
        };
        let metadata = self.ask_metadata(WAIT).ok();
        // SAFETY: the metadata is live.
        let leader = metadata.and_then(|found| unsafe { leader(found.0.as_ref(), partition) });
        let leader = leader.unwrap_or_else(|| "the broker".to_owned());
        KafkaError::Timeout {
            doing,
            waited,
            cause: format!("{leader} that leads {partition} did not answer ListOffsets: {cause}"),
        }
    }

    /// The fallback for clusters without ListOffsets by isolation level; they are taken to have no open transactions.
    fn offsets_one_by_one(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Answers<TopicPartition, PartitionOffsets>, KafkaError> {
        let mut bounds = BTreeMap::new();
        for asked in partitions {
            let (log_start_offset, high_watermark) = log_bounds(
                &self.client,
                &asked.topic,
                asked.partition,
                Client::PATIENCE,
            )?;
            let offsets = PartitionOffsets {
                log_start_offset,
                high_watermark,
                last_stable_offset: high_watermark,
            };
            bounds.insert(asked.clone(), offsets);
        }
        Answers::complete(LIST_OFFSETS, partitions, bounds)
    }
}

/// Returns the number and the address of the broker that leads a partition.
///
/// # Safety
/// `metadata` is live.
unsafe fn leader(metadata: &sys::rd_kafka_metadata, partition: &TopicPartition) -> Option<String> {
    // SAFETY: by contract, for everything reached from the metadata.
    unsafe {
        let topics = structs(metadata.topics, metadata.topic_cnt);
        let mut topics = topics.iter();
        let topic = topics.find(|topic| owned_text(topic.topic) == partition.topic)?;
        let mut partitions = structs(topic.partitions, topic.partition_cnt).iter();
        let found = partitions.find(|found| found.id == partition.partition.get())?;
        let mut brokers = structs(metadata.brokers, metadata.broker_cnt).iter();
        let broker = brokers.find(|broker| broker.id == found.leader)?;
        let (host, port) = (owned_text(broker.host), broker.port);
        Some(format!("broker {} ({host}:{port})", broker.id))
    }
}

/// Returns the first error in a list of partitions.
///
/// # Safety
/// `list` is part of a live answer.
unsafe fn check_partitions(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> Result<(), BrokerError> {
    // SAFETY: by contract, for everything reached from the list; the code is read as a number, since a newer broker may send
    // any.
    unsafe {
        for partition in structs((*list).elems, (*list).cnt) {
            let code = Code((&raw const partition.err).cast::<i32>().read());
            BrokerError::check(code, &owned_text(partition.topic), ptr::null())?;
        }
    }
    Ok(())
}

/// Reads the offset of one partition.
///
/// # Safety
/// `info` is part of a live answer.
unsafe fn from_offset(
    info: *const sys::rd_kafka_ListOffsetsResultInfo_t,
) -> Result<(TopicPartition, i64), BrokerError> {
    // SAFETY: by contract; the code is read as a number.
    unsafe {
        let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        let topic = owned_text((&raw const (*partition).topic).read());
        let number = (&raw const (*partition).partition).read();
        let code = Code((&raw const (*partition).err).cast::<i32>().read());
        BrokerError::check(code, &topic, ptr::null())?;
        let number = BrokerError::partition_number(&topic, number)?;
        let offset = (&raw const (*partition).offset).read();
        Ok((TopicPartition::new(topic, number), offset))
    }
}
