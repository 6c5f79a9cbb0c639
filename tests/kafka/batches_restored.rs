//! Kafka's own batches out of a backup: byte for byte those that were produced where nothing has to change, and the same records everywhere.

use std::path::Path;
use std::process::Command;

use kbk_format::batch::{BatchCodec, HEADER_LENGTH, RecordBatch, RecordBatches};
use kbk_format::{IndexEntry, Segment};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{CODECS, Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::{Random, now_ms, plain};
use crate::support::{consume, logs, offset_map, samples, topics, wire};

/// What a batch is, but for where it is and who produced it.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    codec: Option<BatchCodec>,
    base_timestamp: i64,
    max_timestamp: i64,
    last_offset_delta: i64,
    count: Option<u32>,
    records: Vec<u8>,
}

fn content(batch: &RecordBatch<'_>) -> Content {
    batch.check_crc().expect("an intact batch");
    let header = batch.header();
    Content {
        codec: header.attributes.codec(),
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        last_offset_delta: header.last_offset - header.base_offset,
        count: header.record_count,
        records: batch.bytes()[HEADER_LENGTH..].to_vec(),
    }
}

/// Returns the batches of records in a broker's log.
fn logged(data: &Path, topic: &str) -> Vec<Content> {
    let mut found = Vec::new();
    for log in logs::segments(&data.join(format!("{topic}-0")), "log") {
        let bytes = std::fs::read(log).expect("a log");
        for batch in RecordBatches::new(&bytes, 0) {
            let batch = batch.expect("a batch of Kafka's");
            if !batch.header().attributes.is_control() {
                found.push(content(&batch));
            }
        }
    }
    found
}

fn codecs(batches: &[Content]) -> Vec<Option<BatchCodec>> {
    let mut codecs: Vec<_> = batches.iter().map(|batch| batch.codec).collect();
    codecs.dedup();
    codecs
}

/// Returns what Kafka's tool prints of the batches of records in a log, but for offsets, epochs and producers.
fn dumped(data: &Path, topic: &str) -> Vec<String> {
    /// What stays the same.
    const KEPT: [&str; 7] = [
        "count:",
        "CreateTime:",
        "size:",
        "magic:",
        "compresscodec:",
        "isvalid:",
        "deleteHorizonMs:",
    ];
    let printed = logs::dump(&data.join(format!("{topic}-0")));
    let lines = printed.lines();
    let batches = lines.filter(|line| line.contains("baseOffset:"));
    let batches = batches.filter(|line| line.contains("isControl: false"));
    let kept = batches.map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let pairs = words.windows(2).filter(|pair| KEPT.contains(&pair[0]));
        pairs.map(<[&str]>::concat).collect::<Vec<_>>().join(" ")
    });
    kept.collect()
}

fn saved(broker: &Broker) -> Repo {
    let repo = Repo::new();
    let args = ["--no-groups", "--encoding", "batches"];
    run(&mut repo.backup(broker, &args)).expect_code(0);
    repo
}

fn restore(repo: &Repo, broker: &Broker, topic: &str, args: &[&str]) -> Command {
    let map = format!("{topic}={topic}-copy");
    repo.restore(broker, &[&["--topic", topic, "--map", &map], args].concat())
}

/// Restores a topic as `{topic}-copy`, and compares records and offset map.
fn restored(repo: &Repo, broker: &Broker, topic: &str, args: &[&str]) -> u64 {
    let report = run(&mut restore(repo, broker, topic, args))
        .expect_code(0)
        .json();
    let copy = format!("{topic}-copy");
    let records = consume::assert_same(broker, (topic, &copy), 1);
    assert_eq!(report["records"], records, "{report}");
    let restore = report["restore"].as_str().expect("a name");
    offset_map::assert_exact(broker, repo, restore, (topic, &copy), 1);
    records
}

/// Records of 2 to 6 KB that every codec makes about half as long.
fn large(seed: u64, count: i64) -> Vec<Message> {
    let mut random = Random::new(seed);
    let now = now_ms();
    (0..count)
        .map(|number| Message {
            // Not in the order of their times.
            timestamp: now + (number * 7) % 5,
            key: (number % 3 > 0).then(|| format!("k{}", number % 11).into_bytes()),
            value: (number % 10 > 0).then(|| {
                let bytes = 1_000 + 500 * u64::try_from(number % 5).expect("small");
                random.bytes(bytes).repeat(2)
            }),
            headers: vec![(b"\xff".to_vec(), None), (b"h".to_vec(), Some(vec![0]))],
        })
        .collect()
}

#[test]
fn what_was_produced_comes_back_batch_by_batch() {
    let mut broker = Broker::start(&[]);
    let data = broker.data();
    for topic in CODECS {
        topics::create(&broker, topic, 1, &logs::ANYTHING);
        for seed in 0..4 {
            // Not small enough to be merged. The first batch begins with a timestamp of the past, and the offsets of the third one after a marker.
            let mut records = large(seed, 55);
            if seed == 0 {
                records[0].timestamp = 1;
                records[1].timestamp = -1;
            }
            match seed {
                2 => {
                    let producer = Producer::transactional(&broker, topic, topic);
                    producer.begin();
                    let send = |record| producer.send(topic, 0, record);
                    records.iter().for_each(send);
                    producer.commit();
                }
                _ => produce(&broker, topic, (topic, 0), &records),
            }
        }
    }
    let repo = saved(&broker);
    for topic in CODECS {
        assert_eq!(restored(&repo, &broker, topic, &["--verify"]), 220);
        let copy = format!("{topic}-copy");
        let batches = logged(&data, topic);
        assert!(batches.len() >= 4 && batches.iter().all(|batch| batch.count > Some(1)));
        let name = batches[0].codec.map(BatchCodec::name);
        assert_eq!(name, Some(topic), "as it was produced");
        assert!(batches == logged(&data, &copy), "{topic}");
        let printed = dumped(&data, topic);
        assert_eq!(printed.len(), batches.len());
        assert!(printed[0].contains("compresscodec:"), "{printed:?}");
        assert_eq!(printed, dumped(&data, &copy), "{topic}");
    }
}

#[test]
fn a_timestamp_of_zero_comes_back() {
    let broker = Broker::shared();
    let topic = topics::unique("zero");
    topics::create(broker, &topic, 1, &logs::ANYTHING);
    let records = [0, -1, 7, 0].map(|time| plain(time, "at any time"));
    wire::produce(broker, (&topic, 0), &records);
    wire::produce_zstd(broker, (&topic, 0), &records);
    let repo = Repo::new();
    let args = ["--topic", &topic, "--encoding", "batches"];
    run(&mut repo.backup(broker, &args)).expect_code(0);
    assert_eq!(restored(&repo, broker, &topic, &[]), 8);
    let times = consume::read_all(broker, &format!("{topic}-copy"), 0);
    let times: Vec<i64> = times.iter().map(|it| it.message.timestamp).collect();
    assert_eq!(times, [0, -1, 7, 0, 0, -1, 7, 0]);
}

#[test]
fn what_cannot_be_produced_again_is_built_anew_with_its_codec() {
    let mut broker = Broker::start(&[]);
    let data = broker.data();
    let topics = logs::fill(&broker);
    // Compaction leaves batches with gaps inside.
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1000"),
    ];
    topics::create(&broker, "compacted", 1, &compacted);
    let old = now_ms() - 600_000;
    let value = "x".repeat(300);
    let keyed = |number: i64| Message {
        key: Some(format!("k{}", if number % 2 == 0 { 0 } else { number }).into_bytes()),
        ..plain(old + number * 5, &value)
    };
    let records: Vec<Message> = (0..400).map(keyed).collect();
    for part in records.chunks(100) {
        produce(&broker, "snappy", ("compacted", 0), part);
    }
    let has_gaps = || {
        let batches = logged(&data, "compacted");
        batches
            .iter()
            .any(|batch| batch.count.map(i64::from) < Some(batch.last_offset_delta))
    };
    let mut second = 10;
    crate::support::wait::until("the cleaner", || {
        second += 2;
        let tick = Message {
            key: Some(b"tick".to_vec()),
            ..plain(old + second * 1_000, "tick")
        };
        produce(&broker, "snappy", ("compacted", 0), [&tick]);
        has_gaps().then_some(())
    });
    topics::reconfigure(&broker, "compacted", &[("cleanup.policy", "delete")]);

    // Times of a broker.
    let append_time = [("message.timestamp.type", "LogAppendTime")];
    topics::create(&broker, "stamped", 1, &append_time);
    produce(&broker, "zstd", ("stamped", 0), &large(5, 60));

    let repo = saved(&broker);
    for topic in topics.into_iter().filter(|topic| *topic != "empty") {
        restored(&repo, &broker, topic, &["--verify"]);
    }
    restored(&repo, &broker, "compacted", &["--verify"]);
    // Those of one record are not compressed in the source either.
    let mut copy = logged(&data, "compacted-copy");
    copy.retain(|batch| batch.count > Some(1));
    assert_eq!(codecs(&copy), [Some(BatchCodec::Snappy)]);
    restored(&repo, &broker, "stamped", &["--verify"]);
    let stamped = logged(&data, "stamped-copy");
    assert_eq!(codecs(&stamped), [Some(BatchCodec::Zstd)]);
}

#[test]
fn small_batches_become_one() {
    let mut broker = Broker::start(&[]);
    let data = broker.data();
    for topic in ["plain", "packed", "mixed"] {
        topics::create(&broker, topic, 1, &logs::ANYTHING);
        let producer = Producer::transactional(&broker, "none", topic);
        for (number, record) in samples::documents(1).take(120).enumerate() {
            if topic == "packed" {
                wire::produce_zstd(&broker, (topic, 0), &[record]);
                continue;
            }
            if number % 20 == 0 {
                producer.begin();
            }
            producer.send(topic, 0, &record);
            producer.flush();
            if number % 20 == 19 {
                producer.commit();
            }
            if topic == "mixed" && number == 59 {
                produce(&broker, "gzip", (topic, 0), &large(1, 20));
            }
        }
    }
    let repo = saved(&broker);
    for (topic, most) in [("plain", 8), ("packed", 8), ("mixed", 12)] {
        assert!(logged(&data, topic).len() >= 120);
        restored(&repo, &broker, topic, &[]);
        let copy = logged(&data, &format!("{topic}-copy"));
        assert!(copy.len() <= most, "{topic}: {} batches", copy.len());
    }
    assert_eq!(
        codecs(&logged(&data, "packed-copy")),
        [Some(BatchCodec::Zstd)]
    );
    let [plain, packed] = [BatchCodec::None, BatchCodec::Gzip].map(Some);
    let mixed = codecs(&logged(&data, "mixed-copy"));
    assert_eq!(mixed, [plain, packed, plain]);
}

#[test]
fn targets_get_the_codec_and_the_size_that_they_ask_for() {
    let mut broker = Broker::start(&[]);
    let data = broker.data();
    topics::create(&broker, "zstd", 1, &logs::ANYTHING);
    for seed in 0..3 {
        produce(&broker, "zstd", ("zstd", 0), &large(seed, 60));
    }
    let largest = logged(&data, "zstd")
        .iter()
        .map(|it| it.records.len())
        .max();
    assert!(largest > Some(100_000), "{largest:?}");
    let repo = saved(&broker);
    let fill = |config: &[(&str, &str)], args: &[&str]| {
        let config = [&logs::ANYTHING, config].concat();
        topics::create(&broker, "zstd-copy", 1, &config);
        restored(&repo, &broker, "zstd", args);
        let batches = logged(&data, "zstd-copy");
        topics::delete(&broker, "zstd-copy");
        batches
    };
    let gzip = fill(&[("compression.type", "gzip")], &[]);
    assert_eq!(codecs(&gzip), [Some(BatchCodec::Gzip)]);
    let plain = fill(&[("compression.type", "uncompressed")], &[]);
    assert_eq!(codecs(&plain), [Some(BatchCodec::None)]);
    let same = fill(&[("compression.type", "zstd")], &[]);
    assert!(same == logged(&data, "zstd"));
    let asked = fill(&[], &["-X", "compression.type=snappy"]);
    assert_eq!(codecs(&asked), [Some(BatchCodec::Snappy)]);
    let small = fill(&[("max.message.bytes", "50000")], &[]);
    assert!(small.iter().all(|batch| batch.records.len() < 50_000));
    assert_eq!(codecs(&small), [Some(BatchCodec::Zstd)]);
    let all = fill(&[], &["--drop-header", "nobody"]);
    assert_eq!(codecs(&all), [Some(BatchCodec::Zstd)]);
}

#[test]
fn a_bound_decodes_only_the_batches_that_it_cuts() {
    let mut broker = Broker::start(&[]);
    let data = broker.data();
    topics::create(&broker, "cut", 1, &logs::ANYTHING);
    let mut records = large(1, 240);
    for (record, time) in records.iter_mut().zip(1_600_000_000_000..) {
        record.timestamp = time;
    }
    for part in records.chunks(60) {
        produce(&broker, "lz4", ("cut", 0), part);
    }
    let repo = saved(&broker);
    let batches = logged(&data, "cut");
    let first = |count: usize| -> i64 {
        let counts = batches[..count].iter().map(|batch| batch.count);
        counts.flatten().map(i64::from).sum()
    };
    // Within the third batch.
    let within = first(2) + 10;
    let time = format!("@{}ms", 1_600_000_000_000 + within);
    let restore = |args: &[&str]| {
        let report = run(&mut restore(&repo, &broker, "cut", args))
            .expect_code(0)
            .json();
        let found = logged(&data, "cut-copy");
        let values = consume::read_all(&broker, "cut-copy", 0);
        topics::delete(&broker, "cut-copy");
        let values: Vec<Message> = values.into_iter().map(|it| it.message).collect();
        (report["records"].as_i64().expect("a number"), found, values)
    };
    let at = usize::try_from(within).expect("small");
    let (count, found, values) = restore(&["--until", &time]);
    assert_eq!(count, within + 1);
    assert!(values == records[..=at]);
    assert!(found[..2] == batches[..2], "whole ones stay");
    assert_eq!(found.len(), 3);
    assert_eq!(found[2].codec, batches[2].codec);
    let (count, _, values) = restore(&["--since", &time]);
    assert_eq!(count, 240 - within);
    assert!(values == records[at..]);
}

#[test]
fn a_flipped_bit_in_a_stored_batch_is_refused() {
    let broker = Broker::shared();
    // Nothing looks at a batch before it is written, whether it was decoded for the backup or not.
    for is_computed in [false, true] {
        let topic = topics::unique("flipped");
        topics::create(broker, &topic, 1, &logs::ANYTHING);
        for seed in 0..3 {
            produce(broker, "zstd", (&topic, 0), &large(seed, 60));
        }
        let repo = Repo::new();
        let args = ["--topic", &topic, "--encoding", "batches"];
        run(&mut repo.backup(broker, &args)).expect_code(0);
        if is_computed {
            run(&mut repo.kbk(&["index", "--json"])).expect_code(0);
        }
        let path = referenced(&repo);
        let intact = std::fs::read(&path).expect("a segment");
        std::fs::write(&path, flipped(&intact)).expect("written");
        let failed = run(&mut restore(&repo, broker, &topic, &[])).expect_code(1);
        let says = ["stored_crc", "BATCHES"];
        assert!(
            says.iter().all(|words| failed.stderr.contains(words)),
            "{}",
            failed.stderr
        );
        assert!(!offset_map::restores(&repo).is_empty(), "it has begun");
        std::fs::write(&path, intact).expect("written");
        let report = run(&mut repo.restore(broker, &["--resume"]))
            .expect_code(0)
            .json();
        assert_eq!(report["records"], 180, "{report}");
        consume::assert_same(broker, (&topic, &format!("{topic}-copy")), 1);
    }
}

#[test]
fn a_plan_reads_batches_only_for_what_their_headers_do_not_say() {
    let mut broker = Broker::start(&[]);
    let data = broker.data();
    let topic = "unread";
    topics::create(&broker, topic, 1, &logs::ANYTHING);
    for seed in 0..3 {
        produce(&broker, "zstd", (topic, 0), &large(seed, 60));
    }
    let repo = saved(&broker);
    let batches = logged(&data, topic);
    let largest = batches.iter().map(|it| it.records.len() + HEADER_LENGTH);
    let largest = largest.max().expect("a batch");
    // Times of batches, and the same of all: a millisecond apart.
    let newest = batches.iter().map(|it| it.max_timestamp);
    let oldest_batch = newest.clone().min().expect("a batch");

    // Whoever reads a block of such a segment fails.
    for path in repo.segments().into_keys() {
        let mut bytes = std::fs::read(&path).expect("a segment");
        let segment = Segment::open_whole(&bytes).expect("an intact segment");
        assert!(!segment.is_computed());
        let end = usize::try_from(segment.footer_position()).expect("small");
        bytes[128..end].fill(0);
        std::fs::write(&path, bytes).expect("written");
    }
    let plan = |args: &[&str]| {
        let args = [args, &["--dry-run"]].concat();
        run(&mut restore(&repo, &broker, topic, &args))
    };
    let is_read = |args: &[&str]| {
        let planned = plan(args).expect_code(1);
        let error = planned.json()["error"].to_string();
        assert!(
            error.contains("KBLK") || error.contains("block"),
            "{args:?}: {error}"
        );
    };
    let not_read = |args: &[&str]| {
        let planned = plan(args).expect_code(0).json();
        let of_topic = planned["topics"][0].clone();
        assert_eq!(of_topic["partitions"][0]["records"], 180, "{planned}");
        assert_eq!(of_topic["largest_batch_bytes"], largest, "{planned}");
        assert!(of_topic["largest_record_bytes"].is_null(), "{planned}");
        of_topic
    };
    let created = not_read(&[]);
    assert_eq!(created["retention_stays_off"], false, "{created}");
    for args in [
        &["--no-transactions"][..],
        &["--partition-map", "0:0"],
        &["-X", "compression.type=zstd"],
    ] {
        not_read(args);
    }
    let cut = format!("@{oldest_batch}ms");
    for args in [
        &["--client", "librdkafka"][..],
        &["--repartition", "3"],
        &["--drop-header", "h"],
        &["-X", "compression.type=gzip"],
        &["-X", "batch.size=1000"],
        &["--until", &cut],
        &["--since", &cut],
    ] {
        is_read(args);
    }

    // Targets that look at records.
    let into = |config: &[(&str, &str)], check: &dyn Fn(&[&str])| {
        let others = logs::ANYTHING.into_iter();
        let others = others.filter(|(key, _)| config.iter().all(|(given, _)| given != key));
        let config: Vec<_> = others.chain(config.iter().copied()).collect();
        topics::create(&broker, "unread-copy", 1, &config);
        check(&[]);
        topics::delete(&broker, "unread-copy");
    };
    let enough = largest.to_string();
    let too_few = (largest - 1).to_string();
    into(&[], &|args| drop(not_read(args)));
    into(&[("compression.type", "zstd")], &|args| {
        drop(not_read(args))
    });
    into(&[("max.message.bytes", &enough)], &|args| {
        drop(not_read(args))
    });
    into(&[("max.message.bytes", &too_few)], &is_read);
    into(&[("compression.type", "lz4")], &is_read);
    into(&[("cleanup.policy", "compact")], &is_read);
    into(&[("message.timestamp.before.max.ms", "86400000")], &is_read);

    // A target that would delete all of a batch.
    into(&[("retention.ms", "1")], &|args| {
        let planned = plan(args).expect_code(1).json();
        assert_eq!(
            planned["obstacles"][0]["obstacle"], "retention",
            "{planned}"
        );
        assert_eq!(planned["obstacles"][0]["exact"], false, "{planned}");
        let said = run(&mut restore(&repo, &broker, topic, args)).expect_code(1);
        let words = "the newest record of a batch to restore is from";
        assert!(said.stderr.contains(words), "{}", said.stderr);
    });
}

/// Returns the segment that the newest snapshot names: the one that is computed, where one is.
fn referenced(repo: &Repo) -> std::path::PathBuf {
    let computed = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).expect("a segment");
        let segment = Segment::open_whole(&bytes).expect("an intact segment");
        segment.statistics().computed.is_some()
    };
    let paths: Vec<_> = repo.segments().into_keys().collect();
    let found = paths.iter().find(|path| computed(path));
    found.unwrap_or(&paths[0]).clone()
}

/// Returns a segment with another bit in the middle of its last block.
fn flipped(intact: &[u8]) -> Vec<u8> {
    let segment = Segment::open_whole(intact).expect("an intact segment");
    let last: &IndexEntry = segment.index().entries().last().expect("a block");
    let middle = last.position + u64::from(last.block_length) / 2;
    let mut flipped = intact.to_vec();
    flipped[usize::try_from(middle).expect("small")] ^= 0x10;
    flipped
}
