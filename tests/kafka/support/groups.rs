//! Consumer groups: real consumers that commit, and committed offsets, without kbk's code.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::broker::Broker;
use super::wait::{self, PATIENCE};

/// A committed offset: topic, partition, offset, metadata.
pub(crate) type Committed<'a> = (&'a str, i32, i64, &'a str);

/// A consumer that has joined a group; it leaves on drop.
pub(crate) struct Member(BaseConsumer);

impl Member {
    /// Joins by the protocol `classic`, or `consumer` (KIP-848).
    pub(crate) fn join(broker: &Broker, protocol: &str, group: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = broker
            .client()
            .set("group.id", group)
            .set("group.protocol", protocol)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("a consumer");
        consumer.subscribe(&[topic]).expect("subscribed");
        Self(consumer)
    }

    /// Joins as a static member, which does not leave when it is dropped: its session of ten seconds ends.
    pub(crate) fn join_as(broker: &Broker, name: &str, group: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = broker
            .client()
            .set("group.id", group)
            .set("group.instance.id", name)
            .set("session.timeout.ms", "10000")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()
            .expect("a consumer");
        consumer.subscribe(&[topic]).expect("subscribed");
        Self(consumer)
    }

    /// Reads the given number of records, and commits the offset after the last one.
    pub(crate) fn read(&self, records: usize) {
        for _ in 0..records {
            // A rebalance makes a poll return without a record.
            let message = wait::until("a record", || self.0.poll(Duration::from_secs(1)));
            message.expect("a record");
        }
        let committed = self.0.commit_consumer_state(CommitMode::Sync);
        committed.expect("committed");
    }
}

/// Commits offsets of a group without members.
pub(crate) fn commit(broker: &Broker, group: &str, offsets: &[Committed<'_>]) {
    let mut list = TopicPartitionList::new();
    for &(topic, partition, offset, metadata) in offsets {
        let mut element = list.add_partition(topic, partition);
        element
            .set_offset(Offset::Offset(offset))
            .expect("an offset");
        element.set_metadata(metadata);
    }
    let committed = consumer(broker, group).commit(&list, CommitMode::Sync);
    committed.expect("committed");
}

/// Returns the committed offsets and metadata of a group for some partitions, in their order.
pub(crate) fn committed(
    broker: &Broker,
    group: &str,
    partitions: &[(&str, i32)],
) -> Vec<(Option<i64>, String)> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let found = consumer(broker, group).committed_offsets(list, PATIENCE);
    let found = found.expect("the coordinator answers");
    let one = |&(topic, partition): &(&str, i32)| {
        let element = found.find_partition(topic, partition).expect("asked for");
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (offset, element.metadata().to_owned())
    };
    partitions.iter().map(one).collect()
}

/// Returns the ids of all groups.
pub(crate) fn list(broker: &Broker) -> Vec<String> {
    let consumer: BaseConsumer = broker.client().create().expect("a consumer");
    let listed = consumer.fetch_group_list(None, PATIENCE);
    let listed = listed.expect("the brokers answer");
    let groups = listed.groups().iter();
    groups.map(|group| group.name().to_owned()).collect()
}

/// Deletes a group without members.
pub(crate) fn delete(broker: &Broker, group: &str) {
    let admin: AdminClient<DefaultClientContext> =
        broker.client().create().expect("an admin client");
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let deleted = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(admin.delete_groups(&[group], &options));
    deleted.expect("the broker answers")[0]
        .as_ref()
        .expect("the group is deleted");
}

fn consumer(broker: &Broker, group: &str) -> BaseConsumer {
    broker
        .client()
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer")
}
