//! A restore brings back every record of every partition, in order, and the configuration of the
//! topics.

use std::collections::BTreeMap;

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{CODECS, produce, produce_bulk};
use crate::support::repo::Repo;
use crate::support::{consume, samples, scenarios, soak, topics, wire};

/// The number of records in the three large topics together: enough for transactions of every size.
fn records() -> usize {
    if soak() { 1_000_000 } else { 200_000 }
}

#[test]
fn records_of_all_kinds_are_restored() {
    let broker = Broker::shared();
    let source = Cluster::fill(broker);
    let repo = Repo::new();

    let backup = run(&mut repo.backup(broker, &["--topic", &source.pattern()])).expect_code(0);
    let backup = backup.json();
    assert_eq!(backup["findings"].as_array().map(Vec::len), Some(0));
    let verified = repo.verify();
    assert_eq!(verified["records"], backup["records"]);

    let targets = source.targets();
    let names: Vec<_> = source
        .names()
        .zip(targets.iter().map(String::as_str))
        .collect();
    let restored = repo.restore_as(broker, &names);
    assert_eq!(restored["topics_created"], names.len());

    let mut records = 0;
    for (topic, target) in source.topics.iter().zip(&targets) {
        records += consume::assert_same(broker, (&topic.name, target), topic.partitions);
        topics::assert_config(broker, target, &topic.config);
        let next = consume::partitions(broker, target);
        assert_eq!(
            next, topic.partitions,
            "{} has other partitions",
            topic.name
        );
    }
    assert!(records >= self::records() as u64);
    assert_eq!(backup["records"], records);
    assert_eq!(restored["records"], records);
}

/// The topics of a realistic cluster.
struct Cluster {
    prefix: String,
    topics: Vec<Topic>,
}

struct Topic {
    name: String,
    partitions: i32,
    config: BTreeMap<String, String>,
}

impl Cluster {
    fn fill(broker: &Broker) -> Self {
        let prefix = topics::unique("round-trip");
        let name = |name: &str| format!("{prefix}-{name}");
        let mut partitions = BTreeMap::from([
            (large_topic(broker, &name("one"), 1, &topics::ANY_TIME), 1),
            (large_topic(broker, &name("four"), 4, &SETTINGS), 4),
            (large_topic(broker, &name("sixteen"), 16, &[]), 16),
        ]);
        produce(broker, "none", (&name("one"), 0), &samples::hostile());
        // From now on the broker recompresses what is written, and Kafka's own code then replaces
        // header names that are not UTF-8: a restore must avoid that.
        let [retention, latest] = topics::ANY_TIME;
        let config = [retention, latest, ("compression.type", "lz4")];
        topics::reconfigure(broker, &name("one"), &config);
        scenarios::interleaved_transactions(broker, (&name("four"), 2));
        scenarios::compacted_topic_with_gaps(broker, &name("compacted"));
        scenarios::log_append_time_topic(broker, &name("stamped"), 2);
        scenarios::topic_emptied_by_retention(broker, &name("emptied"));
        topics::create(broker, &name("empty"), 3, &[]);
        for (topic, count) in [
            ("compacted", 1),
            ("stamped", 2),
            ("emptied", 1),
            ("empty", 3),
        ] {
            partitions.insert(name(topic), count);
        }
        let topics = partitions.into_iter().map(|(name, partitions)| Topic {
            config: topics::config(broker, &name),
            name,
            partitions,
        });
        Self {
            topics: topics.collect(),
            prefix,
        }
    }

    fn pattern(&self) -> String {
        format!("{}-*", self.prefix)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| topic.name.as_str())
    }

    fn targets(&self) -> Vec<String> {
        let target = |name: &str| format!("restored-{name}");
        self.names().map(target).collect()
    }
}

const SETTINGS: [(&str, &str); 3] = [
    ("retention.ms", "604800000"),
    ("segment.bytes", "16777216"),
    ("max.message.bytes", "2000000"),
];

/// Creates a topic with a third of the records, produced with every codec; the last of several partitions stays empty.
fn large_topic(broker: &Broker, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
    topics::create(broker, name, partitions, config);
    let filled = (partitions - 1).max(1);
    for (codec, seed) in CODECS.into_iter().zip(0..) {
        let records = samples::mixed(seed).take(records().div_ceil(3 * CODECS.len()));
        produce_bulk(broker, codec, (name, filled), records);
    }
    name.to_owned()
}

/// Trusts no code of kbk's: a reader written from SPEC.md alone finds in the repository what
/// a plain consumer finds in the topic, offsets included.
#[test]
fn the_spec_reader_sees_what_a_consumer_sees() {
    let broker = Broker::shared();
    let topic = topics::unique("by-spec");
    topics::create(broker, &topic, 4, &topics::ANY_TIME);
    produce(broker, "zstd", (&topic, 0), &samples::hostile());
    scenarios::interleaved_transactions(broker, (&topic, 1));
    let mixed: Vec<_> = samples::mixed(9).take(2000).collect();
    produce(broker, "snappy", (&topic, 2), &mixed);
    wire::produce(
        broker,
        (&topic, 2),
        &[samples::plain(0, "1970, to the millisecond")],
    );
    let compacted = format!("{topic}-compacted");
    scenarios::compacted_topic_with_gaps(broker, &compacted);

    for compression in ["zstd:1", "lz4", "none"] {
        let repo = Repo::new();
        let args = [
            "--topic",
            &format!("{topic}*"),
            "--compression",
            compression,
        ];
        run(&mut repo.backup(broker, &args)).expect_code(0);
        repo.verify_by_spec();
        for (topic, partitions) in [(&topic, 4), (&compacted, 1)] {
            for partition in 0..partitions {
                let consumed = consume::read_all(broker, topic, partition).into_iter();
                let consumed: Vec<_> = consumed
                    .map(|record| (record.offset, record.message))
                    .collect();
                let stored = repo.read_by_spec(topic, partition);
                assert!(stored == consumed, "{topic}/{partition} with {compression}");
            }
        }
    }
}
