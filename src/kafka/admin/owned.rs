//! librdkafka's objects for requests and answers, each freed when dropped.

#![expect(unsafe_code, reason = "owns librdkafka's objects")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use kbk_format::PartitionNumber;
use kbk_format::repo::OffsetAndMetadata;
use rdkafka_sys as sys;
use sys::rd_kafka_ResourceType_t as Resource;

use super::answer::structs;
use super::groups::{CommittedTopic, GroupOffsets};
use crate::kafka::client::{Failure, Reason, owned_text};
use crate::kafka::commit::OffsetCommit;
use crate::kafka::error::Code;
use crate::kafka::message::bytes;
use crate::kafka::partition::TopicPartition;

/// Defines the owner of a librdkafka object that one function frees.
macro_rules! owner {
    ($(#[$doc:meta])* $name:ident, $raw:ty, $free:path) => {
        $(#[$doc])*
        pub(in crate::kafka) struct $name(pub(in crate::kafka) NonNull<$raw>);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the object is ours.
                unsafe { $free(self.0.as_ptr()) };
            }
        }
    };
}

owner!(
    /// An answer.
    Event, sys::rd_kafka_event_t, sys::rd_kafka_event_destroy
);
owner!(
    /// Metadata of the brokers and of all topics.
    Metadata, sys::rd_kafka_metadata, sys::rd_kafka_metadata_destroy
);
owner!(
    /// Options of a request.
    Options, sys::rd_kafka_AdminOptions_t, sys::rd_kafka_AdminOptions_destroy
);
owner!(
    /// A topic to create.
    NewTopic, sys::rd_kafka_NewTopic_t, sys::rd_kafka_NewTopic_destroy
);
owner!(
    /// Names of topics to describe.
    TopicCollection, sys::rd_kafka_TopicCollection_t, sys::rd_kafka_TopicCollection_destroy
);
owner!(
    /// The configuration of a topic or a broker, to read or to change.
    Config, sys::rd_kafka_ConfigResource_t, sys::rd_kafka_ConfigResource_destroy
);
owner!(
    /// Partitions, each with an offset.
    PartitionList,
    sys::rd_kafka_topic_partition_list_t,
    sys::rd_kafka_topic_partition_list_destroy
);
owner!(
    /// A request for a group's committed offsets.
    ListOffsets,
    sys::rd_kafka_ListConsumerGroupOffsets_t,
    sys::rd_kafka_ListConsumerGroupOffsets_destroy
);
owner!(
    /// Offsets to commit on behalf of a group.
    StoreOffsets,
    sys::rd_kafka_AlterConsumerGroupOffsets_t,
    sys::rd_kafka_AlterConsumerGroupOffsets_destroy
);
owner!(
    /// Committed offsets to delete from a group.
    DeleteOffsets,
    sys::rd_kafka_DeleteConsumerGroupOffsets_t,
    sys::rd_kafka_DeleteConsumerGroupOffsets_destroy
);
owner!(
    /// A group to delete.
    DeleteGroup, sys::rd_kafka_DeleteGroup_t, sys::rd_kafka_DeleteGroup_destroy
);
owner!(
    /// An ACL to create, or a filter for listing ACLs.
    Acl, sys::rd_kafka_AclBinding_t, sys::rd_kafka_AclBinding_destroy
);

owner!(
    /// Partitions, each with the offset below which its records are to be deleted.
    DeleteRecords, sys::rd_kafka_DeleteRecords_t, sys::rd_kafka_DeleteRecords_destroy
);

impl DeleteRecords {
    pub(super) fn new(before: &[(TopicPartition, i64)]) -> Result<DeleteRecords, String> {
        let list = PartitionList::new(&[], 0)?;
        for (TopicPartition { topic, partition }, offset) in before {
            list.add(&c_string(topic)?, *partition, *offset);
        }
        // SAFETY: the list is live; it is copied.
        let records = unsafe { sys::rd_kafka_DeleteRecords_new(list.0.as_ptr()) };
        Ok(DeleteRecords(
            NonNull::new(records).expect("the constructor never returns null"),
        ))
    }
}

impl NewTopic {
    pub(super) fn new(
        name: &str,
        partitions: i32,
        replication_factor: Option<i32>,
        config: &BTreeMap<String, String>,
    ) -> Result<NewTopic, String> {
        const CLUSTER_DEFAULT: c_int = -1;
        let name = c_string(name)?;
        let mut reason = Reason::new();
        // SAFETY: the name is a C string and the buffer's size is given.
        let topic = unsafe {
            sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                partitions,
                replication_factor.unwrap_or(CLUSTER_DEFAULT),
                reason.as_mut_ptr(),
                Reason::SIZE,
            )
        };
        let topic = NewTopic(NonNull::new(topic).ok_or_else(|| reason.to_string())?);
        for (key, value) in config {
            let (key, value) = (c_string(key)?, c_string(value)?);
            // SAFETY: the topic is live; both strings are copied.
            let code = unsafe {
                sys::rd_kafka_NewTopic_set_config(topic.0.as_ptr(), key.as_ptr(), value.as_ptr())
            };
            match Code(code as i32) {
                Code::NONE => {}
                code => return Err(code.to_string()),
            }
        }
        Ok(topic)
    }
}

impl TopicCollection {
    pub(super) fn new(names: &[String]) -> Result<TopicCollection, String> {
        let names: Vec<CString> = names
            .iter()
            .map(|name| c_string(name))
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the array has `len` C strings; they are copied.
        let collection = unsafe {
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
        };
        NonNull::new(collection)
            .map(TopicCollection)
            .ok_or_else(|| "no topics".to_owned())
    }
}

impl Config {
    pub(super) fn of_topic(name: &str) -> Result<Config, String> {
        Config::of(Resource::RD_KAFKA_RESOURCE_TOPIC, name)
    }

    pub(super) fn of_broker(id: i32) -> Result<Config, String> {
        Config::of(Resource::RD_KAFKA_RESOURCE_BROKER, &id.to_string())
    }

    fn of(resource: Resource, name: &str) -> Result<Config, String> {
        let name = c_string(name)?;
        // SAFETY: the name is a C string, which is copied.
        let resource = unsafe { sys::rd_kafka_ConfigResource_new(resource, name.as_ptr()) };
        NonNull::new(resource)
            .map(Config)
            .ok_or_else(|| "the resource has no name".to_owned())
    }

    pub(super) fn change(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        use sys::rd_kafka_AlterConfigOpType_t::{
            RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE as DELETE,
            RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET as SET,
        };
        let key = c_string(key)?;
        let value = value.map(c_string).transpose()?;
        // SAFETY: the resource is live; both strings are copied; a deletion has no value.
        let failure = unsafe {
            Failure::of(sys::rd_kafka_ConfigResource_add_incremental_config(
                self.0.as_ptr(),
                key.as_ptr(),
                if value.is_some() { SET } else { DELETE },
                value.as_ref().map_or(ptr::null(), |value| value.as_ptr()),
            ))
        };
        failure.map_or(Ok(()), |failure| Err(failure.text))
    }
}

impl PartitionList {
    pub(in crate::kafka) fn new(
        partitions: &[TopicPartition],
        offset: i64,
    ) -> Result<PartitionList, String> {
        let size = c_int::try_from(partitions.len()).map_err(|error| error.to_string())?;
        // SAFETY: a plain constructor.
        let list = unsafe { sys::rd_kafka_topic_partition_list_new(size) };
        let list = PartitionList(NonNull::new(list).expect("the constructor never returns null"));
        for TopicPartition { topic, partition } in partitions {
            list.add(&c_string(topic)?, *partition, offset);
        }
        Ok(list)
    }

    /// Lists offsets to commit, with metadata and without leader epochs.
    fn committed(topics: &[CommittedTopic]) -> Result<PartitionList, String> {
        let list = PartitionList::new(&[], 0)?;
        for CommittedTopic { topic, partitions } in topics {
            let topic = c_string(topic)?;
            for committed in partitions {
                let element = list.add(&topic, committed.partition, committed.offset);
                // SAFETY: the element is in the list, which frees the metadata with librdkafka's own allocator.
                unsafe { set_metadata(element, committed.metadata.as_bytes()) };
            }
        }
        Ok(list)
    }

    fn raw(&self) -> &[sys::rd_kafka_topic_partition_t] {
        // SAFETY: the list is live and has `cnt` elements.
        unsafe {
            let list = self.0.as_ref();
            structs(list.elems, list.cnt)
        }
    }

    /// Lists positions to commit in a transaction.
    pub(in crate::kafka) fn positions(positions: &[OffsetCommit]) -> Result<PartitionList, String> {
        let list = PartitionList::new(&[], 0)?;
        for position in positions {
            let topic = c_string(&position.topic)?;
            let OffsetAndMetadata { offset, metadata } = &position.committed;
            let element = list.add(&topic, position.partition, *offset);
            // SAFETY: the element is in the list, which frees the metadata with librdkafka's own allocator.
            unsafe { set_metadata(element, metadata.as_bytes()) };
        }
        Ok(list)
    }

    /// Reads an answer: the committed offset of each partition, or `None` where the group has committed none.
    pub(in crate::kafka) fn committed_offsets(
        &self,
    ) -> BTreeMap<TopicPartition, Option<OffsetAndMetadata>> {
        let committed = |element: &sys::rd_kafka_topic_partition_t| {
            // SAFETY: the topic is a C string that lives as long as the list.
            let topic = unsafe { owned_text(element.topic) };
            let committed = (element.offset >= 0).then(|| {
                // SAFETY: null, or `metadata_size` bytes that live as long as the list.
                let metadata =
                    unsafe { bytes(element.metadata, element.metadata_size) }.unwrap_or_default();
                OffsetAndMetadata {
                    offset: element.offset,
                    metadata: String::from_utf8_lossy(metadata).into_owned(),
                }
            });
            // Only what was asked about can be in the answer; anything else has no reader.
            let partition = PartitionNumber::new(element.partition)?;
            Some((TopicPartition::new(topic, partition), committed))
        };
        self.raw().iter().filter_map(committed).collect()
    }

    /// Returns the first error that an answer reports for a partition.
    pub(in crate::kafka) fn first_error(&self) -> Option<Code> {
        self.raw()
            .iter()
            .map(|element| {
                // SAFETY: the code is read as a number, since a newer broker may send any.
                Code(unsafe { (&raw const element.err).cast::<i32>().read() })
            })
            .find(|code| *code != Code::NONE)
    }

    /// Adds an element and returns it. The pointer is valid until the next one is added: the list then reallocates.
    fn add(
        &self,
        topic: &CStr,
        partition: PartitionNumber,
        offset: i64,
    ) -> *mut sys::rd_kafka_topic_partition_t {
        // SAFETY: the list is live, the name is copied, and the returned element is in the list.
        unsafe {
            let element = sys::rd_kafka_topic_partition_list_add(
                self.0.as_ptr(),
                topic.as_ptr(),
                partition.get(),
            );
            (*element).offset = offset;
            element
        }
    }
}

/// Gives an element a copy of the metadata; empty metadata stays null.
///
/// # Safety
/// `element` is live and has no metadata yet.
unsafe fn set_metadata(element: *mut sys::rd_kafka_topic_partition_t, metadata: &[u8]) {
    if metadata.is_empty() {
        return;
    }
    // SAFETY: librdkafka's allocator needs no client, and aborts the process rather than return null.
    unsafe {
        let copy = sys::rd_kafka_mem_malloc(ptr::null_mut(), metadata.len());
        ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast::<u8>(), metadata.len());
        (*element).metadata = copy;
        (*element).metadata_size = metadata.len();
    }
}

impl ListOffsets {
    /// Requests every partition for which the group has committed an offset.
    pub(super) fn all(group: &str) -> Result<ListOffsets, String> {
        let group = c_string(group)?;
        // SAFETY: the name is a C string, which is copied; null asks for all partitions.
        let request =
            unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), ptr::null()) };
        non_null(request).map(ListOffsets)
    }
}

impl StoreOffsets {
    pub(super) fn new(offsets: &GroupOffsets) -> Result<StoreOffsets, String> {
        let (group, list) = (
            c_string(&offsets.group)?,
            PartitionList::committed(&offsets.topics)?,
        );
        // SAFETY: the name is a C string; both are copied.
        let change =
            unsafe { sys::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), list.0.as_ptr()) };
        non_null(change).map(StoreOffsets)
    }
}

impl DeleteOffsets {
    pub(super) fn new(group: &str, partitions: &[TopicPartition]) -> Result<DeleteOffsets, String> {
        let (group, list) = (c_string(group)?, PartitionList::new(partitions, 0)?);
        // SAFETY: the name is a C string; both are copied.
        let change = unsafe {
            sys::rd_kafka_DeleteConsumerGroupOffsets_new(group.as_ptr(), list.0.as_ptr())
        };
        non_null(change).map(DeleteOffsets)
    }
}

impl DeleteGroup {
    pub(super) fn new(group: &str) -> Result<DeleteGroup, String> {
        let group = c_string(group)?;
        // SAFETY: the name is a C string, which is copied.
        non_null(unsafe { sys::rd_kafka_DeleteGroup_new(group.as_ptr()) }).map(DeleteGroup)
    }
}

/// Checks the result of a constructor. None of them returns null in librdkafka 2.12.1, and rdkafka.h does not promise that.
fn non_null<T>(object: *mut T) -> Result<NonNull<T>, String> {
    NonNull::new(object).ok_or_else(|| "librdkafka rejects the group id".to_owned())
}

pub(super) fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} contains a NUL character"))
}
