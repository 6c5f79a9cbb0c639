//! The source of truth: what a plain `read_committed` consumer reads, without any code of kbk's.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::broker::Broker;
use super::raw;
use super::record::{Message, OwnedRecord};
use super::wait::{self, PATIENCE};

/// A digest of a partition: equal for the same records in the same order. It ignores offsets
/// and timestamp types, which a restore cannot keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    /// The number of records.
    pub(crate) records: u64,
    /// A hash of all [`Message`]s.
    pub(crate) hash: u64,
}

/// Returns the offsets from the log start to the last stable offset.
pub(crate) fn offsets(broker: &Broker, topic: &str, partition: i32) -> Range<i64> {
    const ATTEMPT: Duration = Duration::from_secs(10);
    // A new topic has no leader for a moment, nor has a partition whose broker was restarted. librdkafka remembers that for
    // minutes, so each attempt has a client of its own.
    wait::until("watermarks", || {
        let watermarks = consumer(broker).fetch_watermarks(topic, partition, ATTEMPT);
        let (start, end) = watermarks.ok()?;
        Some(start..end)
    })
}

/// Returns the log start offset, the last stable offset and the high watermark, for messages of failed comparisons.
pub(crate) fn bounds(broker: &Broker, topic: &str, partition: i32) -> [i64; 3] {
    let stable = offsets(broker, topic, partition);
    let mut client = broker.client();
    client.set("isolation.level", "read_uncommitted");
    let uncommitted: BaseConsumer = client.create().expect("a consumer");
    let watermarks = uncommitted.fetch_watermarks(topic, partition, PATIENCE);
    let (_, high_watermark) = watermarks.expect("watermarks");
    [stable.start, stable.end, high_watermark]
}

/// Returns the number of a topic's partitions, or 0 if the topic does not exist.
pub(crate) fn partitions(broker: &Broker, topic: &str) -> i32 {
    let metadata = consumer(broker)
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("metadata");
    i32::try_from(metadata.topics()[0].partitions().len()).expect("few")
}

/// Returns the committed records of an offset range.
pub(crate) fn read(
    broker: &Broker,
    topic: &str,
    partition: i32,
    offsets: Range<i64>,
) -> Vec<OwnedRecord> {
    let mut records = Vec::new();
    for_each(broker, topic, partition, offsets, |record| {
        records.push(record);
    });
    records
}

/// Returns the committed records of a partition.
pub(crate) fn read_all(broker: &Broker, topic: &str, partition: i32) -> Vec<OwnedRecord> {
    read(broker, topic, partition, offsets(broker, topic, partition))
}

/// Returns the digest of the committed records of a partition of any length.
pub(crate) fn digest(broker: &Broker, topic: &str, partition: i32) -> Digest {
    let (mut records, mut hasher) = (0, DefaultHasher::new());
    let range = offsets(broker, topic, partition);
    for_each(broker, topic, partition, range, |record| {
        records += 1;
        record.message.hash(&mut hasher);
    });
    let hash = hasher.finish();
    Digest { records, hash }
}

/// Fails the test unless both topics hold the same records in the same order, partition by
/// partition; returns their number.
#[track_caller]
pub(crate) fn assert_same(broker: &Broker, (one, other): (&str, &str), partitions: i32) -> u64 {
    let mut records = 0;
    for partition in 0..partitions {
        let digests = [one, other].map(|topic| digest(broker, topic, partition));
        if digests[0] != digests[1] {
            let [left, right] = [one, other].map(|topic| read_all(broker, topic, partition));
            let differs = |(a, b): (&OwnedRecord, &OwnedRecord)| a.message != b.message;
            let first = left.iter().zip(&right).position(differs);
            let at = first.unwrap_or(left.len().min(right.len()));
            let (left, right) = (left.get(at), right.get(at));
            panic!("partition {partition}: {digests:?}; record {at}: {left:#?}, {right:#?}");
        }
        records += digests[0].records;
    }
    records
}

/// Passes on the committed records of an offset range, which ends no later than the last stable
/// offset.
///
/// If the last offsets of the range have no record (transaction markers, aborted or compacted
/// records), reading ends at the end of the partition.
fn for_each(
    broker: &Broker,
    topic: &str,
    partition: i32,
    offsets: Range<i64>,
    mut take: impl FnMut(OwnedRecord),
) {
    if offsets.is_empty() {
        return;
    }
    let consumer = consumer(broker);
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, partition, Offset::Offset(offsets.start))
        .expect("a valid offset");
    consumer.assign(&assignment).expect("assigned");
    // Most often, the last offset has a record; only if it has none, the broker is to be asked for more.
    loop {
        let polled = consumer
            .poll(PATIENCE)
            .unwrap_or_else(|| panic!("no record of {topic}/{partition} in {PATIENCE:?}"));
        match polled {
            Ok(message) if message.offset() < offsets.end => {
                let is_last = message.offset() + 1 == offsets.end;
                take(owned(&message));
                if is_last {
                    return;
                }
            }
            Ok(_) | Err(KafkaError::PartitionEOF(_)) => return,
            // A broker has just restarted; the consumer reconnects by itself.
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            )) => {}
            Err(error) => panic!("cannot read {topic}/{partition}: {error}"),
        }
    }
}

fn consumer(broker: &Broker) -> BaseConsumer {
    broker
        .client()
        // Never joined: partitions are assigned by hand.
        .set("group.id", "kbk-reader-of-truth")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        // A broker holds an answer without records back for so long, and there is one at each end of a partition.
        .set("fetch.wait.max.ms", "10")
        .set("check.crcs", "true")
        .create()
        .expect("a consumer")
}

fn owned(message: &BorrowedMessage<'_>) -> OwnedRecord {
    let (timestamp, timestamp_type) = raw::timestamp(message);
    OwnedRecord {
        offset: message.offset(),
        timestamp_type,
        message: Message {
            timestamp,
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: raw::headers(message),
        },
    }
}
