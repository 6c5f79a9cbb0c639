//! Topics as they occur in production, produced by the broker itself: compacted, emptied by
//! retention, with log append time, with transactions.

use std::collections::HashSet;

use super::broker::Broker;
use super::consume;
use super::produce::{Producer, produce};
use super::record::{Message, OwnedRecord};
use super::samples::{Random, mixed, now_ms, plain};
use super::topics;
use super::wait;

/// Creates a topic of one partition whose log the cleaner has compacted; returns its records,
/// including tombstones.
///
/// Nothing is left to compact, so the topic does not change any more.
pub(crate) fn compacted_topic_with_gaps(broker: &Broker, topic: &str) -> Vec<OwnedRecord> {
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1000"),
    ];
    topics::create(broker, topic, 1, &config);
    let start = now_ms();
    let mut random = Random::new(3);
    let mut keys = HashSet::new();
    // A batch a second later than the previous one rolls the segment: the cleaner never touches
    // the active one.
    for second in -10..0 {
        let batch: Vec<_> = std::iter::repeat_with(|| update(start + second * 1000, &mut random))
            .take(100)
            .collect();
        produce(broker, "lz4", (topic, 0), &batch);
        keys.extend(batch.into_iter().map(|message| message.key));
    }
    let last = Message {
        key: Some(b"the last".to_vec()),
        ..plain(start, "")
    };
    produce(broker, "lz4", (topic, 0), [&last]);
    wait::until("one record per key", || {
        let records = consume::read_all(broker, topic, 0);
        (records.len() == keys.len() + 1).then_some(records)
    })
}

/// Returns an update or a tombstone of some key. Low keys change often, high ones rarely, so that
/// the gaps have many lengths.
fn update(timestamp: i64, random: &mut Random) -> Message {
    let highest = random.below(200);
    let key = random.below(highest + 1);
    let value = format!("a value of {}", random.below(1000));
    Message {
        timestamp,
        key: Some(format!("key-{key}").into_bytes()),
        value: (random.below(8) > 0).then(|| value.into_bytes()),
        headers: Vec::new(),
    }
}

/// Creates a topic of one partition whose records were all deleted by retention; returns the
/// offset at which it starts and ends.
pub(crate) fn topic_emptied_by_retention(broker: &Broker, topic: &str) -> i64 {
    topics::create(broker, topic, 1, &[("retention.ms", "1000")]);
    let old = now_ms() - 3_600_000;
    let messages: Vec<_> = (0..50).map(|n| plain(old + n, "old")).collect();
    produce(broker, "none", (topic, 0), &messages);
    wait::until("retention to empty the topic", || {
        let offsets = consume::offsets(broker, topic, 0);
        offsets.is_empty().then_some(offsets.end)
    })
}

/// Creates a topic with log append time and records in every partition.
pub(crate) fn log_append_time_topic(broker: &Broker, topic: &str, partitions: i32) {
    let config = [("message.timestamp.type", "LogAppendTime")];
    topics::create(broker, topic, partitions, &config);
    for (partition, seed) in (0..partitions).zip(0..) {
        let messages: Vec<_> = mixed(seed).take(500).collect();
        produce(broker, "zstd", (topic, partition), &messages);
    }
}

/// Produces to one partition: interleaved records of two transactions, one of them aborted, with
/// non-transactional records between them, and an aborted transaction at the very end. Returns what a
/// `read_committed` consumer sees.
pub(crate) fn interleaved_transactions(
    broker: &Broker,
    (topic, partition): (&str, i32),
) -> Vec<Message> {
    let good = Producer::transactional(broker, "lz4", &topics::unique("good"));
    let bad = Producer::transactional(broker, "none", &topics::unique("bad"));
    let outside = Producer::new(broker, "zstd");
    let producers = [&good, &bad, &outside];
    let mut committed = Vec::new();
    let messages: Vec<_> = mixed(7).take(90).collect();
    for round in messages.chunks(30) {
        good.begin();
        bad.begin();
        for (message, producer) in round.iter().zip(producers.iter().cycle()) {
            producer.send(topic, partition, message);
            // Flushes after each record, or the producers' batches could overtake each other.
            producer.flush();
            if !std::ptr::eq(*producer, &raw const bad) {
                committed.push(message.clone());
            }
        }
        bad.abort();
        good.commit();
    }
    bad.begin();
    bad.send(topic, partition, &plain(now_ms(), "aborted, the last"));
    bad.abort();
    committed
}
