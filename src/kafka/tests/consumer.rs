//! Reading ranges: bytes, ends, lost offsets, errors and outages.

use std::cell::RefCell;
use std::time::Duration;

use kbk_format::record::{Record, TimestampType};

use super::support::{Collected, Owned, cluster, plain, range, read, target, write};
use crate::kafka::{Admin, Consumer, KafkaError, RecordHandler, SourceError, SourceOptions};

#[test]
fn records_round_trip_byte_for_byte() {
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
fn ranges_are_read_to_their_ends_and_no_further() {
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
    // The last two share a partition, which is allowed here because neither is ever started.
    let mut collected = read(&settings, ranges);
    assert_eq!(collected.records[0], records[100..4000]);
    assert_eq!(collected.records[1], records);
    collected.finished.sort_unstable();
    assert_eq!(collected.finished, [0, 1, 2, 3]);
    assert_eq!(collected.lost, []);
}

#[test]
fn offsets_deleted_by_retention_are_reported_as_lost() {
    // The embedded cluster keeps 5 MiB per partition.
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let large = |offset| Owned {
        value: Some(vec![b'x'; 100_000]),
        ..plain(offset)
    };
    let records: Vec<Owned> = (0..100).map(large).collect();
    write(&settings, target("t", 0), &records);
    let offsets = Admin::connect(&settings)
        .unwrap()
        .offsets(&[target("t", 0)])
        .unwrap()
        .take(&target("t", 0))
        .unwrap();
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

    // A range that is lost completely is finished as well.
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
    let mut consumer = Consumer::open(
        &settings,
        &SourceOptions::default(),
        vec![range("t", 0, 50, 60)],
    )
    .unwrap();
    let error = consumer.run(&mut Collected::default()).unwrap_err();
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
fn a_log_that_ends_within_its_range_does_not_keep_others_from_being_read() {
    let (_cluster, settings) = cluster(&[("t", 3)]);
    let records: Vec<Owned> = (0..10).map(plain).collect();
    for partition in 0..3 {
        write(&settings, target("t", partition), &records);
    }
    let ranges = vec![
        range("t", 0, 5, 60),
        range("t", 1, 50, 60),
        range("t", 2, 0, 10),
    ];
    let mut collected = Collected {
        left_out: Some(Vec::new()),
        ..Collected::default()
    };
    let mut consumer = Consumer::open(&settings, &SourceOptions::default(), ranges).unwrap();
    consumer.run(&mut collected).unwrap();
    let mut left_out = collected.left_out.unwrap();
    left_out.sort_unstable();
    assert_eq!((left_out, collected.finished), (vec![0, 1], vec![2]));
    assert_eq!(collected.records[0], records[5..]);
    assert_eq!(collected.records[2], records);
}

#[test]
fn an_error_of_the_handler_ends_the_read() {
    struct Full;
    impl RecordHandler for Full {
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
    let mut consumer = Consumer::open(
        &settings,
        &SourceOptions::default(),
        vec![range("t", 0, 0, 100)],
    )
    .unwrap();
    assert!(matches!(
        consumer.run(&mut Full),
        Err(SourceError::Handler("disk full"))
    ));
}

#[test]
fn a_read_survives_a_broker_outage() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    let records: Vec<Owned> = (0..10).map(plain).collect();
    write(&settings, target("t", 0), &records);
    let mut consumer = Consumer::open(
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
    consumer.run(&mut collected).unwrap();
    assert_eq!(collected.records, [records]);
}

#[test]
fn a_read_fails_when_brokers_stay_unreachable() {
    let (cluster, settings) = cluster(&[("t", 1)]);
    write(&settings, target("t", 0), &[plain(0)]);
    // Long enough for a busy machine to open the consumer.
    let settings = settings.with_timeout(Some(Duration::from_millis(600)));
    let options = SourceOptions::default();
    let mut consumer = Consumer::open(&settings, &options, vec![range("t", 0, 0, 1)]).unwrap();
    cluster.go_down().unwrap();
    let error = consumer.run(&mut Collected::default()).unwrap_err();
    assert!(
        matches!(error, SourceError::Kafka(KafkaError::Unreachable { .. })),
        "{error}"
    );
}
