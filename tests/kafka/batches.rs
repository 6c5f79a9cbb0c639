//! Kafka's own batches in a backup: byte for byte those of the broker's log, and records like any others to every command. Those that are
//! compressed are not decompressed, and nothing is claimed of what is in them.

use std::fs;
use std::path::Path;

use kbk_format::batch::RecordBatches;
use kbk_format::{BlockDecoder, GapReason, Segment};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::old_log::LogFolder;
use crate::support::process::run;
use crate::support::produce::{CODECS, Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, logs, samples, scenarios, topics, wire};

fn backup(repo: &Repo, broker: &Broker, encoding: &str) -> Value {
    let args = ["--no-groups", "--encoding", encoding];
    let report = run(&mut repo.backup(broker, &args)).expect_code(0).json();
    assert_eq!(report["findings"], json!([]), "{encoding}");
    report
}

/// Returns the batches of records in a broker's log, and how many others there are.
fn logged(data: &Path, topic: &str) -> (Vec<Vec<u8>>, usize) {
    let (mut batches, mut controls) = (Vec::new(), 0);
    for log in logs::segments(&data.join(format!("{topic}-0")), "log") {
        let bytes = fs::read(log).expect("a log");
        for batch in RecordBatches::new(&bytes, 0) {
            let batch = batch.expect("a batch of Kafka's");
            match batch.header().attributes.is_control() {
                true => controls += 1,
                false => batches.push(batch.bytes().to_vec()),
            }
        }
    }
    (batches, controls)
}

/// Passes the segments of a topic to `visit`, with their bytes.
fn each_segment(repo: &Repo, topic: &str, mut visit: impl FnMut(&Segment, &[u8])) {
    for path in repo.segments().into_keys() {
        let bytes = fs::read(path).expect("a segment");
        let segment = Segment::open_whole(&bytes).expect("an intact segment");
        if segment.header().topic == topic {
            visit(&segment, &bytes);
        }
    }
}

/// Returns how many offsets of a topic have no record for this reason.
fn gaps(repo: &Repo, topic: &str, reason: GapReason) -> u64 {
    let mut offsets = 0;
    each_segment(repo, topic, |segment, _| {
        offsets += segment.gaps().offsets(reason);
    });
    offsets
}

/// Returns the batches that are stored of a topic, and the records that are stored otherwise.
fn stored(repo: &Repo, topic: &str) -> (Vec<Vec<u8>>, u32) {
    let (mut found, mut others) = (Vec::new(), 0);
    let mut decoder = BlockDecoder::new();
    each_segment(repo, topic, |segment, bytes| {
        for (number, entry) in segment.index().entries().iter().enumerate() {
            let at = usize::try_from(entry.position).expect("a position");
            let block = segment.block(number, &bytes[at..]).expect("a block");
            let batches = block.batches(&mut decoder).expect("intact batches");
            let Some(batches) = batches else {
                others += block.header().record_count;
                continue;
            };
            for batch in batches {
                let batch = batch.expect("a batch");
                found.push((batch.header().base_offset, batch.bytes().to_vec()));
            }
        }
    });
    // An index keeps batches that an older segment has, too.
    found.sort();
    found.dedup();
    (found.into_iter().map(|(_, bytes)| bytes).collect(), others)
}

fn live(broker: &Broker, topic: &str) -> Vec<(i64, Message)> {
    consume::read_all(broker, topic, 0)
        .into_iter()
        .map(|record| (record.offset, record.message))
        .collect()
}

#[test]
fn batches_are_stored_byte_for_byte_and_every_command_reads_them() {
    let mut broker = Broker::start(&[]);
    let data = broker.data();
    let time = [("message.timestamp.type", "LogAppendTime")];
    for topic in CODECS {
        topics::create(&broker, topic, 1, &topics::ANY_TIME);
    }
    topics::create(&broker, "append-time", 1, &time);
    topics::create(&broker, "transactions", 1, &topics::ANY_TIME);
    let all: Vec<&str> = CODECS
        .into_iter()
        .chain(["append-time", "transactions"])
        .collect();
    let transactional = Producer::transactional(&broker, "zstd", "batches");
    let add = |seed: u64| {
        let records: Vec<Message> = samples::mixed(seed).take(300).collect();
        for topic in CODECS {
            // Several batches.
            for part in records.chunks(40) {
                produce(&broker, topic, (topic, 0), part);
            }
        }
        produce(&broker, "lz4", ("append-time", 0), &records);
        transactional.begin();
        records
            .iter()
            .for_each(|record| transactional.send("transactions", 0, record));
        transactional.commit();
    };
    let repos = ["batches", "records", "auto"].map(|encoding| (encoding, Repo::new()));
    for seed in [1, 2] {
        add(seed);
        for (encoding, repo) in &repos {
            let report = backup(repo, &broker, encoding);
            assert_eq!(report["records"], 300 * all.len(), "{encoding}");
            // Snappy, LZ4 twice, and Zstandard twice; gzip has to be decompressed to know how much it holds.
            let not_decoded = if *encoding == "records" { 0 } else { 5 };
            assert_eq!(report["not_computed_segments"], not_decoded, "{encoding}");
        }
    }
    let [(_, batches), (_, records), (_, auto)] = &repos;

    for topic in &all {
        let (logged, controls) = logged(&data, topic);
        assert!(!logged.is_empty());
        assert_eq!(controls, if *topic == "transactions" { 2 } else { 0 });
        assert_eq!(stored(batches, topic), (logged.clone(), 0), "{topic}");
        assert_eq!(stored(records, topic), (Vec::new(), 600), "{topic}");
        let of_auto = match *topic {
            "none" => (Vec::new(), 600),
            _ => (logged, 0),
        };
        assert_eq!(stored(auto, topic), of_auto, "{topic}");
        let is_decoded = ["none", "gzip"].contains(topic);
        each_segment(batches, topic, |segment, _| {
            assert_eq!(segment.is_computed(), is_decoded, "{topic}");
        });
    }

    // To all else they are records.
    let other = records.path();
    let with = other.to_str().expect("a path of text");
    for (encoding, repo) in &repos {
        assert_eq!(repo.verify()["records"], 600 * all.len(), "{encoding}");
        repo.verify_by_spec();
        let diff = ["diff", "--records-only", "--full", "--with", with];
        run(&mut repo.kbk(&diff)).expect_code(0);
    }
    let shown = |repo: &Repo, topic: &str| {
        let cat = run(&mut repo.kbk(&["cat", topic, "-p", "0"]));
        cat.expect_code(0).stdout
    };
    let expected: Vec<_> = all
        .iter()
        .map(|topic| (live(&broker, topic), shown(records, topic)))
        .collect();
    let compare = |batches: &Repo| {
        for (topic, (live, expected)) in all.iter().zip(&expected) {
            assert!(batches.read_by_spec(topic, 0) == *live, "{topic}");
            assert_eq!(shown(batches, topic), *expected);
        }
    };
    compare(batches);
    let live = ["diff", "--live", "-b", broker.bootstrap()];
    run(&mut batches.kbk(&live)).expect_code(0);
    let restore = || {
        let topics = ["snappy", "lz4", "zstd", "append-time"];
        let mut command = batches.restore(&broker, &["--verify"]);
        for topic in topics {
            command.args(["--topic", topic, "--map", &format!("{topic}={topic}-copy")]);
        }
        run(&mut command).expect_code(0);
        for topic in topics {
            let copy = format!("{topic}-copy");
            if topic != "append-time" {
                consume::assert_same(&broker, (topic, &copy), 1);
            }
            topics::delete(&broker, &copy);
        }
    };
    restore();

    // What was not decoded is computed later, and the batches stay as they are.
    assert_eq!(batches.verify()["not_computed_segments"], 10);
    let before: Vec<_> = all.iter().map(|topic| stored(batches, topic)).collect();
    let done = run(&mut batches.kbk(&["index", "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(done["segments"], 10, "{done}");
    let after: Vec<_> = all.iter().map(|topic| stored(batches, topic)).collect();
    assert_eq!(before, after);
    let verified = batches.verify();
    assert_eq!(
        (&verified["records"], &verified["not_computed_segments"]),
        (&json!(600 * all.len()), &json!(0))
    );
    batches.verify_by_spec();
    let diff = ["diff", "--records-only", "--full", "--with", with];
    run(&mut batches.kbk(&diff)).expect_code(0);
    compare(batches);
    run(&mut batches.kbk(&live)).expect_code(0);
    restore();

    // A compaction merges both segments of a partition.
    let done = run(&mut batches.kbk(&["compact", "--json", "--compression", "lz4"]))
        .expect_code(0)
        .json();
    assert_eq!(done["segments"], 2 * all.len(), "{done}");
    assert_eq!(batches.verify()["records"], 600 * all.len());
    batches.verify_by_spec();
    compare(batches);
    add(3);
    assert_eq!(
        backup(batches, &broker, "batches")["records"],
        300 * all.len()
    );
    batches.verify_by_spec();
}

#[test]
fn a_batch_that_is_wanted_in_part_is_stored_by_record() {
    let broker = Broker::start(&[]);
    topics::create(&broker, "part", 1, &topics::ANY_TIME);
    let records: Vec<Message> = samples::mixed(1).take(100).collect();
    wire::produce_zstd(&broker, ("part", 0), &records);
    topics::delete_records(&broker, ("part", 0), 40);
    let repo = Repo::new();
    assert_eq!(backup(&repo, &broker, "batches")["records"], 60);
    assert_eq!(stored(&repo, "part"), (Vec::new(), 60));
    wire::produce_zstd(&broker, ("part", 0), &records);
    assert_eq!(backup(&repo, &broker, "batches")["records"], 100);
    let (batches, others) = stored(&repo, "part");
    assert_eq!((batches.len(), others), (1, 60));
    repo.verify();
    repo.verify_by_spec();
    assert!(repo.read_by_spec("part", 0) == live(&broker, "part"));
}

#[test]
fn offsets_that_batches_lack_have_their_reasons_without_decoding() {
    let broker = Broker::start(&[]);
    let (compacted, mixed) = ("compacted", "mixed");
    let live_records = scenarios::compacted_topic_with_gaps(&broker, compacted);
    topics::create(&broker, mixed, 1, &[]);
    scenarios::interleaved_transactions(&broker, (mixed, 0));
    let [batches, records] = ["batches", "records"].map(|encoding| {
        let repo = Repo::new();
        backup(&repo, &broker, encoding);
        repo
    });
    for topic in [compacted, mixed] {
        for reason in [GapReason::NotDelivered, GapReason::Transaction] {
            let expected = gaps(&records, topic, reason);
            assert_eq!(
                gaps(&batches, topic, reason),
                expected,
                "{topic}: {reason:?}"
            );
        }
    }
    each_segment(&batches, compacted, |segment, _| {
        assert!(!segment.is_computed());
    });
    assert!(gaps(&batches, compacted, GapReason::NotDelivered) > 10);
    assert!(gaps(&batches, mixed, GapReason::Transaction) > 10);
    let verified = batches.verify();
    let all = live_records.len() + live(&broker, mixed).len();
    assert_eq!(verified["records"], all);
    batches.verify_by_spec();
    for topic in [compacted, mixed] {
        assert!(
            batches.read_by_spec(topic, 0) == live(&broker, topic),
            "{topic}"
        );
    }
    let other = records.path();
    let with = other.to_str().expect("a path of text");
    let diff = ["diff", "--records-only", "--full", "--with", with];
    run(&mut batches.kbk(&diff)).expect_code(0);
    // The last stored record is decoded to prove that the logs continue it.
    let more: Vec<Message> = samples::mixed(3).take(40).collect();
    produce(&broker, "lz4", (mixed, 0), &more);
    assert_eq!(backup(&batches, &broker, "batches")["records"], 40);
    batches.verify_by_spec();
}

/// A batch of one record whose checksum matches, and whose zstd block cannot be decompressed.
fn undecodable() -> Vec<u8> {
    // A frame of one segment of 20 bytes, and a last block of three bytes whose header of literals is malformed.
    let frame = [
        0x28, 0xb5, 0x2f, 0xfd, 0x20, 20, 0x1d, 0, 0, 0xff, 0xff, 0xff,
    ];
    let mut checked = 4_i16.to_be_bytes().to_vec();
    checked.extend(0_i32.to_be_bytes()); // the last offset's delta
    checked.extend(samples::now_ms().to_be_bytes().repeat(2));
    checked.extend([0xff; 14]); // no producer
    checked.extend(1_i32.to_be_bytes());
    checked.extend(frame);
    let mut rest = 0_i32.to_be_bytes().to_vec();
    rest.push(2);
    rest.extend(crc32c::crc32c(&checked).to_be_bytes());
    rest.extend(checked);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    batch.extend(i32::try_from(rest.len()).expect("short").to_be_bytes());
    batch.extend(rest);
    batch
}

#[test]
fn a_batch_that_cannot_be_decompressed_is_stored_and_found_by_verify() {
    let mut broker = Broker::start(&[]);
    topics::create(&broker, "odd", 1, &topics::ANY_TIME);
    let batch = undecodable();
    LogFolder::of(&mut broker, "odd", 0).write(&batch);
    broker.restart();

    // Read by record, it is an error of the cluster's.
    let args = ["--no-groups", "--encoding", "records"];
    let report = run(&mut Repo::new().backup(&broker, &args)).expect_code(3);
    assert_eq!(report.json()["findings"][0]["finding"], "unreadable");

    // Stored as it is, it is what the cluster has.
    let repo = Repo::new();
    let report = backup(&repo, &broker, "batches");
    assert_eq!(
        (&report["records"], &report["not_computed_segments"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(stored(&repo, "odd"), (vec![batch], 0));
    run(&mut repo.kbk(&["verify"])).expect_code(0);
    for command in [&["verify", "--depth", "records"][..], &["index"]] {
        let found = run(&mut repo.kbk(command)).expect_code(3);
        let said = format!("{}{}", found.stdout, found.stderr);
        assert!(said.contains("zstd"), "{said}");
    }
}

#[test]
fn librdkafka_has_no_batches() {
    let repo = Repo::new();
    let args = [
        "backup",
        "-b",
        "127.0.0.1:1",
        "--client",
        "librdkafka",
        "--encoding",
        "batches",
    ];
    let refused = run(&mut repo.kbk(&args)).expect_code(2);
    assert!(
        refused.stderr.contains("--client wire"),
        "{}",
        refused.stderr
    );
}
