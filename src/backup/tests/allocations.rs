//! From a broker's responses to blocks of a segment, over the whole path of a backup with its threads: what is allocated depends on the number of
//! responses, and not on that of records or batches.

use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, CheckedBatch};
use kbk_format::repo::{Hex, PartitionId, Store};
use kbk_format::{
    Compression, Encoder, FileHeader, Headers, IsolationLevel, Record, SegmentAssembler,
    SegmentFeatures, TimestampType,
};
use kbk_tools::claims::LossSignal;
use tokio::sync::Semaphore;

use super::counting::allocations;
use crate::backup::Encoding;
use crate::backup::block::StoredBlock;
use crate::backup::feeder::{BlockJob, Feeder, FeederStop, Slot};
use crate::backup::partition::{PartitionLine, PartitionWriter, SegmentSettings};
use crate::backup::pipeline::StopSignal;
use crate::backup::pool::{Return, pool};
use crate::kafka::wire::WireSource;
use crate::kafka::wire::tests::endless::EndlessLog;
use crate::records::{PartitionRange, RecordHandler, SourceOptions};
use crate::run::{Cancel, RunEvents, Totals};

/// Records of one response.
const RESPONSE: i64 = 1_000_000;
/// Responses until every buffer has its final size.
const WARM_UP: i64 = 3;
/// Responses that are counted. The one that takes the fewest allocations counts: a thread that waits for another one for the first time
/// allocates, too, and when that happens depends on how busy the machine is.
const COUNTED: i64 = 8;
const BLOCK_BYTES: usize = 1 << 20;
const MAX_ALLOCATIONS: u64 = 10;

/// Returns as many records, in batches of this many.
fn batches(codec: BatchCodec, records_per_batch: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec,
        ..BatchOptions::default()
    });
    let (mut bytes, mut value) = (Vec::new(), String::new());
    for offset in 0..RESPONSE {
        use std::fmt::Write as _;
        value.clear();
        let customer = offset * 7919 % 5_000;
        write!(value, "{{\"order\":{offset},\"customer\":{customer}}}").unwrap();
        let record = Record {
            offset,
            timestamp: 1_763_800_000_000 + offset,
            control: false,
            key: None,
            value: Some(value.as_bytes()),
            headers: Headers::EMPTY,
        };
        builder.push(&record).unwrap();
        if (offset + 1) % records_per_batch == 0 {
            builder.finish(offset, &mut bytes).unwrap();
        }
    }
    bytes
}

/// A feeder, and how often its thread had allocated at the beginning of each response.
struct Marking<'a> {
    feeder: Feeder<'a>,
    marks: Vec<u64>,
}

impl RecordHandler for Marking<'_> {
    type Error = FeederStop;

    fn record(
        &mut self,
        slot: usize,
        timestamp_type: TimestampType,
        record: &Record<'_>,
    ) -> Result<(), FeederStop> {
        self.feeder.record(slot, timestamp_type, record)
    }

    fn batch(&mut self, slot: usize, batch: &CheckedBatch<'_>) -> Result<bool, FeederStop> {
        if batch.header().base_offset % RESPONSE == 0 {
            self.marks.push(allocations());
        }
        self.feeder.batch(slot, batch)
    }

    fn lost(&mut self, slot: usize, from: i64, to: i64) -> Result<(), FeederStop> {
        self.feeder.lost(slot, from, to)
    }

    fn finished(&mut self, slot: usize) -> Result<(), FeederStop> {
        self.feeder.finished(slot)
    }

    fn idle(&mut self) -> Result<(), FeederStop> {
        self.feeder.idle()
    }
}

/// Returns the smallest difference between two marks that follow each other.
fn fewest(marks: &[u64]) -> u64 {
    assert!(marks.len() > COUNTED as usize, "{marks:?}");
    let differences = marks.windows(2).map(|pair| pair[1] - pair[0]);
    differences.min().unwrap()
}

/// Encodes blocks and appends them to a segment that nobody keeps; returns how often it allocated for those of one response.
fn encode(queue: &Receiver<BlockJob>, returned: &Return, features: SegmentFeatures) -> u64 {
    let header = FileHeader {
        segment_id: [7; 16],
        topic_id: [2; 16],
        topic: EndlessLog::TOPIC.to_owned(),
        partition: 0.into(),
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset: 0,
        cluster_id: None,
        writer: None,
        created_at: None,
        compression: None,
    };
    let mut segment = SegmentAssembler::with_features(io::sink(), header, features).unwrap();
    let mut encoder = Encoder::new(Compression::None);
    let (mut marks, mut next) = (Vec::with_capacity(32), WARM_UP);
    for job in queue {
        while job.block.base_offset() >= next * RESPONSE {
            marks.push(allocations());
            next += 1;
        }
        let renderer = job.line.renderer();
        let mut block = job.block.encode(job.timestamp_type, renderer, &mut encoder);
        match &mut block {
            StoredBlock::Records(block) => segment.append(block).unwrap(),
            StoredBlock::Batches(block) => segment.append(block).unwrap(),
        }
        returned.give(block.recycle(), job.room);
    }
    fewest(&marks)
}

/// Counts the allocations of the threads that read and that encode, for a million records.
fn count(codec: BatchCodec, records_per_batch: i64) -> (u64, u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = SegmentSettings {
        store: Store::open_or_create(folder.path().to_str().unwrap()).unwrap(),
        runtime: runtime.handle().clone(),
        cluster_id: None,
        writer: "test".to_owned(),
        segment_bytes: u64::MAX,
        sealing: Arc::new(Semaphore::new(1)),
        events: Arc::new(()),
    };
    let log = EndlessLog::start(batches(codec, records_per_batch), RESPONSE);
    let end = (WARM_UP + COUNTED + 1) * RESPONSE;
    let id = PartitionId {
        topic: EndlessLog::TOPIC.parse().unwrap(),
        topic_id: Hex([2; 16]),
        partition: 0.into(),
    };
    let slot = Slot {
        line: Arc::new(PartitionLine::new(PartitionWriter::new(
            id.clone(),
            settings,
        ))),
        id,
        range: 0..end,
        timestamp_type: TimestampType::CreateTime,
    };
    let range = PartitionRange {
        topic: EndlessLog::TOPIC.to_owned(),
        partition: 0.into(),
        start: 0,
        end,
    };
    let events = RunEvents::start(Arc::new(()), Totals::default());
    let (cancel, lost) = (Cancel::default(), LossSignal::default());
    let stop = StopSignal::new(&cancel, &lost);
    let features = SegmentFeatures {
        batches: true,
        not_computed: codec != BatchCodec::None,
        ..SegmentFeatures::default()
    };
    // Of more blocks, one might be needed for the first time after the warm-up.
    let (returned, free) = pool(1, BLOCK_BYTES);
    let (jobs, queue) = bounded(2);
    thread::scope(|scope| {
        let encoding = scope.spawn(|| encode(&queue, &returned, features));
        let mut marking = Marking {
            feeder: Feeder::new(
                vec![slot],
                free,
                jobs,
                (BLOCK_BYTES, Encoding::Batches),
                &stop,
                &events,
            ),
            marks: Vec::with_capacity(32),
        };
        let options = SourceOptions {
            memory_bytes: 64 << 20,
        };
        let mut source = WireSource::open(&log.settings(), &options, vec![range]).unwrap();
        source.run(&mut marking).unwrap();
        let read = fewest(&marking.marks[WARM_UP as usize..]);
        drop(marking);
        (read, encoding.join().unwrap())
    })
}

#[test]
fn a_million_records_need_at_most_ten_allocations() {
    for codec in [BatchCodec::Lz4, BatchCodec::Zstd, BatchCodec::None] {
        // 10,000 batches, and 500: far more than the allocations that there may be.
        for records_per_batch in [100, 2_000] {
            let (read, encoded) = count(codec, records_per_batch);
            assert!(
                read + encoded <= MAX_ALLOCATIONS,
                "{codec:?}, batches of {records_per_batch}: {read} and {encoded} allocations"
            );
        }
    }
}
