//! Questions in librdkafka's own form, each freed when dropped.

#![expect(unsafe_code, reason = "owns librdkafka's objects")]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::ptr::{self, NonNull};

use rdkafka_sys as sys;

use super::answer::structs;
use crate::kafka::batch::bytes;
use crate::kafka::client::{Failure, Reason};
use crate::kafka::error::Code;
use crate::kafka::transaction::Committed;

/// Makes an owner of a librdkafka object that one function frees.
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
    /// How a request is to be made.
    Options, sys::rd_kafka_AdminOptions_t, sys::rd_kafka_AdminOptions_destroy
);
owner!(
    /// A topic to be created.
    NewTopic, sys::rd_kafka_NewTopic_t, sys::rd_kafka_NewTopic_destroy
);
owner!(
    /// The names of topics.
    TopicCollection, sys::rd_kafka_TopicCollection_t, sys::rd_kafka_TopicCollection_destroy
);
owner!(
    /// A topic's configuration, as a question or as a change.
    TopicConfig, sys::rd_kafka_ConfigResource_t, sys::rd_kafka_ConfigResource_destroy
);
owner!(
    /// Partitions with an offset each.
    PartitionList,
    sys::rd_kafka_topic_partition_list_t,
    sys::rd_kafka_topic_partition_list_destroy
);

owner!(
    /// A group to be deleted.
    Group, sys::rd_kafka_DeleteGroup_t, sys::rd_kafka_DeleteGroup_destroy
);

owner!(
    /// Partitions of which all in front of an offset is to be deleted.
    DeleteRecords, sys::rd_kafka_DeleteRecords_t, sys::rd_kafka_DeleteRecords_destroy
);

impl DeleteRecords {
    pub(super) fn new(before: &[(String, i32, i64)]) -> Result<DeleteRecords, String> {
        let places: Vec<_> = before
            .iter()
            .map(|(topic, partition, _)| (topic.clone(), *partition))
            .collect();
        let mut list = PartitionList::new(&places, 0)?;
        list.set_offsets(before.iter().map(|(_, _, offset)| *offset));
        // SAFETY: the list is live, and copied.
        let records = unsafe { sys::rd_kafka_DeleteRecords_new(list.0.as_ptr()) };
        Ok(DeleteRecords(
            NonNull::new(records).expect("the constructor never returns null"),
        ))
    }
}

impl Group {
    pub(super) fn new(name: &str) -> Result<Group, String> {
        let name = c_string(name)?;
        // SAFETY: the name is a C string, which is copied.
        let group = unsafe { sys::rd_kafka_DeleteGroup_new(name.as_ptr()) };
        Ok(Group(
            NonNull::new(group).expect("the constructor never returns null"),
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
        // SAFETY: the array has as many C strings as said; they are copied.
        let collection = unsafe {
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
        };
        NonNull::new(collection)
            .map(TopicCollection)
            .ok_or_else(|| "no topics".to_owned())
    }
}

impl TopicConfig {
    pub(super) fn new(name: &str) -> Result<TopicConfig, String> {
        let name = c_string(name)?;
        // SAFETY: the name is a C string, which is copied.
        let resource = unsafe {
            sys::rd_kafka_ConfigResource_new(
                sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                name.as_ptr(),
            )
        };
        NonNull::new(resource)
            .map(TopicConfig)
            .ok_or_else(|| "the topic has no name".to_owned())
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
        partitions: &[(String, i32)],
        offset: i64,
    ) -> Result<PartitionList, String> {
        let size = c_int::try_from(partitions.len()).map_err(|error| error.to_string())?;
        // SAFETY: a plain constructor.
        let list = unsafe { sys::rd_kafka_topic_partition_list_new(size) };
        let list = PartitionList(NonNull::new(list).expect("the constructor never returns null"));
        for (topic, partition) in partitions {
            let topic = c_string(topic)?;
            // SAFETY: the list is live, the name is copied, and the element returned is in the list.
            unsafe {
                let element = sys::rd_kafka_topic_partition_list_add(
                    list.0.as_ptr(),
                    topic.as_ptr(),
                    *partition,
                );
                (*element).offset = offset;
            }
        }
        Ok(list)
    }

    fn raw(&self) -> &[sys::rd_kafka_topic_partition_t] {
        // SAFETY: the list is live and has as many elements as it says.
        unsafe {
            let list = self.0.as_ref();
            structs(list.elems, list.cnt)
        }
    }

    /// The offset of each partition from now on.
    fn set_offsets(&mut self, offsets: impl Iterator<Item = i64>) {
        for (index, offset) in (0..self.raw().len()).zip(offsets) {
            // SAFETY: the index is inside the list.
            unsafe { (*self.0.as_ref().elems.add(index)).offset = offset };
        }
    }

    /// The offset of each partition from now on, and what is to be kept with it.
    pub(in crate::kafka) fn set_committed(&mut self, committed: &[Committed]) {
        for (index, committed) in committed.iter().enumerate().take(self.raw().len()) {
            let metadata = committed.metadata.as_bytes();
            // SAFETY: the index is inside the list, which frees the metadata: memory of librdkafka's own allocator, of the
            // length that is copied.
            unsafe {
                let element = self.0.as_ref().elems.add(index);
                let copy = sys::rd_kafka_mem_malloc(ptr::null_mut(), metadata.len().max(1));
                ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                sys::rd_kafka_mem_free(ptr::null_mut(), (*element).metadata);
                (*element).offset = committed.offset;
                (*element).metadata = copy;
                (*element).metadata_size = metadata.len();
            }
        }
    }

    /// What an answer says is committed for each partition; nothing where nothing is.
    pub(in crate::kafka) fn committed(&self) -> Vec<Option<Committed>> {
        let committed = |element: &sys::rd_kafka_topic_partition_t| {
            (element.offset >= 0).then(|| {
                // SAFETY: null, or as many bytes as said, which live as long as the list.
                let metadata =
                    unsafe { bytes(element.metadata, element.metadata_size) }.unwrap_or_default();
                Committed {
                    offset: element.offset,
                    metadata: String::from_utf8_lossy(metadata).into_owned(),
                }
            })
        };
        self.raw().iter().map(committed).collect()
    }

    /// The first partition that an answer refuses to tell about, and why.
    pub(in crate::kafka) fn first_error(&self) -> Option<Code> {
        self.raw()
            .iter()
            .map(|element| {
                // SAFETY: the code is read as a number, since a newer broker may send any.
                Code(unsafe { (&raw const element.err).cast::<i32>().read() })
            })
            .find(|code| *code != Code::NONE)
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} contains a NUL character"))
}
