//! Source, producer and admin against librdkafka's in-process cluster.

use kbk_format::repo::OffsetAndMetadata;
use std::cell::RefCell;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kbk_format::record::{Header, Headers, Record, TimestampType};

use super::*;

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    fn of(record: &Record<'_>) -> Owned {
        Owned {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .clone()
                .map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    fn lend<T>(&self, f: impl FnOnce(&Record<'_>) -> T) -> T {
        let headers: Vec<Header<'_>> = self
            .headers
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_deref(),
            })
            .collect();
        f(&Record {
            offset: self.offset,
            timestamp: self.timestamp,
            control: false,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::Slice(&headers),
        })
    }
}

/// Keeps all it is told.
#[derive(Default)]
struct Collected {
    records: Vec<Vec<Owned>>,
    lost: Vec<(usize, i64, i64)>,
    finished: Vec<usize>,
    idles: usize,
    /// Called at every idle moment, with how many came before.
    on_idle: Option<Box<dyn FnMut(usize)>>,
}

impl RecordSink for Collected {
    type Error = String;

    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), String> {
        assert_eq!(timestamp_type, TimestampType::CreateTime);
        assert!(!self.finished.contains(&slot), "a record after the end");
        if self.records.len() <= slot {
            self.records.resize(slot + 1, Vec::new());
        }
        self.records[slot].push(Owned::of(record));
        Ok(())
    }

    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), String> {
        self.lost.push((slot, from, to));
        Ok(())
    }

    fn finished(&mut self, slot: usize) -> Result<(), String> {
        self.finished.push(slot);
        Ok(())
    }

    fn idle(&mut self) -> Result<(), String> {
        self.idles += 1;
        if let Some(on_idle) = &mut self.on_idle {
            on_idle(self.idles);
        }
        Ok(())
    }
}

fn cluster(topics: &[(&str, i32)]) -> (EmbeddedCluster, ClientSettings) {
    let cluster = EmbeddedCluster::start(1).unwrap();
    for (name, partitions) in topics {
        cluster.create_topic(name, *partitions).unwrap();
    }
    let settings = cluster.settings().unwrap();
    (cluster, settings)
}

fn target(topic: &str, partition: i32) -> Target {
    Target {
        topic: topic.to_owned(),
        partition,
    }
}

fn range(topic: &str, partition: i32, start: i64, end: i64) -> PartitionRange {
    PartitionRange {
        topic: topic.to_owned(),
        partition,
        start,
        end,
    }
}

fn producer(settings: &ClientSettings, options: ProducerOptions, target: Target) -> Producer {
    let mut producer = Producer::open(settings, options).unwrap();
    producer.set_targets(vec![target]).unwrap();
    producer
}

fn write(settings: &ClientSettings, target: Target, records: &[Owned]) {
    let mut producer = producer(settings, ProducerOptions::default(), target);
    for record in records {
        record.lend(|record| producer.send(0, record)).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    assert_eq!(producer.outstanding(), 0);
    let delivered = producer.take_delivered(0);
    let written: u64 = delivered.iter().map(|run| run.records).sum();
    assert_eq!(written, records.len() as u64);
}

fn read(settings: &ClientSettings, ranges: Vec<PartitionRange>) -> Collected {
    let mut collected = Collected::default();
    let mut source = Source::open(settings, &SourceOptions::default(), ranges).unwrap();
    source.run(&mut collected).unwrap();
    collected
}

fn plain(offset: i64) -> Owned {
    Owned {
        offset,
        timestamp: 1_763_800_000_000 + offset,
        key: None,
        value: Some(format!("value {offset}").into_bytes()),
        headers: Vec::new(),
    }
}

#[test]
fn every_byte_comes_back() {
    let bytes = |text: &[u8]| Some(text.to_vec());
    let some = |n: usize, f: fn(&mut Owned)| {
        let mut record = plain(n as i64);
        f(&mut record);
        record
    };
    let mut records = vec![
        some(0, |record| record.key = None),
        some(1, |record| record.key = Some(Vec::new())),
        some(2, |record| record.value = None),
        some(3, |record| record.value = Some(Vec::new())),
        some(4, |record| record.key = Some(b"\0\xff".to_vec())),
        some(5, |record| record.timestamp = -1),
        some(6, |record| record.timestamp = 253_402_300_799_000),
        some(7, |record| record.timestamp = 1),
        some(8, |_| {}),
    ];
    records[8].headers = vec![
        (b"a".to_vec(), bytes(b"1")),
        (b"a".to_vec(), bytes(b"2")),
        (b"a\0b".to_vec(), None),
        (b"".to_vec(), bytes(b"")),
        (b"\xff\xfe\0".to_vec(), bytes(b"\0")),
    ];
    let (_cluster, settings) = cluster(&[("t", 1)]);
    write(&settings, target("t", 0), &records);
    let collected = read(&settings, vec![range("t", 0, 0, 9)]);
    assert_eq!(collected.records, [records]);
    assert_eq!(collected.finished, [0]);
}

#[test]
fn ranges_are_read_to_their_ends_and_not_further() {
    let (_cluster, settings) = cluster(&[("t", 3)]);
    let records: Vec<Owned> = (0..5000).map(plain).collect();
    write(&settings, target("t", 0), &records);
    write(&settings, target("t", 1), &records);
    let ranges = vec![
        range("t", 0, 100, 4000),
        range("t", 1, 0, 5000),
        range("t", 2, 0, 0),
        range("t", 2, 7, 3),
    ];
    // The last two are one partition, which is fine as neither is ever started.
    let mut collected = read(&settings, ranges);
    assert_eq!(collected.records[0], records[100..4000]);
    assert_eq!(collected.records[1], records);
    collected.finished.sort_unstable();
    assert_eq!(collected.finished, [0, 1, 2, 3]);
    assert_eq!(collected.lost, []);
}

#[test]
fn what_retention_took_is_reported_as_lost() {
    // The embedded cluster keeps 5 MiB of a partition.
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let large = |offset| Owned {
        value: Some(vec![b'x'; 100_000]),
        ..plain(offset)
    };
    let records: Vec<Owned> = (0..100).map(large).collect();
    write(&settings, target("t", 0), &records);
    let offsets = Admin::connect(&settings)
        .unwrap()
        .offsets(&[("t".to_owned(), 0)])
        .unwrap()[0];
    assert!(
        offsets.log_start_offset > 0 && offsets.high_watermark == 100,
        "{offsets:?}"
    );
    let start = offsets.log_start_offset;

    let collected = read(&settings, vec![range("t", 0, 0, 100)]);
    assert_eq!(collected.lost, [(0, 0, start)]);
    assert_eq!(collected.records[0][0].offset, start);
    assert_eq!(
        collected.records[0].len(),
        usize::try_from(100 - start).unwrap()
    );

    // A range that is lost as a whole is finished as well.
    let collected = read(&settings, vec![range("t", 0, 0, start)]);
    assert_eq!(
        (collected.lost, collected.finished),
        (vec![(0, 0, start)], vec![0])
    );
}

#[test]
fn a_log_that_ends_before_the_position_is_an_error() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    write(&settings, target("t", 0), &[plain(0)]);
    let mut source = Source::open(
        &settings,
        &SourceOptions::default(),
        vec![range("t", 0, 50, 60)],
    )
    .unwrap();
    let error = source.run(&mut Collected::default()).unwrap_err();
    assert!(
        matches!(
            error,
            SourceError::Kafka(KafkaError::OffsetOutOfRange {
                position: 50,
                log_end_offset: 1,
                ..
            })
        ),
        "{error}"
    );
}

#[test]
fn an_error_of_the_sink_ends_the_run() {
    struct Full;
    impl RecordSink for Full {
        type Error = &'static str;
        fn record(
            &mut self,
            _: usize,
            _: TimestampType,
            _: &Record<'_>,
        ) -> Result<(), &'static str> {
            Err("disk full")
        }
        fn lost(&mut self, _: usize, _: i64, _: i64) -> Result<(), &'static str> {
            Ok(())
        }
        fn finished(&mut self, _: usize) -> Result<(), &'static str> {
            Ok(())
        }
        fn idle(&mut self) -> Result<(), &'static str> {
            Ok(())
        }
    }
    let (_cluster, settings) = cluster(&[("t", 1)]);
    write(
        &settings,
        target("t", 0),
        &(0..100).map(plain).collect::<Vec<_>>(),
    );
    let mut source = Source::open(
        &settings,
        &SourceOptions::default(),
        vec![range("t", 0, 0, 100)],
    )
    .unwrap();
    assert!(matches!(
        source.run(&mut Full),
        Err(SourceError::Sink("disk full"))
    ));
}

#[test]
fn a_broker_that_comes_back_is_waited_for() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let records: Vec<Owned> = (0..10).map(plain).collect();
    write(&settings, target("t", 0), &records);
    let mut source = Source::open(
        &settings,
        &SourceOptions::default(),
        vec![range("t", 0, 0, 10)],
    )
    .unwrap();
    cluster.go_down().unwrap();
    let cluster = RefCell::new(Some(cluster));
    let mut collected = Collected {
        on_idle: Some(Box::new(move |idles| {
            if idles == 3 {
                cluster.borrow().as_ref().unwrap().come_up().unwrap();
            }
        })),
        ..Collected::default()
    };
    source.run(&mut collected).unwrap();
    assert_eq!(collected.records, [records]);
}

#[test]
fn brokers_that_stay_away_are_given_up() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    write(&settings, target("t", 0), &[plain(0)]);
    let options = SourceOptions {
        patience: Duration::from_millis(300),
        ..SourceOptions::default()
    };
    let mut source = Source::open(&settings, &options, vec![range("t", 0, 0, 1)]).unwrap();
    cluster.go_down().unwrap();
    let error = source.run(&mut Collected::default()).unwrap_err();
    assert!(
        matches!(error, SourceError::Kafka(KafkaError::Unreachable { .. })),
        "{error}"
    );
}

#[test]
fn an_unreachable_cluster_is_named_with_the_cause_within_ten_seconds() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let settings = ClientSettings::new(Some(&address), None, &[]).unwrap();
    let started = Instant::now();
    let error = Admin::connect(&settings).err().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    let KafkaError::Unreachable { addresses, cause } = &error else {
        panic!("{error}")
    };
    assert_eq!(*addresses, address);
    assert!(cause.contains("Connection refused"), "{cause}");
}

#[test]
fn a_name_that_does_not_resolve_is_told() {
    let settings = ClientSettings::new(Some("no-such-host.invalid:9092"), None, &[]).unwrap();
    let error = Admin::connect(&settings).err().unwrap().to_string();
    assert!(
        error.contains("no-such-host.invalid") && error.contains("resolve"),
        "{error}"
    );
}

#[test]
fn a_server_that_says_nothing_is_told_from_one_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings = ClientSettings::new(Some(&address), None, &[]).unwrap();
    let started = Instant::now();
    let error = Admin::connect(&settings).err().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(matches!(error, KafkaError::Unreachable { .. }), "{error}");
}

#[test]
fn a_timestamp_of_zero_is_refused_before_it_is_sent() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let mut producer = producer(&settings, ProducerOptions::default(), target("t", 0));
    let record = Owned {
        timestamp: 0,
        offset: 77,
        ..plain(77)
    };
    let error = record.lend(|record| producer.send(0, record)).unwrap_err();
    assert!(
        matches!(
            error,
            KafkaError::TimestampZero {
                source_offset: 77,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(producer.outstanding(), 0);
}

#[test]
fn a_record_larger_than_the_queue_is_refused_by_name() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let options = ProducerOptions {
        queue_bytes: 1 << 20,
        ..ProducerOptions::default()
    };
    let mut producer = producer(&settings, options, target("t", 0));
    let record = Owned {
        value: Some(vec![0; 2 << 20]),
        ..plain(5)
    };
    let error = record.lend(|record| producer.send(0, record)).unwrap_err();
    assert!(
        matches!(
            error,
            KafkaError::RecordTooLarge {
                source_offset: 5,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_full_queue_holds_the_writer_back_and_loses_nothing() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let options = ProducerOptions {
        queue_bytes: 1 << 20,
        ..ProducerOptions::default()
    };
    let mut producer = producer(&settings, options, target("t", 0));
    for offset in 0..4000 {
        let record = Owned {
            value: Some(vec![b'v'; 1000]),
            ..plain(offset)
        };
        record.lend(|record| producer.send(0, record)).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    assert_eq!(producer.take_delivered(0), [run(0, 0, 4000)]);
}

#[test]
fn where_records_went_is_told_in_runs() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let mut producer = producer(&settings, ProducerOptions::default(), target("t", 0));
    let gaps = (0..50).filter(|offset| offset % 10 != 0);
    for offset in gaps.chain(100..130) {
        plain(offset)
            .lend(|record| producer.send(0, record))
            .unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let expected = [
        run(1, 0, 9),
        run(11, 9, 9),
        run(21, 18, 9),
        run(31, 27, 9),
        run(41, 36, 9),
        run(100, 45, 30),
    ];
    assert_eq!(producer.take_delivered(0), expected);
    assert_eq!(producer.take_delivered(0), [], "each is told once");
}

#[test]
fn a_coordinator_that_never_answers_costs_its_producer_and_no_more() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let open = || {
        let options = ProducerOptions {
            coordinator_patience: Duration::from_secs(2),
            transactional_id: Some("restore".to_owned()),
            ..ProducerOptions::default()
        };
        let mut producer = producer(&settings, options, target("t", 0));
        producer.init_transactions().unwrap();
        producer.begin().unwrap();
        plain(1).lend(|record| producer.send(0, record)).unwrap();
        producer.flush(Duration::from_secs(30)).unwrap();
        producer
    };
    let position = OffsetCommit {
        topic: "t".to_owned(),
        partition: 0,
        committed: OffsetAndMetadata {
            offset: 2,
            metadata: "kept".to_owned(),
        },
    };
    let positions = Positions::from([("progress".to_owned(), vec![position])]);
    let mut lost = open();
    cluster.answer_after(Duration::from_secs(600));
    let error = lost.commit(&positions);
    assert!(matches!(error, Err(TransactionError::Lost(_))), "{error:?}");
    lost.abort().unwrap();
    // The call still runs in it.
    drop(lost);
    cluster.answer_after(Duration::ZERO);
    let mut next = open();
    next.commit(&positions).unwrap();
}

fn run(source_offset: i64, target_offset: i64, records: u64) -> Delivered {
    Delivered {
        source_offset,
        target_offset,
        records,
    }
}

#[test]
fn the_first_failure_is_kept() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let mut producer = producer(&settings, ProducerOptions::default(), target("t", 9));
    let record = plain(3);
    // Whether the first call knows yet that there is no partition 9 depends on when metadata arrives.
    let _ = record.lend(|record| producer.send(0, record));
    let error = producer
        .flush(Duration::from_secs(60))
        .and_then(|()| record.lend(|record| producer.send(0, record)))
        .unwrap_err();
    assert!(
        matches!(
            error,
            KafkaError::Delivery {
                partition: 9,
                source_offset: 3,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn topics_are_described_and_unknown_ones_named() {
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
    // Looking has not created it.
    assert_eq!(admin.describe_topics(None).unwrap().len(), 2);
}

#[test]
fn a_leader_that_was_away_is_asked_again_in_its_new_epoch() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let admin = Admin::connect(&settings).unwrap();
    let partitions = [("t".to_owned(), 0)];
    let before = admin.offsets(&partitions).unwrap();
    cluster.lead("t", Some(1));
    assert_eq!(admin.offsets(&partitions).unwrap(), before);
}

#[test]
fn a_leader_that_is_missing_is_waited_for() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let partitions = [("t".to_owned(), 0)];
    let (asked, heard) = mpsc::channel();
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let admin = Admin::connect(&settings).unwrap();
            let before = admin.offsets(&partitions).unwrap();
            asked.send(()).unwrap();
            // Long enough for the leader to be gone.
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
fn what_the_embedded_cluster_cannot_do_is_told_by_type() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let admin = Admin::connect(&settings).unwrap();
    let error = admin.topic_configs(&["t".to_owned()]).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}
