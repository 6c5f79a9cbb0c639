//! Topics and offsets: descriptions, changing leaders, unsupported requests.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::support::{cluster, target};
use crate::kafka::{Admin, KafkaError};

#[test]
fn topics_are_described_and_unknown_ones_are_errors() {
    let (_cluster, settings) = cluster(&[("one", 1), ("four", 4)]);
    let admin = Admin::connect(&settings).unwrap();
    assert_eq!(admin.cluster().unwrap().brokers, 1);
    let mut topics = admin.describe_topics(None).unwrap();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let shapes: Vec<_> = topics
        .iter()
        .map(|topic| (topic.name.as_str(), topic.partitions.len()))
        .collect();
    assert_eq!(shapes, [("four", 4), ("one", 1)]);
    assert_eq!(topics[0].partitions[3].id, 3);
    assert_eq!(topics[0].replication_factor, 1);
    let error = admin
        .describe_topics(Some(&["absent".to_owned()]))
        .unwrap_err();
    assert!(matches!(error, KafkaError::UnknownTopic { .. }), "{error}");
    // Describing it has not created it.
    assert_eq!(admin.describe_topics(None).unwrap().len(), 2);
}

#[test]
fn offsets_are_read_after_the_leader_returns_in_a_new_epoch() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let admin = Admin::connect(&settings).unwrap();
    let partitions = [target("t", 0)];
    let before = admin.offsets(&partitions).unwrap();
    cluster.lead("t", Some(1));
    assert_eq!(admin.offsets(&partitions).unwrap(), before);
}

#[test]
fn offsets_wait_for_a_missing_leader() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let partitions = [target("t", 0)];
    let (asked, heard) = mpsc::channel();
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let admin = Admin::connect(&settings).unwrap();
            let before = admin.offsets(&partitions).unwrap();
            asked.send(()).unwrap();
            // Long enough for the leader to disappear.
            thread::sleep(Duration::from_millis(300));
            assert_eq!(admin.offsets(&partitions).unwrap(), before);
        });
        heard.recv().unwrap();
        cluster.lead("t", None);
        thread::sleep(Duration::from_secs(1));
        cluster.lead("t", Some(1));
        asking.join().unwrap();
    });
}

#[test]
fn unsupported_requests_are_errors_of_their_own_kind() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let admin = Admin::connect(&settings).unwrap();
    let error = admin.topic_configs(&["t".to_owned()]).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}
