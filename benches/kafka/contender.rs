//! Lower bounds for the same work, each in a process of its own: this binary, started again with a subcommand.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::samples::Payload;
use crate::source::{Source, payload};
use crate::support::broker::Broker;
use crate::support::produce::{CODECS, Producer};
use crate::workload::Workload;

/// Long enough for a busy broker.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the contender that the arguments name; returns false if they name none.
pub(crate) fn run(args: &[&str]) -> bool {
    match args {
        ["consume", topic, partitions] => consume(topic, number(partitions)),
        ["produce", topic, name, codec, partitions, bytes] => {
            let source = Source {
                payload: payload(name),
                codec: CODECS
                    .into_iter()
                    .find(|known| known == codec)
                    .expect("a codec"),
                partitions: number(partitions),
            };
            produce(topic, source, number(bytes));
        }
        ["zstd", level, name, bytes] => zstd(number(level), payload(name), number(bytes)),
        ["crc", folder] => {
            let checksum = crc(Path::new(folder)).expect("the repository can be read");
            println!("{checksum:08x}");
        }
        _ => return false,
    }
    true
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(word: &str) -> T {
    word.parse().expect("a number")
}

/// A bare librdkafka consumer: reads every record of the topic and drops it.
///
/// It fetches the end offsets first and counts records, instead of waiting for the end of each partition: a fetch that finds
/// nothing new would block for half a second, which says nothing about its speed.
fn consume(topic: &str, partitions: i32) {
    let consumer: BaseConsumer = Broker::shared()
        .client()
        // Never joined: partitions are assigned by hand.
        .set("group.id", "kbk-bench")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..partitions {
        let (start, end) = consumer
            .fetch_watermarks(topic, partition, PATIENCE)
            .expect("the partition's offsets");
        assignment
            .add_partition_offset(topic, partition, Offset::Offset(start))
            .expect("a valid offset");
        left += end - start;
    }
    consumer.assign(&assignment).expect("assigned");
    while left > 0 {
        let record = consumer.poll(PATIENCE).expect("a record in time");
        record.expect("a record");
        left -= 1;
    }
}

/// A bare idempotent librdkafka producer with `acks=all`.
pub(crate) fn produce(topic: &str, source: Source, bytes: u64) {
    let workload = Workload::new(source.payload);
    let producer = Producer::new(Broker::shared(), source.codec);
    let partitions = (0..source.partitions).cycle();
    for (message, partition) in workload.messages(bytes).zip(partitions) {
        producer.send(topic, partition, message);
    }
    producer.flush();
}

/// Compresses the same bytes with zstd in one thread, 1 MiB at a time.
fn zstd(level: i32, payload: Payload, bytes: u64) {
    let raw = Workload::new(payload).distinct_bytes();
    let mut context = zstd::zstd_safe::CCtx::create();
    let mut compressed = Vec::with_capacity(zstd::zstd_safe::compress_bound(1 << 20));
    let mut left = bytes;
    for block in raw.chunks(1 << 20).cycle() {
        if left == 0 {
            break;
        }
        context
            .compress(&mut compressed, block, level)
            .expect("room for the worst case");
        left = left.saturating_sub(block.len() as u64);
    }
}

/// Reads all files in the folder once and combines the CRC-32C of each.
fn crc(folder: &Path) -> io::Result<u32> {
    let mut checksum = 0;
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let of_entry = if path.is_dir() {
            crc(&path)?
        } else {
            crc_of_file(&path)?
        };
        checksum ^= of_entry;
    }
    Ok(checksum)
}

fn crc_of_file(path: &Path) -> io::Result<u32> {
    let (mut file, mut checksum) = (File::open(path)?, 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(checksum),
            length => checksum = crc32c::crc32c_append(checksum, &buffer[..length]),
        }
    }
}
