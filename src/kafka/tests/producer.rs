//! Writing: rejected records, the bounded queue, delivery reports.

use super::support::{Owned, cluster, plain, producer, target};
use crate::kafka::{Delivered, KafkaError, SinkOptions};

#[test]
fn a_timestamp_of_zero_is_rejected_before_it_is_sent() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let mut producer = producer(&settings, SinkOptions::default(), target("t", 0));
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
fn a_record_larger_than_the_queue_is_rejected_by_offset() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let options = SinkOptions {
        queue_bytes: 1 << 20,
        ..SinkOptions::default()
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
fn a_full_queue_blocks_the_writer_and_loses_nothing() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let options = SinkOptions {
        queue_bytes: 1 << 20,
        ..SinkOptions::default()
    };
    let mut producer = producer(&settings, options, target("t", 0));
    for offset in 0..4000 {
        let record = Owned {
            value: Some(vec![b'v'; 1000]),
            ..plain(offset)
        };
        record.lend(|record| producer.send(0, record)).unwrap();
    }
    producer.flush().unwrap();
    assert_eq!(producer.take_delivered(0), [run(0, 0, 4000)]);
}

#[test]
fn delivery_reports_are_run_length_encoded() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let mut producer = producer(&settings, SinkOptions::default(), target("t", 0));
    let gaps = (0..50).filter(|offset| offset % 10 != 0);
    for offset in gaps.chain(100..130) {
        plain(offset)
            .lend(|record| producer.send(0, record))
            .unwrap();
    }
    producer.flush().unwrap();
    let expected = [
        run(1, 0, 9),
        run(11, 9, 9),
        run(21, 18, 9),
        run(31, 27, 9),
        run(41, 36, 9),
        run(100, 45, 30),
    ];
    assert_eq!(producer.take_delivered(0), expected);
    assert_eq!(producer.take_delivered(0), [], "each is reported once");
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
    let mut producer = producer(&settings, SinkOptions::default(), target("t", 9));
    let record = plain(3);
    // Whether the first call already fails depends on when the metadata arrives, which says that partition 9 does not exist.
    let _ = record.lend(|record| producer.send(0, record));
    let error = producer
        .flush()
        .and_then(|()| record.lend(|record| producer.send(0, record)))
        .unwrap_err();
    assert!(
        matches!(
            error,
            KafkaError::Delivery {
                partition,
                source_offset: 3,
                ..
            } if partition == 9
        ),
        "{error}"
    );
}
