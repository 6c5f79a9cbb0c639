//! The configuration of a created topic: while records are written nothing may be deleted or changed; afterwards it is the saved one.

use std::collections::BTreeMap;

/// What a topic is configured with while records are written: otherwise Kafka would delete old records at once, replace their
/// timestamps, or refuse them. A broker that recompresses batches also re-encodes header names, which changes those that are not UTF-8.
const WHILE_FILLING: [(&str, &str); 7] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.type", "CreateTime"),
    ("retention.bytes", "-1"),
    ("retention.ms", "-1"),
];

/// The largest batch that a topic accepts, compressed.
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// The entries that make Kafka delete old records.
const RETENTION: [&str; 2] = ["retention.bytes", "retention.ms"];

/// Returns the keys of what a topic is configured with only while records are written.
pub(crate) fn temporary() -> impl Iterator<Item = &'static str> {
    let keys = WHILE_FILLING.into_iter().map(|(key, _)| key);
    keys.chain([MAX_MESSAGE_BYTES])
}

/// Returns the batches that a topic must accept while records are written. A record was accepted compressed, perhaps with many others, and
/// need not compress as well again; brokers with a low `message.max.bytes` would refuse the batches of small ones.
fn message_bytes(saved: &BTreeMap<String, String>, largest_record_bytes: u64) -> u64 {
    /// Kafka's own default.
    const LEAST: u64 = 1_048_588;
    /// More than the framing of a record and of its batch.
    const OVERHEAD: u64 = 4096;
    let saved = saved
        .get(MAX_MESSAGE_BYTES)
        .and_then(|bytes| bytes.parse().ok());
    let needed = largest_record_bytes.saturating_add(OVERHEAD).max(LEAST);
    let most = u64::from(i32::MAX.unsigned_abs());
    needed.min(most).max(saved.unwrap_or(0))
}

/// Entries that name brokers of the source cluster.
const OF_THE_SOURCE: [&str; 2] = [
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
];

/// Returns the entries of a saved configuration that apply to another cluster.
pub(crate) fn portable(mut saved: BTreeMap<String, String>) -> BTreeMap<String, String> {
    saved.retain(|key, _| !OF_THE_SOURCE.contains(&key.as_str()));
    saved
}

/// Returns the configuration to create a topic with for records of at most this size.
pub(crate) fn while_filling(
    saved: &BTreeMap<String, String>,
    largest_record_bytes: u64,
) -> BTreeMap<String, String> {
    let mut config = portable(saved.clone());
    config.extend(WHILE_FILLING.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let limit = message_bytes(saved, largest_record_bytes).to_string();
    config.insert(MAX_MESSAGE_BYTES.to_owned(), limit);
    config
}

/// Returns the changes to make once all records are written to a topic with the configuration `filling`. Entries that were not saved fall
/// back to the cluster's value. With `retention_stays_off`, retention by age and size stays off.
pub(crate) fn afterwards(
    saved: &BTreeMap<String, String>,
    filling: &BTreeMap<String, String>,
    retention_stays_off: bool,
) -> BTreeMap<String, Option<String>> {
    temporary()
        .filter(|key| saved.get(*key) != filling.get(*key))
        .filter(|key| !(retention_stays_off && RETENTION.contains(key)))
        .map(|key| (key.to_owned(), saved.get(key).cloned()))
        .collect()
}

/// Returns the retention that a topic does not get back by these changes: the saved values, null for those of the cluster.
pub(crate) fn retention_left_off(
    saved: &BTreeMap<String, String>,
    afterwards: &BTreeMap<String, Option<String>>,
) -> BTreeMap<String, Option<String>> {
    let off = |key: &str| saved.get(key).is_some_and(|value| value == "-1");
    RETENTION
        .iter()
        .filter(|key| !off(key) && !afterwards.contains_key(**key))
        .map(|key| ((*key).to_owned(), saved.get(*key).cloned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn nothing_is_deleted_or_restamped_while_records_are_written() {
        let saved = config(&[
            ("retention.ms", "1000"),
            ("cleanup.policy", "compact"),
            ("max.message.bytes", "2000000"),
            ("leader.replication.throttled.replicas", "0:1"),
        ]);
        let filling = while_filling(&saved, 100);
        assert_eq!(filling["retention.ms"], "-1");
        assert_eq!(filling["cleanup.policy"], "delete");
        assert_eq!(filling["max.message.bytes"], "2000000");
        assert!(!filling.contains_key("leader.replication.throttled.replicas"));
    }

    #[test]
    fn afterwards_saved_values_apply_and_others_fall_back_to_the_cluster() {
        let saved = config(&[
            ("retention.ms", "1000"),
            ("retention.bytes", "-1"),
            ("max.message.bytes", "2000000"),
        ]);
        let changes = afterwards(&saved, &while_filling(&saved, 100), false);
        assert_eq!(changes["retention.ms"].as_deref(), Some("1000"));
        assert_eq!(changes["cleanup.policy"], None, "removed again");
        assert!(!changes.contains_key("retention.bytes"), "already as saved");
        assert!(
            !changes.contains_key("max.message.bytes"),
            "set from the start"
        );
    }

    #[test]
    fn a_topic_accepts_its_largest_record_while_records_are_written() {
        let saved = config(&[("max.message.bytes", "2000000")]);
        assert_eq!(while_filling(&saved, 0)["max.message.bytes"], "2000000");
        let filling = while_filling(&saved, 5_000_000);
        assert_eq!(filling["max.message.bytes"], "5004096");
        let changes = afterwards(&saved, &filling, false);
        assert_eq!(changes["max.message.bytes"].as_deref(), Some("2000000"));
        let filling = while_filling(&BTreeMap::new(), 0);
        assert_eq!(filling["max.message.bytes"], "1048588");
        let changes = afterwards(&BTreeMap::new(), &filling, false);
        assert_eq!(changes["max.message.bytes"], None, "the cluster's");
        let large = while_filling(&BTreeMap::new(), u64::MAX);
        assert_eq!(large["max.message.bytes"], i32::MAX.to_string());
    }

    #[test]
    fn retention_stays_off_on_request() {
        let saved = config(&[("retention.ms", "1000"), ("cleanup.policy", "compact")]);
        let filling = while_filling(&saved, 100);
        let changes = afterwards(&saved, &filling, true);
        assert_eq!(changes["cleanup.policy"].as_deref(), Some("compact"));
        assert!(!changes.contains_key("retention.ms"));
        assert!(!changes.contains_key("retention.bytes"));
        let left_off = retention_left_off(&saved, &changes);
        assert_eq!(left_off["retention.ms"].as_deref(), Some("1000"));
        assert_eq!(left_off["retention.bytes"], None, "the cluster's");
        assert!(retention_left_off(&saved, &afterwards(&saved, &filling, false)).is_empty());
        let off = config(&[("retention.ms", "-1"), ("retention.bytes", "-1")]);
        let left_off = retention_left_off(&off, &afterwards(&off, &while_filling(&off, 0), true));
        assert!(left_off.is_empty(), "it always was off");
    }
}
