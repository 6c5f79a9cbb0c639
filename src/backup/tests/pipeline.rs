//! The pipeline over logs in memory: what is read is what is stored, without a broker.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kbk_format::repo::{Hex, LostRange, PartitionId, SegmentReader, Store};
use kbk_format::{BlockDecoder, Columns, Compression, PartitionNumber, Streams, TimestampType};
use kbk_tools::claims::LossSignal;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::backup::Encoding;
use crate::backup::partition::{SegmentSettings, StoredPartition};
use crate::backup::pipeline::{self, Finished, PipelineOptions, Reading};
use crate::records::TopicPartition;
use crate::records::memory::{MemoryCluster, OwnedRecord};
use crate::run::{Cancel, Done, Events, PartitionSlot, RunEvents, Totals};

/// Counts the records that a run reports.
#[derive(Default)]
struct Seen {
    records: AtomicU64,
    /// Is called when there are some.
    at_first: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Events for Seen {
    fn advanced(&self, _partition: Option<PartitionSlot>, done: Done) {
        self.records.fetch_add(done.records, Ordering::Relaxed);
        if let Some(at_first) = &self.at_first {
            at_first();
        }
    }
}

/// A store in a folder of its own, and the runtime for its requests.
struct Backup {
    runtime: Runtime,
    store: Store,
    folder: TempDir,
    encoding: Encoding,
    encoders: usize,
}

impl Backup {
    fn new() -> Backup {
        let folder = tempfile::tempdir().unwrap();
        Backup {
            runtime: Runtime::new().unwrap(),
            store: Store::open_or_create(folder.path().to_str().unwrap()).unwrap(),
            folder,
            encoding: Encoding::Auto,
            encoders: 2,
        }
    }

    /// Runs the pipeline with small blocks and segments; returns how it ended and the number of records reported as progress.
    fn run(&self, cluster: &MemoryCluster, readings: Vec<Reading>) -> (Finished, u64) {
        self.run_until(&Cancel::default(), cluster, readings)
    }

    fn run_until(
        &self,
        cancel: &Cancel,
        cluster: &MemoryCluster,
        readings: Vec<Reading>,
    ) -> (Finished, u64) {
        let seen = Arc::new(Seen::default());
        self.run_with(seen, LossSignal::default(), cancel, cluster, readings)
    }

    fn run_with(
        &self,
        seen: Arc<Seen>,
        lost: LossSignal,
        cancel: &Cancel,
        cluster: &MemoryCluster,
        readings: Vec<Reading>,
    ) -> (Finished, u64) {
        let options = PipelineOptions {
            segments: SegmentSettings {
                store: self.store.clone(),
                runtime: self.runtime.handle().clone(),
                cluster_id: None,
                writer: "test".to_owned(),
                segment_bytes: 4 << 10,
                sealing: Arc::new(Semaphore::new(2)),
                events: Arc::new(()),
            },
            compression: Compression::None,
            block_bytes: 1 << 10,
            encoding: self.encoding,
            encoders: self.encoders,
            fetch_bytes: 1 << 20,
            lost,
        };
        let events = RunEvents::start(seen.clone(), Totals::default());
        let finished = pipeline::run(&options, cluster, readings, cancel, &events);
        (finished, seen.records.load(Ordering::Relaxed))
    }

    /// The stored records of a partition, by offset.
    fn records(&self, id: &PartitionId, stored: &StoredPartition) -> Vec<(i64, OwnedRecord)> {
        let mut records = Vec::new();
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        for entry in &stored.segments {
            let opened = SegmentReader::open(&self.store, id, entry);
            let reader = self.runtime.block_on(opened).unwrap();
            for block in 0..reader.segment().index().entries().len() {
                let bytes = self
                    .runtime
                    .block_on(reader.read(block..block + 1))
                    .unwrap();
                let block = reader.segment().block(block, &bytes).unwrap();
                block
                    .decode(&mut decoder, Streams::All, &mut columns)
                    .unwrap();
                let decoded = columns.iter();
                records.extend(decoded.map(|record| (record.offset, OwnedRecord::copy(&record))));
            }
        }
        records
    }
}

fn partition_id(partition: PartitionNumber) -> PartitionId {
    PartitionId {
        topic: "orders".parse().unwrap(),
        topic_id: Hex([7; 16]),
        partition,
    }
}

fn log(partition: PartitionNumber) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn reading(partition: PartitionNumber, range: Range<i64>) -> Reading {
    Reading {
        id: partition_id(partition),
        range,
        timestamp_type: TimestampType::CreateTime,
    }
}

fn record(number: i64) -> OwnedRecord {
    OwnedRecord {
        timestamp: 1_763_800_000_000 + number,
        key: (number % 3 != 0).then(|| number.to_be_bytes().to_vec()),
        value: (number % 5 != 0).then(|| vec![b'v'; 100]),
        headers: vec![(b"trace".to_vec(), Some(number.to_le_bytes().to_vec()))],
    }
}

#[test]
fn stored_records_are_those_of_the_source() {
    let cluster = MemoryCluster::default();
    let partitions = 0..20;
    for partition in partitions.clone() {
        cluster.append(
            &log(partition.into()),
            (0..50 * i64::from(partition)).map(record),
        );
    }
    let backup = Backup::new();
    let readings = partitions
        .clone()
        .map(|partition| reading(partition.into(), 0..50 * i64::from(partition)))
        .collect();
    let (finished, seen) = backup.run(&cluster, readings);
    assert!(finished.error.is_none() && !finished.interrupted);
    assert_eq!(seen, 50 * 190, "progress counts every record once");
    for partition in partitions {
        let stored = &finished.stored[&partition_id(partition.into())];
        let expected = cluster.records(&log(partition.into()));
        assert_eq!(
            backup.records(&partition_id(partition.into()), stored),
            expected
        );
    }
    let large = &finished.stored[&partition_id(19.into())];
    assert!(large.segments.len() > 1, "it takes several segments");
    let mut end = 0;
    for segment in &large.segments {
        assert_eq!(segment.base_offset, end, "segments follow one another");
        end = segment.end_offset;
    }
    assert_eq!(end, 950);
}

/// More than there is room for at a time, from two sources, small and large records in turn: nobody waits forever.
#[test]
fn records_larger_than_all_blocks_are_stored() {
    const SIZES: [usize; 5] = [100, 17 << 20, 3_000, 2 << 20, 1_000];
    let partitions = 0..20;
    for (offers_batches, encoders) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        let cluster = MemoryCluster::default();
        let mut backup = Backup::new();
        backup.encoders = encoders;
        if offers_batches {
            cluster.offer_batches(None);
            backup.encoding = Encoding::Batches;
        }
        for partition in partitions.clone() {
            let sizes = (0..6).map(|number| SIZES[(partition as usize + number) % SIZES.len()]);
            let records = sizes.enumerate().map(|(number, size)| OwnedRecord {
                // Of the largest ones, two are enough.
                value: Some(vec![
                    b'v';
                    if partition < 2 {
                        size
                    } else {
                        size.min(3 << 20)
                    }
                ]),
                ..record(number as i64)
            });
            cluster.append(&log(partition.into()), records);
        }
        let readings = partitions.clone();
        let readings = readings.map(|partition| reading(partition.into(), 0..6));
        let (finished, seen) = backup.run(&cluster, readings.collect());
        assert!(finished.error.is_none() && !finished.interrupted);
        assert_eq!(seen, 6 * 20);
        for partition in partitions.clone() {
            let id = partition_id(partition.into());
            let found = backup.records(&id, &finished.stored[&id]);
            assert!(found == cluster.records(&log(partition.into())));
        }
    }
}

#[test]
fn coverage_reaches_the_planned_end_over_gaps_and_lost_offsets() {
    let cluster = MemoryCluster::default();
    cluster.append(&log(0.into()), (0..100).map(record));
    cluster.delete_below(&log(0.into()), 20);
    // The records at the end of the range are gone as well, so that no record marks the end.
    cluster.compact(&log(0.into()), 40..60);
    cluster.compact(&log(0.into()), 90..100);
    let backup = Backup::new();
    let (finished, seen) = backup.run(&cluster, vec![reading(0.into(), 10..100)]);
    assert_eq!(finished.stored.len(), 1);
    let stored = &finished.stored[&partition_id(0.into())];
    assert_eq!(seen, 20 + 30);
    assert_eq!(stored.lost, [LostRange::deleted(10, 20)]);
    let coverage = (
        stored.segments.first().unwrap().base_offset,
        stored.segments.last().unwrap().end_offset,
    );
    assert_eq!(coverage, (10, 100));
    let kept = |(offset, _): &(i64, OwnedRecord)| *offset >= 20;
    let expected: Vec<_> = cluster
        .records(&log(0.into()))
        .into_iter()
        .filter(kept)
        .collect();
    assert_eq!(backup.records(&partition_id(0.into()), stored), expected);
}

#[test]
fn a_run_that_stops_before_it_begins_stores_nothing_of_every_partition() {
    let cluster = MemoryCluster::default();
    cluster.append(&log(0.into()), (0..10).map(record));
    cluster.append(&log(1.into()), (0..10).map(record));
    let cancel = Cancel::default();
    cancel.set(2);
    let readings = vec![reading(0.into(), 0..10), reading(1.into(), 0..10)];
    let (finished, seen) = Backup::new().run_until(&cancel, &cluster, readings);
    assert!(finished.interrupted && finished.error.is_none());
    assert_eq!((finished.stored.len(), seen), (2, 0));
    let stored = finished.stored.values();
    assert!(
        stored
            .into_iter()
            .all(|partition| partition.segments.is_empty())
    );
}

#[test]
fn a_run_that_loses_its_claim_stores_nothing_more() {
    let cluster = MemoryCluster::default();
    cluster.append(&log(0.into()), (0..5_000).map(record));
    let readings = || vec![reading(0.into(), 0..5_000)];
    let files = |backup: &Backup| count_files(&backup.folder.path().join("data"));
    let whole = Backup::new();
    let (finished, _) = whole.run(&cluster, readings());
    assert_eq!(finished.stored.len(), 1);

    let (lose, lost) = LossSignal::manual();
    let seen = Arc::new(Seen {
        records: AtomicU64::default(),
        at_first: Some(Box::new(lose)),
    });
    let cancel = Cancel::default();
    let stopped = Backup::new();
    let (finished, records) = stopped.run_with(seen, lost, &cancel, &cluster, readings());
    assert!(finished.stored.is_empty() && finished.error.is_none() && !finished.interrupted);
    assert!((1..2_500).contains(&records), "{records}");
    assert!(files(&stopped) < files(&whole) / 2);
}

/// Counts the files below a folder.
fn count_files(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let count = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { count_files(&path) } else { 1 }
    };
    entries.map(count).sum()
}
