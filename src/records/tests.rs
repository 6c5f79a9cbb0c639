//! The contract of the seam, held by every transport: the same tests run over each. That of [`Wire`](super::Wire) is tested on a real broker
//! (`tests/kafka/clients.rs`): what librdkafka's embedded cluster answers is not quite Kafka's protocol.

use kbk_format::PartitionNumber;
use kbk_format::record::{Record, TimestampType};

use super::memory::{MemoryCluster, OwnedRecord};
use super::{
    Delivered, KafkaError, Librdkafka, PartitionRange, Positions, RecordHandler, RecordSink,
    RecordSource, SinkOptions, SourceError, SourceOptions, TopicPartition, TransactionError,
    Transport,
};
use crate::kafka::EmbeddedCluster;

/// Runs a test over each transport; all have a topic `t` with two partitions.
macro_rules! over_each_transport {
    ($($test:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&super::MemoryCluster::default()); })+
        }
        mod librdkafka {
            $(#[test] fn $test() {
                let cluster = super::EmbeddedCluster::start(1).unwrap();
                cluster.create_topic("t", 2).unwrap();
                super::$test(&super::Librdkafka::new(cluster.settings().unwrap()));
            })+
        }
    };
}

over_each_transport! {
    records_round_trip_and_are_reported_as_delivered,
    ranges_end_at_their_exclusive_ends,
    an_error_of_the_handler_ends_the_read,
}

/// Keeps records by slot, up to a limit.
#[derive(Default)]
struct Collected {
    records: Vec<(usize, i64, OwnedRecord)>,
    finished: Vec<usize>,
    limit: Option<usize>,
}

impl RecordHandler for Collected {
    type Error = &'static str;

    fn record(
        &mut self,
        slot: usize,
        _timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), &'static str> {
        if self.limit.is_some_and(|limit| self.records.len() >= limit) {
            return Err("full");
        }
        let owned = OwnedRecord::copy(record);
        self.records.push((slot, record.offset, owned));
        Ok(())
    }

    fn lost(&mut self, _slot: usize, _from: i64, _to: i64) -> Result<(), &'static str> {
        Err("nothing is lost here")
    }

    fn finished(&mut self, slot: usize) -> Result<(), &'static str> {
        self.finished.push(slot);
        Ok(())
    }

    fn idle(&mut self) -> Result<(), &'static str> {
        Ok(())
    }
}

fn target(partition: PartitionNumber) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn range(partition: PartitionNumber, start: i64, end: i64) -> PartitionRange {
    PartitionRange {
        topic: "t".to_owned(),
        partition,
        start,
        end,
    }
}

fn record(number: i64) -> OwnedRecord {
    OwnedRecord {
        timestamp: 1_763_800_000_000 + number,
        key: (number % 2 == 0).then(|| vec![b'k'; 3]),
        value: (number % 3 != 0).then(Vec::new),
        headers: vec![(b"h".to_vec(), None), (b"h".to_vec(), Some(vec![1]))],
    }
}

/// Writes records with source offsets 100, 101, … to a partition; returns the delivery reports as (source, target, records).
fn write(
    transport: &impl Transport,
    partition: PartitionNumber,
    records: i64,
) -> Vec<(i64, i64, u64)> {
    let mut sink = transport.open_sink(SinkOptions::default()).unwrap();
    sink.set_targets(vec![target(0.into()), target(1.into())])
        .unwrap();
    let index = partition.index();
    for number in 0..records {
        record(number)
            .lend(100 + number, |record| sink.send(index, record))
            .unwrap();
    }
    sink.flush().unwrap();
    let delivered = sink.take_delivered(index).into_iter();
    assert!(sink.take_delivered(1 - index).is_empty());
    delivered
        .map(|run| (run.source_offset, run.target_offset, run.records))
        .collect()
}

fn read(
    transport: &impl Transport,
    ranges: Vec<PartitionRange>,
    handler: &mut Collected,
) -> Result<(), SourceError<&'static str>> {
    let mut source = transport.open_source(&SourceOptions::default(), ranges)?;
    source.run(handler)
}

fn records_round_trip_and_are_reported_as_delivered(transport: &impl Transport) {
    assert_eq!(write(transport, 1.into(), 10), [(100, 0, 10)]);
    let mut collected = Collected::default();
    read(transport, vec![range(1.into(), 0, 10)], &mut collected).unwrap();
    let expected: Vec<_> = (0..10).map(|number| (0, number, record(number))).collect();
    assert_eq!(collected.records, expected);
}

fn ranges_end_at_their_exclusive_ends(transport: &impl Transport) {
    write(transport, 0.into(), 10);
    write(transport, 1.into(), 10);
    let mut collected = Collected::default();
    let ranges = vec![range(0.into(), 2, 5), range(1.into(), 9, 10)];
    read(transport, ranges, &mut collected).unwrap();
    let mut offsets: Vec<_> = collected
        .records
        .iter()
        .map(|(slot, offset, _)| (*slot, *offset))
        .collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [(0, 2), (0, 3), (0, 4), (1, 9)]);
    collected.finished.sort_unstable();
    assert_eq!(collected.finished, [0, 1]);
}

fn an_error_of_the_handler_ends_the_read(transport: &impl Transport) {
    write(transport, 0.into(), 10);
    let mut collected = Collected {
        limit: Some(3),
        ..Collected::default()
    };
    let read = read(transport, vec![range(0.into(), 0, 10)], &mut collected);
    assert!(matches!(read, Err(SourceError::Handler("full"))));
    assert_eq!(collected.records.len(), 3);
    assert!(collected.finished.is_empty());
}

/// A transport without transactions implements the required methods only.
struct PlainSink;

impl RecordSink for PlainSink {
    fn set_targets(&mut self, _targets: Vec<TopicPartition>) -> Result<(), KafkaError> {
        Ok(())
    }

    fn send(&mut self, _target: usize, _record: &Record<'_>) -> Result<(), KafkaError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), KafkaError> {
        Ok(())
    }

    fn take_delivered(&mut self, _target: usize) -> Vec<Delivered> {
        Vec::new()
    }
}

#[test]
fn a_sink_without_transactions_fails_every_transactional_call() {
    let mut sink = PlainSink;
    let begun = sink.begin();
    assert!(matches!(begun, Err(TransactionError::Failed(_))));
    let committed = sink.commit(&Positions::new());
    assert!(matches!(committed, Err(TransactionError::Failed(_))));
    let error = sink.try_commit(&Positions::new()).unwrap_err();
    let failed = "cannot commit positions in a transaction: this client has no transactions";
    assert_eq!(error.to_string(), failed);
    let error = sink.abort().unwrap_err();
    assert!(matches!(sink.judge(error), TransactionError::Failed(_)));
}
