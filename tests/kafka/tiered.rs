//! Topics of which the older part is in tiered storage are saved whole, and restored as tiered topics.

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::{self, Random, now_ms};
use crate::support::{consume, topics, wait};

/// The topic's segments are tiny, and leave the disk once they are in tiered storage.
const CONFIG: [(&str, &str); 5] = [
    ("local.retention.bytes", "1"),
    ("remote.storage.enable", "true"),
    ("retention.bytes", "-1"),
    ("retention.ms", "-1"),
    ("segment.bytes", "1048576"),
];
const PARTITIONS: i32 = 3;

#[test]
fn what_is_in_tiered_storage_is_saved_and_restored() {
    let mut broker = Broker::start_tiered();
    reading_begins_below_the_local_log(&mut broker);
    let topic = topics::unique("tiered");
    topics::create(&broker, &topic, PARTITIONS, &CONFIG);
    let messages: Vec<Message> = messages().collect();
    for (partition, codec) in (0..PARTITIONS).zip(["none", "lz4", "zstd"]) {
        produce(&broker, codec, (&topic, partition), &messages);
    }
    // Brokers keep aborted transactions of remote segments beside these.
    let producer = Producer::transactional(&broker, "lz4", &topics::unique("tiered-id"));
    for commits in [true, false, true, false, true] {
        producer.begin();
        for message in messages.iter().take(700) {
            producer.send(&topic, 0, message);
        }
        match commits {
            true => producer.commit(),
            false => producer.abort(),
        }
    }
    in_tiered_storage(&mut broker, &topic);

    let saved = |client: &str, encoding: &str| {
        let repo = Repo::new();
        let args = [
            "--client",
            client,
            "--encoding",
            encoding,
            "--topic",
            &topic,
        ];
        let report = run(&mut repo.backup(&broker, &args)).expect_code(0).json();
        let expected = messages.len() * 3 + 3 * 700;
        assert_eq!(report["records"], expected, "{args:?}: {report}");
        repo.verify();
        repo
    };
    saved("librdkafka", "records");
    saved("wire", "records");
    let repo = saved("wire", "batches");
    let target = topics::unique("tiered-restored");
    let map = format!("{topic}={target}");
    run(&mut repo.restore(&broker, &["--map", &map, "--verify"])).expect_code(0);
    // Another client reads both, the remote parts as well.
    in_tiered_storage(&mut broker, &target);
    consume::assert_same(&broker, (&topic, &target), PARTITIONS);
    let saved = CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned()));
    topics::assert_config(&broker, &target, &saved.into());
    let map = format!("{topic}={topic}-elsewhere");
    let refused = run(&mut repo.restore(Broker::shared(), &["--map", &map])).expect_code(1);
    for says in [
        "Tiered Storage functionality is disabled in the broker",
        "create it beforehand with one that the cluster accepts",
    ] {
        assert!(refused.stderr.contains(says), "{says}: {refused:#?}");
    }
}

/// By a run that continues an earlier one, and where the log starts in the middle of a remote segment.
fn reading_begins_below_the_local_log(broker: &mut Broker) {
    let topic = topics::unique("tiered-later");
    topics::create(broker, &topic, 1, &CONFIG);
    let messages: Vec<Message> = messages().collect();
    let (first, second) = messages.split_at(500);
    produce(broker, "lz4", (&topic, 0), first);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    produce(broker, "lz4", (&topic, 0), second);
    in_tiered_storage(broker, &topic);
    assert!(broker.local_segments(&topic, 0)[0] > 500);
    let report = run(&mut repo.backup(broker, &["--topic", &topic]))
        .expect_code(0)
        .json();
    assert_eq!(report["records"], second.len(), "{report}");
    run(&mut repo.kbk(&["diff", "--live", "-b", broker.bootstrap()])).expect_code(0);
    topics::delete_records(broker, (&topic, 0), 300);
    let fresh = Repo::new();
    let report = run(&mut fresh.backup(broker, &["--topic", &topic]))
        .expect_code(0)
        .json();
    assert_eq!(report["records"], messages.len() - 300, "{report}");
}

/// Records that do not compress: two or three segments of each partition.
fn messages() -> impl Iterator<Item = Message> {
    let mut random = Random::new(5);
    (0..2_500).map(move |number: i64| Message {
        timestamp: now_ms(),
        key: Some(number.to_string().into_bytes()),
        value: Some(random.bytes(1_000)),
        ..samples::plain(0, "")
    })
}

/// Waits until only the last segment of each partition is on the broker's disk.
fn in_tiered_storage(broker: &mut Broker, topic: &str) {
    wait::until("segments to be in tiered storage", || {
        let mut partitions = 0..i32::try_from(topics::leaders(broker, topic).len()).expect("few");
        partitions
            .all(|partition| {
                let local = broker.local_segments(topic, partition);
                local.len() == 1 && local[0] > 0
            })
            .then_some(())
    });
}
