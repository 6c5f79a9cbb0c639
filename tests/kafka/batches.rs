//! Kafka's own batches in a backup: byte for byte those of the broker's log, and records like any others to every command.

use std::fs;
use std::path::Path;

use kbk_format::batch::RecordBatches;
use kbk_format::{BlockDecoder, Segment};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{CODECS, Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, logs, samples, topics, wire};

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

/// Returns the batches that are stored of a topic, and the records that are stored otherwise.
fn stored(repo: &Repo, topic: &str) -> (Vec<Vec<u8>>, u32) {
    let (mut found, mut others) = (Vec::new(), 0);
    let mut decoder = BlockDecoder::new();
    for path in repo.segments().into_keys() {
        let bytes = fs::read(path).expect("a segment");
        let segment = Segment::open_whole(&bytes).expect("an intact segment");
        if segment.header().topic != topic {
            continue;
        }
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
    }
    found.sort();
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
    let compare = |batches: &Repo| {
        for topic in &all {
            assert!(
                batches.read_by_spec(topic, 0) == live(&broker, topic),
                "{topic}"
            );
            let args = ["cat", topic, "-p", "0"];
            let [shown, expected] = [batches, records].map(|repo| run(&mut repo.kbk(&args)));
            assert_eq!(shown.expect_code(0).stdout, expected.expect_code(0).stdout);
        }
    };
    compare(batches);
    let live = ["diff", "--live", "-b", broker.bootstrap()];
    run(&mut batches.kbk(&live)).expect_code(0);
    let map = ["--map", "zstd=zstd-copy", "--topic", "zstd", "--verify"];
    run(&mut batches.restore(&broker, &map)).expect_code(0);
    consume::assert_same(&broker, ("zstd", "zstd-copy"), 1);
    let map = [
        "--map",
        "append-time=copy",
        "--topic",
        "append-time",
        "--verify",
    ];
    run(&mut batches.restore(&broker, &map)).expect_code(0);
    for copy in ["zstd-copy", "copy"] {
        topics::delete(&broker, copy);
    }

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
