//! Partitions without a leader: nobody can read them, and the others are backed up all the same.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::kafka::{
    Admin, Answers, KafkaError, PartitionOffsets, TopicDescription, TopicPartition,
};
use crate::run::Cancel;

/// How long partitions may be without a leader while none gets one: an election takes seconds, and thousands of them more.
const WAIT: Duration = Duration::from_secs(15);
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Waits until every partition of the topics that `matter` has a leader, or none of them has got one for 15 seconds.
pub(super) fn wait(
    admin: &Admin,
    topics: &mut Vec<TopicDescription>,
    matter: impl Fn(&TopicDescription) -> bool,
    cancel: &Cancel,
) -> Result<(), KafkaError> {
    let mut progressed = Instant::now();
    let mut fewest = usize::MAX;
    loop {
        let waited_for = topics
            .iter()
            .filter(|topic| matter(topic) && leaderless(topic) > 0);
        let waited_for: Vec<&TopicDescription> = waited_for.collect();
        let count = waited_for.iter().map(|topic| leaderless(topic)).sum();
        if count < fewest {
            fewest = count;
            progressed = Instant::now();
        }
        let names: Vec<String> = waited_for.iter().map(|topic| topic.name.clone()).collect();
        if names.is_empty() || progressed.elapsed() >= WAIT || cancel.is_set() {
            return Ok(());
        }
        thread::sleep(CHECK_INTERVAL);
        update(admin, topics, &names)?;
    }
}

fn leaderless(topic: &TopicDescription) -> usize {
    let partitions = topic.partitions.iter();
    partitions.filter(|partition| partition.leader < 0).count()
}

/// Describes some of the topics again, and removes those that are gone by now.
fn update(
    admin: &Admin,
    topics: &mut Vec<TopicDescription>,
    names: &[String],
) -> Result<(), KafkaError> {
    let mut described = admin.look_up_topics(names)?;
    topics.retain_mut(|topic| match described.remove(&topic.name) {
        Some(Ok(now)) => {
            *topic = now;
            true
        }
        Some(Err(_)) => false,
        None => true,
    });
    Ok(())
}

/// Returns the log bounds of all partitions that have a leader, and removes topics that are gone by now.
pub(super) fn offsets(
    admin: &Admin,
    topics: &mut Vec<TopicDescription>,
) -> Result<Answers<TopicPartition, PartitionOffsets>, KafkaError> {
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let mut asked = led(topics);
    loop {
        let error = match admin.offsets(&asked) {
            Err(error @ (KafkaError::Timeout { .. } | KafkaError::UnknownTopic { .. })) => error,
            answer => return answer,
        };
        // A leader or a topic that was lost since then keeps the others from answering. Ends, since each round asks for fewer
        // partitions.
        update(admin, topics, &names)?;
        let still: BTreeSet<TopicPartition> = led(topics).into_iter().collect();
        let before = asked.len();
        asked.retain(|partition| still.contains(partition));
        if asked.len() == before {
            return Err(error);
        }
    }
}

fn led(topics: &[TopicDescription]) -> Vec<TopicPartition> {
    let of_topic = |topic: &TopicDescription| -> Vec<TopicPartition> {
        let led = topic
            .partitions
            .iter()
            .filter(|partition| partition.leader >= 0);
        led.map(|partition| TopicPartition::new(&topic.name, partition.id))
            .collect()
    };
    topics.iter().flat_map(of_topic).collect()
}
