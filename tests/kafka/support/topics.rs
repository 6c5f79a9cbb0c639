//! Creates, alters and deletes topics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::broker::Broker;
use super::wait::{self, PATIENCE};

/// The configuration of a topic that accepts records with any timestamp, and keeps them.
pub(crate) const ANY_TIME: [(&str, &str); 2] = [
    ("retention.ms", "-1"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

/// Returns a name that no other test, and no other run on the same cluster, uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{count}", now.as_secs(), std::process::id())
}

/// Creates a topic and waits until its partitions can be written.
pub(crate) fn create(broker: &Broker, name: &str, partitions: i32, config: &[(&str, &str)]) {
    // -1 means the cluster's default.
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    for (key, value) in config {
        topic = topic.set(key, value);
    }
    let created = block_on(admin(broker).create_topics([&topic], &options()));
    created.expect("the broker answers")[0]
        .as_ref()
        .expect("the topic is created");
    wait::until("a leader for every partition", || {
        let leaders = leaders(broker, name);
        let count = usize::try_from(partitions).expect("a count");
        (leaders.len() == count && leaders.iter().all(|&leader| leader >= 0)).then_some(())
    });
}

/// Deletes a topic and waits until it is gone.
pub(crate) fn delete(broker: &Broker, name: &str) {
    let deleted = block_on(admin(broker).delete_topics(&[name], &options()));
    deleted.expect("the broker answers")[0]
        .as_ref()
        .expect("the topic is deleted");
    wait::until("the topic to be gone", || {
        leaders(broker, name).is_empty().then_some(())
    });
}

/// Deletes the records of a partition before an offset, as retention does.
pub(crate) fn delete_records(broker: &Broker, (topic, partition): (&str, i32), before: i64) {
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(topic, partition, Offset::Offset(before))
        .expect("a valid offset");
    let deleted = block_on(admin(broker).delete_records(&offsets, &options()));
    let deleted = deleted.expect("the broker answers");
    deleted.elements()[0].error().expect("records are deleted");
}

/// Increases the number of a topic's partitions to `partitions`.
pub(crate) fn add_partitions(broker: &Broker, name: &str, partitions: usize) {
    let wanted = NewPartitions::new(name, partitions);
    let added = block_on(admin(broker).create_partitions([&wanted], &options()));
    added.expect("the broker answers")[0]
        .as_ref()
        .expect("partitions are added");
    wait::until("a leader for every partition", || {
        let leaders = leaders(broker, name);
        (leaders.len() == partitions && leaders.iter().all(|&leader| leader >= 0)).then_some(())
    });
}

/// Replaces a topic's *whole* configuration, and waits until it applies: settings that are not named return to their defaults.
pub(crate) fn reconfigure(broker: &Broker, name: &str, config: &[(&str, &str)]) {
    let mut change = AlterConfig::new(ResourceSpecifier::Topic(name));
    for (key, value) in config {
        change = change.set(key, value);
    }
    let changed = block_on(admin(broker).alter_configs([&change], &options()));
    changed.expect("the broker answers")[0]
        .as_ref()
        .expect("the configuration is changed");
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    assert_config(broker, name, &config.iter().map(own).collect());
}

/// Returns the settings of the topic itself, without defaults.
pub(crate) fn config(broker: &Broker, name: &str) -> BTreeMap<String, String> {
    let topic = ResourceSpecifier::Topic(name);
    let described = block_on(admin(broker).describe_configs([&topic], &options()));
    let described = described.expect("the broker answers").remove(0);
    described
        .expect("the topic is described")
        .entries
        .into_iter()
        .filter(|entry| entry.source == ConfigSource::DynamicTopic)
        .map(|entry| (entry.name, entry.value.unwrap_or_default()))
        .collect()
}

/// Returns the settings of the topic itself once they are as `expected` says, or as they still are after ten seconds: brokers apply a
/// change a moment after the controller has accepted it.
pub(crate) fn settled_config(
    broker: &Broker,
    name: &str,
    expected: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let started = Instant::now();
    loop {
        let found = config(broker, name);
        if expected(&found) || started.elapsed() > Duration::from_secs(10) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asserts that a topic has, in a moment, exactly these settings of its own.
#[track_caller]
pub(crate) fn assert_config(broker: &Broker, name: &str, expected: &BTreeMap<String, String>) {
    let found = settled_config(broker, name, |found| found == expected);
    assert_eq!(found, *expected, "the configuration of {name}");
}

/// Returns the size of a topic's logs on the disks of its brokers.
pub(crate) fn stored_bytes(broker: &Broker, name: &str) -> u64 {
    let arguments = ["--describe", "--topic-list", name];
    let said = broker.tool("org.apache.kafka.tools.LogDirsCommand", &arguments);
    let json = said.lines().find(|line| line.starts_with('{'));
    let json: serde_json::Value =
        serde_json::from_str(json.expect("a line of JSON")).expect("valid JSON");
    let list = |value: &serde_json::Value, key: &str| -> Vec<serde_json::Value> {
        value[key].as_array().expect("a list").clone()
    };
    let brokers = list(&json, "brokers").into_iter();
    let logs = brokers.flat_map(|broker| list(&broker, "logDirs"));
    let partitions = logs.flat_map(|log| list(&log, "partitions"));
    partitions
        .map(|partition| partition["size"].as_u64().expect("a size"))
        .sum()
}

/// Returns the leader of each partition, -1 for none; empty if the topic does not exist.
pub(crate) fn leaders(broker: &Broker, name: &str) -> Vec<i32> {
    let consumer: BaseConsumer = broker.client().create().expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(name), PATIENCE)
        .expect("metadata");
    let topic = &metadata.topics()[0];
    topic
        .partitions()
        .iter()
        .map(rdkafka::metadata::MetadataPartition::leader)
        .collect()
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    broker.client().create().expect("an admin client")
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}
