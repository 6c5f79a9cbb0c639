//! Answers of the admin interface as plain values.

#![expect(unsafe_code, reason = "reads librdkafka's answers in place")]

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::ptr;
use std::slice;

use rdkafka_sys as sys;

use super::request::Refusal;
use super::{ConfigEntry, ConfigSource, PartitionDescription, TopicDescription};
use crate::kafka::client::owned_text;
use crate::kafka::error::Code;

/// # Safety
/// `array` has `count` pointers to live objects, or `count` is 0.
pub(super) unsafe fn items<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    // SAFETY: by contract.
    if count == 0 {
        &[]
    } else {
        unsafe { slice::from_raw_parts(array, count) }
    }
}

/// # Safety
/// `array` has `count` live values, or `count` is 0.
pub(super) unsafe fn structs<'a, T>(array: *const T, count: c_int) -> &'a [T] {
    match usize::try_from(count) {
        // SAFETY: by contract.
        Ok(count @ 1..) => unsafe { slice::from_raw_parts(array, count) },
        _ => &[],
    }
}

/// # Safety
/// `list` is part of a live answer.
pub(super) unsafe fn refused_partitions(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> Result<(), Refusal> {
    // SAFETY: by contract, for all that is reached from the list; the code is read as a number, since a newer broker may send
    // any.
    unsafe {
        for partition in structs((*list).elems, (*list).cnt) {
            let code = Code((&raw const partition.err).cast::<i32>().read());
            Refusal::check(code, &owned_text(partition.topic), ptr::null())?;
        }
    }
    Ok(())
}

/// # Safety
/// `topic` is part of live metadata.
pub(super) unsafe fn from_metadata(topic: &sys::rd_kafka_metadata_topic) -> TopicDescription {
    // SAFETY: by contract.
    let (name, partitions) = unsafe {
        (
            owned_text(topic.topic),
            structs(topic.partitions, topic.partition_cnt),
        )
    };
    let partitions = partitions
        .iter()
        .map(|partition| PartitionDescription {
            id: partition.id,
            leader: partition.leader,
            // SAFETY: by contract.
            replicas: unsafe { structs(partition.replicas, partition.replica_cnt) }.to_vec(),
        })
        .collect();
    // Metadata through this call does not say which topics are internal; these are the names Kafka has for them.
    let internal = [
        "__consumer_offsets",
        "__transaction_state",
        "__share_group_state",
    ]
    .contains(&name.as_str());
    TopicDescription::new(name, [0; 16], internal, partitions)
}

impl TopicDescription {
    fn new(
        name: String,
        topic_id: [u8; 16],
        internal: bool,
        mut partitions: Vec<PartitionDescription>,
    ) -> TopicDescription {
        partitions.sort_by_key(|partition| partition.id);
        let replication_factor = partitions
            .first()
            .map_or(0, |partition| partition.replicas.len());
        TopicDescription {
            name,
            topic_id,
            internal,
            partitions,
            replication_factor,
        }
    }
}

/// # Safety
/// `topic` is part of a live answer.
pub(super) unsafe fn from_description(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> Result<TopicDescription, Refusal> {
    // SAFETY: by contract, for all that is reached from the topic.
    unsafe {
        let name = owned_text(sys::rd_kafka_TopicDescription_name(topic));
        Refusal::check_error(sys::rd_kafka_TopicDescription_error(topic), &name)?;
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let topic_id = if id.is_null() {
            [0; 16]
        } else {
            let high = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let low = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
        };
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = items(partitions, count)
            .iter()
            .map(|&partition| from_partition(partition))
            .collect();
        let internal = sys::rd_kafka_TopicDescription_is_internal(topic) != 0;
        Ok(TopicDescription::new(name, topic_id, internal, partitions))
    }
}

/// # Safety
/// `partition` is part of a live answer.
unsafe fn from_partition(
    partition: *const sys::rd_kafka_TopicPartitionInfo_t,
) -> PartitionDescription {
    let node_id = |node: *const sys::rd_kafka_Node_t| {
        // SAFETY: null, or part of the same answer.
        if node.is_null() {
            -1
        } else {
            unsafe { sys::rd_kafka_Node_id(node) }
        }
    };
    // SAFETY: by contract.
    unsafe {
        let mut count = 0;
        let replicas = sys::rd_kafka_TopicPartitionInfo_replicas(partition, &mut count);
        PartitionDescription {
            id: sys::rd_kafka_TopicPartitionInfo_partition(partition),
            leader: node_id(sys::rd_kafka_TopicPartitionInfo_leader(partition)),
            replicas: items(replicas, count)
                .iter()
                .map(|&node| node_id(node))
                .collect(),
        }
    }
}

/// # Safety
/// `info` is part of a live answer.
pub(super) unsafe fn from_offset(
    info: *const sys::rd_kafka_ListOffsetsResultInfo_t,
) -> Result<((String, i32), i64), Refusal> {
    // SAFETY: by contract; the code is read as a number.
    unsafe {
        let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        let topic = owned_text((&raw const (*partition).topic).read());
        let number = (&raw const (*partition).partition).read();
        let code = Code((&raw const (*partition).err).cast::<i32>().read());
        Refusal::check(code, &topic, ptr::null())?;
        Ok(((topic, number), (&raw const (*partition).offset).read()))
    }
}

/// # Safety
/// `resource` is part of a live answer.
pub(super) unsafe fn checked(
    resource: *const sys::rd_kafka_ConfigResource_t,
) -> Result<(), Refusal> {
    // SAFETY: by contract.
    unsafe {
        Refusal::check(
            Code(sys::rd_kafka_ConfigResource_error(resource) as i32),
            &owned_text(sys::rd_kafka_ConfigResource_name(resource)),
            sys::rd_kafka_ConfigResource_error_string(resource),
        )
    }
}

/// # Safety
/// `resource` is part of a live answer.
pub(super) unsafe fn from_config(
    resource: *const sys::rd_kafka_ConfigResource_t,
) -> Result<(String, BTreeMap<String, ConfigEntry>), Refusal> {
    // SAFETY: by contract, for all that is reached from the resource.
    unsafe {
        checked(resource)?;
        let mut count = 0;
        let entries = sys::rd_kafka_ConfigResource_configs(resource, &mut count);
        let entries = items(entries, count).iter().map(|&entry| {
            let value = sys::rd_kafka_ConfigEntry_value(entry);
            let config = ConfigEntry {
                value: (!value.is_null()).then(|| owned_text(value)),
                is_default: sys::rd_kafka_ConfigEntry_is_default(entry) == 1,
                source: ConfigSource::from(sys::rd_kafka_ConfigEntry_source(entry)),
                sensitive: sys::rd_kafka_ConfigEntry_is_sensitive(entry) == 1,
            };
            (owned_text(sys::rd_kafka_ConfigEntry_name(entry)), config)
        });
        Ok((
            owned_text(sys::rd_kafka_ConfigResource_name(resource)),
            entries.collect(),
        ))
    }
}

impl From<sys::rd_kafka_ConfigSource_t> for ConfigSource {
    fn from(source: sys::rd_kafka_ConfigSource_t) -> ConfigSource {
        use sys::rd_kafka_ConfigSource_t as Source;
        match source {
            Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG => ConfigSource::Topic,
            Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG
            | Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG
            | Source::RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG => ConfigSource::Broker,
            Source::RD_KAFKA_CONFIG_SOURCE_DEFAULT_CONFIG => ConfigSource::Default,
            _ => ConfigSource::Unknown,
        }
    }
}
