//! Segments of columns as segments of Kafka's own batches, so that worlds of either kind are tested by the same tests.

use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, RecordBatch};
use kbk_format::{
    BatchesBuilder, BlockBuilder, BlockDecoder, Columns, Compression, Encoder, PushBatch, Record,
    Segment, SegmentAssembler, SegmentFeatures, SegmentSummary, Streams, TimestampType,
};

/// What the segments of a world hold their records as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// Columns.
    #[default]
    Columns,
    /// Kafka's own batches, with all numbers computed.
    Batches,
    /// Kafka's own batches, of which nothing was computed (SPEC 2.11).
    NotComputed,
}

impl SegmentKind {
    /// Returns the kind that this run of the tests is for: `KBK_TEST_SEGMENTS` is `columns`, `batches` or `not-computed`.
    pub(crate) fn of_this_run() -> SegmentKind {
        match std::env::var("KBK_TEST_SEGMENTS").as_deref() {
            Err(_) | Ok("columns") => SegmentKind::Columns,
            Ok("batches") => SegmentKind::Batches,
            Ok("not-computed") => SegmentKind::NotComputed,
            Ok(other) => panic!("KBK_TEST_SEGMENTS={other}"),
        }
    }

    /// Returns a segment of columns, and what its writer said of it, as one of this kind.
    pub(crate) fn convert(
        self,
        bytes: Vec<u8>,
        summary: SegmentSummary,
    ) -> (Vec<u8>, SegmentSummary) {
        match self {
            SegmentKind::Columns => (bytes, summary),
            SegmentKind::Batches => as_batches(&bytes, true).unwrap_or((bytes, summary)),
            SegmentKind::NotComputed => as_batches(&bytes, false).unwrap_or((bytes, summary)),
        }
    }
}

/// Records per batch.
const BATCH_RECORDS: usize = 7;

/// A block of several batches that is not computed takes fewer bytes of records than 4 MiB.
const NOT_COMPUTED_BYTES: usize = 3 << 20;

/// Converts a segment: block by block, with the same coverage. Blocks with control records, those without records, and those that are too large stay
/// columns. `None` where all do.
fn as_batches(bytes: &[u8], computed: bool) -> Option<(Vec<u8>, SegmentSummary)> {
    let segment = Segment::open_whole(bytes).unwrap();
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let blocks = 0..segment.index().entries().len();
    let stored = &bytes[segment.file_header_length() as usize..];
    let mut decoded = |each: &mut dyn FnMut(&kbk_format::BlockHeader, &Columns)| {
        for block in segment.blocks(blocks.clone(), stored) {
            let block = block.unwrap();
            let streams = Streams::All;
            block.decode(&mut decoder, streams, &mut columns).unwrap();
            each(block.header(), &columns);
        }
    };
    let is_for_batches = |columns: &Columns| {
        let fits = computed || columns.payload_bytes() < NOT_COMPUTED_BYTES;
        fits && !columns.is_empty() && !columns.iter().any(|record| record.control)
    };
    let mut any = false;
    decoded(&mut |_, columns| any |= is_for_batches(columns));
    if !any {
        return None;
    }
    let filter = segment.key_filter().map(kbk_format::KeyFilter::target);
    let features = SegmentFeatures {
        key_filter: filter.filter(|_| computed),
        batches: true,
        not_computed: !computed,
    };
    let header = segment.header().clone();
    let timestamp_type = header.timestamp_type;
    let mut assembler = SegmentAssembler::with_features(Vec::new(), header, features).unwrap();
    let renderer = assembler.renderer().clone();
    let mut encoder = Encoder::new(Compression::Zstd(1));
    decoded(&mut |header, columns| {
        let (base, end) = (header.base_offset, header.end_offset);
        if is_for_batches(columns) {
            let mut block = match computed {
                true => BatchesBuilder::new(base, timestamp_type),
                false => BatchesBuilder::not_computed(base, timestamp_type),
            };
            let records: Vec<Record<'_>> = columns.iter().collect();
            for (number, records) in batches(&records, timestamp_type).into_iter().enumerate() {
                let batch = batch(records, number, timestamp_type);
                let batch = RecordBatch::parse(&batch, 0).unwrap().check().unwrap();
                let pushed = block.try_push(&batch, usize::MAX).unwrap();
                assert_eq!(pushed, PushBatch::Pushed);
            }
            block.cover(end);
            let block = block.encode(&renderer, &mut encoder);
            assembler.append(&block).unwrap();
        } else {
            let mut block = BlockBuilder::new(base);
            for record in columns.iter() {
                block.push(&record).unwrap();
            }
            block.cover(end);
            let block = block.encode(timestamp_type, &renderer, &mut encoder);
            assembler.append(&block).unwrap();
        }
    });
    for gap in &segment.gaps().entries {
        assembler.name_gap(*gap).unwrap();
    }
    Some(assembler.seal(segment.gaps().default_reason).unwrap())
}

/// Cuts records into those of one batch each. With LogAppendTime, all of a batch have one timestamp.
fn batches<'r, 'a>(
    records: &'r [Record<'a>],
    timestamp_type: TimestampType,
) -> Vec<&'r [Record<'a>]> {
    // A batch has offsets of 31 bits.
    let same = |a: &Record<'_>, b: &Record<'_>| {
        let is_near = b.offset - a.offset < 1 << 20;
        is_near && (timestamp_type == TimestampType::CreateTime || a.timestamp == b.timestamp)
    };
    let runs = records.chunk_by(same);
    runs.flat_map(|run| run.chunks(BATCH_RECORDS)).collect()
}

fn batch(records: &[Record<'_>], number: usize, timestamp_type: TimestampType) -> Vec<u8> {
    let codecs = [
        BatchCodec::Zstd,
        BatchCodec::None,
        BatchCodec::Lz4,
        BatchCodec::Snappy,
        BatchCodec::Gzip,
    ];
    let mut builder = BatchBuilder::new(BatchOptions {
        codec: codecs[number % codecs.len()],
        timestamp_type,
        ..BatchOptions::default()
    });
    for record in records {
        builder.push(record).unwrap();
    }
    let mut bytes = Vec::new();
    let last = records.last().map_or(0, |record| record.offset);
    builder.finish(last, &mut bytes).unwrap();
    bytes
}
