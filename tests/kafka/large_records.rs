//! Records as large as a cluster allows are restored next to small ones, and a topic that would not accept them is rejected.

use crate::support::broker::Broker;
use crate::support::process::{Finished, run};
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::{Random, now_ms};
use crate::support::{consume, samples, soak, topics, wire};

const MB: u64 = 1_000_000;

/// A size within the cluster's default limit, and one that needs a higher limit.
const SIZES: [u64; 2] = [MB, 20 * MB];

#[test]
fn records_of_one_and_twenty_megabytes_are_restored() {
    let broker = Broker::shared();
    let topic = topics::unique("large-records");
    topics::create(broker, &topic, 1, &[("max.message.bytes", "25000000")]);
    for codec in ["none", "zstd"] {
        produce(broker, codec, (&topic, 0), &records());
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    repo.verify();
    repo.verify_by_spec();

    // The broker compares batches as they arrive, so only the broker can tell which of these records are too large.
    let small = format!("{topic}-small");
    topics::create(broker, &small, 1, &[]);
    let map = format!("{topic}={small}");
    let refused = run(&mut repo.restore(broker, &["--map", &map])).expect_code(1);
    for says in [
        &format!("{small} accepts batches of at most 1048588 bytes"),
        "the record of source offset 6 ",
        "MESSAGE_TOO_LARGE",
        "raise `max.message.bytes` of the topic",
        "what was committed stays in the targets; `kbk restore --resume",
    ] {
        assert!(refused.stderr.contains(says), "{says}: {refused:#?}");
    }
    topics::reconfigure(broker, &small, &[("max.message.bytes", "25000000")]);
    run(&mut repo.restore(broker, &["--resume"])).expect_code(0);
    consume::assert_same(broker, (&topic, &small), 1);

    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    run(&mut repo.restore(broker, &["--map", &map, "--verify"])).expect_code(0);
    let restored = consume::assert_same(broker, (&topic, &target), 1);
    assert_eq!(restored, 2 * records().len() as u64);
}

/// The others do not write on for as long as their partitions are, and what they have written counts.
#[test]
fn a_record_that_is_refused_stops_all_writers() {
    let broker = Broker::shared();
    let (large, long) = (topics::unique("refused"), topics::unique("long"));
    topics::create(broker, &large, 1, &[("max.message.bytes", "25000000")]);
    produce(broker, "none", (&large, 0), &records());
    topics::create(broker, &long, 1, &[]);
    let count = 30_000;
    produce_bulk(
        broker,
        "none",
        (&long, 1),
        samples::documents(5).take(count),
    );
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &large, "--topic", &long])).expect_code(0);
    let [small, copy] = [&large, &long].map(|topic| format!("{topic}-restored"));
    topics::create(broker, &small, 1, &[]);
    let maps = [format!("{large}={small}"), format!("{long}={copy}")];
    // Half a minute, if it is written to its end.
    let args = [
        "--map",
        &maps[0],
        "--map",
        &maps[1],
        "--rate-limit-records",
        "1000",
    ];
    let refused = run(&mut repo.restore(broker, &args)).expect_code(1);
    assert!(refused.stderr.contains("MESSAGE_TOO_LARGE"), "{refused:#?}");
    let written = consume::offsets(broker, &copy, 0).end;
    assert!(written < 25_000, "{written} offsets of {count} records");
    topics::reconfigure(broker, &small, &[("max.message.bytes", "25000000")]);
    let resume = ["--resume", "--rate-limit-records", "1000000"];
    run(&mut repo.restore(broker, &resume)).expect_code(0);
    assert_eq!(
        consume::assert_same(broker, (&long, &copy), 1),
        count as u64
    );
    consume::assert_same(broker, (&large, &small), 1);
}

/// One batch far larger than what is asked for in a response, several times. In `make soak` as large as a broker takes by default, of which each
/// copy takes 100 MB.
#[test]
fn batches_of_many_megabytes_are_saved_and_restored() {
    let megabytes = if soak() { 96 } else { 32 };
    // Each of the broker's threads keeps a buffer of the size of a batch.
    let broker = Broker::start(&[("num.io.threads", "2"), ("num.network.threads", "2")]);
    topics::create(
        &broker,
        "huge",
        1,
        &[
            ("max.message.bytes", "104000000"),
            ("segment.bytes", "110000000"),
        ],
    );
    let mut random = Random::new(4);
    let noise = random.bytes(MB);
    let messages: Vec<Message> = (0..megabytes)
        .map(|number: i64| Message {
            timestamp: now_ms(),
            key: Some(number.to_string().into_bytes()),
            value: Some(noise.clone()),
            headers: Vec::new(),
        })
        .collect();
    // More than there is room for at a time, at any stage.
    let batches = 8;
    for _ in 0..batches {
        wire::produce(&broker, ("huge", 0), &messages);
    }
    let batch_bytes = megabytes.unsigned_abs() * MB;
    let check = |what: &str, finished: Finished, copies: u64| {
        let finished = finished.expect_code(0);
        let found = finished.max_rss_bytes;
        println!("{what}: {} MB", found / MB);
        assert!(
            found <= copies * batch_bytes + 80 * MB,
            "{what} took {found} bytes"
        );
    };
    for encoding in ["records", "batches"] {
        let repo = Repo::new();
        let args = [
            "--topic",
            "huge",
            "--client",
            "wire",
            "--encoding",
            encoding,
        ];
        let saved = run(&mut repo.backup(&broker, &args));
        check(&format!("backup as {encoding}"), saved, 5);
        repo.verify();
        let exported = tempfile::tempdir().expect("a folder");
        let exported = exported.path().join("out").display().to_string();
        for (args, copies) in [
            (vec!["verify", "--full"], 4),
            (vec!["export", "-f", "kafka-log", &exported], 4),
            // Two sides.
            (vec!["diff", "--live", "-b", broker.bootstrap()], 7),
        ] {
            let done = run(&mut repo.kbk(&args));
            check(&format!("{} of {encoding}", args[0]), done, copies);
        }
        let target = topics::unique("huge-restored");
        let map = format!("huge={target}");
        let restored = run(&mut repo.restore(&broker, &["--map", &map, "--client", "wire"]));
        check(&format!("restore of {encoding}"), restored, 4);
        let restored = consume::assert_same(&broker, ("huge", &target), 1);
        assert_eq!(restored, batches * megabytes.unsigned_abs());
        topics::delete(&broker, &target);
    }
}

/// Large values, compressible and incompressible, a large key, and small records around each.
fn records() -> Vec<Message> {
    let mut random = Random::new(7);
    let small = || Message {
        timestamp: now_ms(),
        key: Some(b"small".to_vec()),
        value: Some(b"small".to_vec()),
        headers: Vec::new(),
    };
    let mut records = vec![small()];
    for size in SIZES {
        // Kafka's limit includes the record's framing.
        let random = random.bytes(size - 200);
        let same = vec![b'x'; random.len()];
        for value in [&random, &same] {
            records.push(Message {
                value: Some(value.clone()),
                ..small()
            });
            records.push(small());
        }
        records.push(Message {
            key: Some(random),
            value: None,
            ..small()
        });
    }
    records
}
