//! Topics with everything that a log of Kafka's can hold, what Kafka's tool says of their files, and whether a broker serves them again.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::broker::Broker;
use super::produce::{CODECS, Producer, produce};
use super::record::{Message, OwnedRecord};
use super::samples::{now_ms, plain};
use super::{consume, topics, wire};

/// Accepts any record.
pub(crate) const ANYTHING: [(&str, &str); 3] = [
    ("retention.ms", "-1"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
];

const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";

/// Topics with everything that a log can hold, of one partition each.
pub(crate) fn fill(broker: &Broker) -> Vec<&'static str> {
    let now = now_ms();
    let numbered = |number: i64| Message {
        key: Some(format!("k{}", number % 7).into_bytes()),
        headers: vec![(b"h".to_vec(), None), (b"i".to_vec(), Some(vec![]))],
        ..plain(now + number, &format!("value {number}"))
    };
    let create = |topic: &str, more: &[(&str, &str)]| {
        topics::create(broker, topic, 1, &[&ANYTHING, more].concat());
    };

    create("codecs", &[]);
    for (codec, batch) in CODECS.into_iter().zip(0..) {
        let messages = (0..40).map(|it| numbered(batch * 40 + it));
        produce(broker, codec, ("codecs", 0), &messages.collect::<Vec<_>>());
    }
    let tombstone = Message {
        value: None,
        ..numbered(3)
    };
    wire::produce(
        broker,
        ("codecs", 0),
        &[tombstone, plain(-1, ""), plain(0, "zero")],
    );

    create("large", &[]);
    let text = "x".repeat(2_000);
    let large: Vec<Message> = (0..2_000).map(|it| plain(now + it, &text)).collect();
    produce(broker, "none", ("large", 0), &large);

    create("transactions", &[]);
    let one = Producer::transactional(broker, "none", "export-one");
    let other = Producer::transactional(broker, "lz4", "export-other");
    for (round, aborts) in [false, true, true, false].into_iter().enumerate() {
        let number = i64::try_from(round).expect("few") * 10;
        one.begin();
        other.begin();
        for it in 0..4 {
            one.send("transactions", 0, &numbered(number + it));
            other.send("transactions", 0, &numbered(100 + number + it));
        }
        one.flush();
        if aborts {
            one.abort()
        } else {
            one.commit()
        }
        if aborts {
            other.commit()
        } else {
            other.abort()
        }
    }

    create(
        "append-time",
        &[("message.timestamp.type", "LogAppendTime")],
    );
    for number in 0..3 {
        produce(
            broker,
            "zstd",
            ("append-time", 0),
            &[plain(5, "a"), numbered(number)],
        );
    }

    create("far", &[]);
    for number in 0..3 {
        produce(
            broker,
            "none",
            ("far", 0),
            &[numbered(number), numbered(number + 1)],
        );
    }
    create("empty", &[]);
    vec![
        "append-time",
        "codecs",
        "empty",
        "far",
        "large",
        "transactions",
    ]
}

/// Returns the paths of a folder's files with an extension.
pub(crate) fn segments(folder: &Path, extension: &str) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a folder").flatten();
    let files = files.map(|file| file.path());
    let mut files: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .map(|path| path.to_str().expect("UTF-8").to_owned())
        .collect();
    files.sort();
    files
}

/// Returns what Kafka's tool prints of the batches in a partition's log.
pub(crate) fn dump(folder: &Path) -> String {
    let logs = segments(folder, "log").join(",");
    Broker::file_tool(DUMP, &["--files", &logs])
}

/// Fails the test unless Kafka's tool reads the logs in these folders and their indexes without complaint, and prints these records.
pub(crate) fn assert_dumped(folders: &[(PathBuf, &[OwnedRecord])]) {
    let all = |extension: &str| -> String {
        let files = folders
            .iter()
            .flat_map(|(folder, _)| segments(folder, extension));
        files.collect::<Vec<_>>().join(",")
    };
    let logs = all("log");
    let args = ["--deep-iteration", "--print-data-log", "--files", &logs];
    let dumped = Broker::file_tool(DUMP, &args);
    // Each file has a heading.
    let mut printed: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    let mut current = None;
    for line in dumped.lines() {
        if let Some(file) = line.strip_prefix("Dumping ") {
            current = Path::new(file).parent();
        } else if line.starts_with("| offset:") {
            let folder = current.expect("a heading comes first");
            printed.entry(folder).or_default().push(line);
        }
    }
    for (folder, records) in folders {
        let lines = printed.remove(folder.as_path()).unwrap_or_default();
        assert_eq!(lines.len(), records.len(), "{}", folder.display());
        for (line, record) in lines.iter().zip(*records) {
            let message = &record.message;
            let size = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(-1, |it| it.len() as i64);
            let expected = format!(
                "| offset: {} {:?}: {} keySize: {} valueSize: {} ",
                record.offset,
                record.timestamp_type,
                message.timestamp,
                size(&message.key),
                size(&message.value)
            );
            assert!(line.starts_with(&expected), "{line}\n{expected}");
            let value = message.value.as_deref().unwrap_or(b"null");
            let value = String::from_utf8_lossy(value).into_owned();
            if message.value.is_some() {
                assert!(line.ends_with(&format!("payload: {value}")), "{line}");
            }
        }
    }
    assert!(printed.is_empty(), "{printed:?}");
    let indexes = [all("index"), all("timeindex")].join(",");
    for check in ["--verify-index-only", "--index-sanity-check"] {
        let checked = Broker::file_tool(DUMP, &[check, "--files", &indexes]);
        let complaints = [
            "Mismatch",
            "Found",
            "Invalid",
            "failed",
            "Exception",
            "out of order",
        ];
        assert!(
            complaints.iter().all(|it| !checked.contains(it)),
            "{checked}"
        );
    }
}

/// Moves the batches of the topic `far` apart, by billions of offsets. The broker is started again.
pub(crate) fn spread(broker: &mut Broker) {
    broker.stop();
    let far = 5_000_000_000;
    broker.move_batches("far", 0, &[2, far, 3 * far]);
    broker.restart();
}

/// What a topic had in its partition.
pub(crate) struct Log {
    pub(crate) topic: &'static str,
    pub(crate) records: Vec<OwnedRecord>,
    offsets: Range<i64>,
}

/// What the topics of a broker had.
pub(crate) struct Logs {
    pub(crate) topics: Vec<Log>,
}

impl Logs {
    pub(crate) fn read(broker: &Broker, names: &[&'static str]) -> Logs {
        let read = |topic: &&'static str| Log {
            topic,
            records: consume::read_all(broker, topic, 0),
            offsets: consume::offsets(broker, topic, 0),
        };
        Logs {
            topics: names.iter().map(read).collect(),
        }
    }

    /// Deletes the topics, and makes them anew.
    pub(crate) fn lose(&self, broker: &Broker) {
        for Log { topic, .. } in &self.topics {
            topics::delete(broker, topic);
            topics::create(broker, topic, 1, &ANYTHING);
        }
    }

    /// Fails the test unless the broker serves the same records at the same offsets, and appends the next one where the source would have.
    pub(crate) fn assert_continued(&self, broker: &Broker) {
        for log in &self.topics {
            let topic = log.topic;
            assert_eq!(consume::offsets(broker, topic, 0), log.offsets, "{topic}");
            assert_eq!(consume::read_all(broker, topic, 0), log.records, "{topic}");
            produce(broker, "none", (topic, 0), &[plain(now_ms(), "next")]);
            let after = Self::assert_served(broker, log);
            assert_eq!(after, log.offsets.end, "{topic}: where the source would");
        }
    }

    /// Fails the test unless each topic has its records, and the one that was appended.
    pub(crate) fn assert_all_served(&self, broker: &Broker) {
        for log in &self.topics {
            Self::assert_served(broker, log);
        }
    }

    /// The same of one; returns the offset of the last record.
    fn assert_served(broker: &Broker, log: &Log) -> i64 {
        let mut after = consume::read_all(broker, log.topic, 0);
        let last = after.pop().expect("a record");
        assert_eq!(after, log.records, "{}", log.topic);
        last.offset
    }
}
