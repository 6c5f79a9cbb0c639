//! Gives Kafka's record batches another producer, and merges them: what was wrong with a checksum stays wrong in the same bits, and merged
//! batches have the records of those that they were made of.
#![no_main]

use kbk_format::batch::{
    Adoption, BatchCodec, BatchDecoder, BatchMerger, BatchesCrc, Merge, MergeOptions, Producer, RecordBatch, RecordBatches,
};
use kbk_fuzz::with_ceiling;
use libfuzzer_sys::fuzz_target;

/// What one batch may decompress to here: far below the ceiling of memory.
const LIMIT: usize = 32 << 20;

fuzz_target!(|data: &[u8]| {
    with_ceiling(data, || {
        let mut log = data.to_vec();
        let mut crc = BatchesCrc::new();
        let mut repaired = Vec::new();
        for batch in RecordBatches::new(data, 0).map_while(Result::ok) {
            let at = batch.position() as usize;
            let Some(bytes) = log.get_mut(at..at + batch.bytes().len()) else {
                return;
            };
            adopt(bytes, data);
            if batch.header().magic == 2 {
                let mut bytes = batch.bytes().to_vec();
                let computed = crc32c::crc32c(&bytes[21..]);
                bytes[17..21].copy_from_slice(&computed.to_be_bytes());
                crc.push(&RecordBatch::parse(&bytes, 0).expect("only the checksum is another one"));
                repaired.extend(bytes);
            }
        }
        assert_eq!(crc.get(), crc32c::crc32c(&repaired), "of batches that match their checksums");
        merge(&repaired);
    });
});

/// Returns how the stored checksum differs from that of the bytes.
fn difference(batch: &RecordBatch<'_>) -> u32 {
    batch.header().crc ^ crc32c::crc32c(&batch.bytes()[21..])
}

fn adopt(bytes: &mut [u8], data: &[u8]) {
    let number = |at: usize| data.get(at..at + 8).map_or(0, |it| i64::from_le_bytes(it.try_into().expect("8 bytes")));
    let adoption = Adoption {
        base_offset: (number(0) > 0).then(|| number(0) >> 1),
        leader_epoch: Some(number(1) as i32),
        producer: Some(Producer {
            id: number(2),
            epoch: number(3) as i16,
            base_sequence: number(4) as i32,
        }),
        transactional: Some(number(5) & 1 == 1),
        clear_delete_horizon: number(6) & 1 == 1,
    };
    let before = RecordBatch::parse(bytes, 0).expect("it was parsed before");
    let (header, wrong) = (*before.header(), difference_of_v2(&before));
    if adoption.apply(bytes, 0).is_err() {
        assert_eq!(RecordBatch::parse(bytes, 0).map(|it| *it.header()), Ok(header), "an error changes nothing");
        return;
    }
    let after = RecordBatch::parse(bytes, 0).expect("adoption keeps a batch a batch");
    assert_eq!(difference(&after), wrong, "the checksum was computed anew");
    assert_eq!(Some(after.header().producer), adoption.producer);
    assert_eq!(after.header().record_count, header.record_count);
}

fn difference_of_v2(batch: &RecordBatch<'_>) -> u32 {
    match batch.header().magic {
        2 => difference(batch),
        _ => 0,
    }
}

fn merge(log: &[u8]) {
    let mut merger = BatchMerger::new(MergeOptions {
        codec: BatchCodec::None,
        batch_bytes: 1 << 20,
        close_gaps: true,
    });
    let mut decoder = BatchDecoder::with_limit(LIMIT);
    let (mut count, mut merged) = (0, Vec::new());
    for batch in RecordBatches::new(log, 0).map_while(Result::ok) {
        if let Ok(Merge::Merged) = merger.push(&batch) {
            count += decoder.decode(&batch).expect("it was merged").count();
        }
    }
    assert_eq!(merger.record_count() as usize, count);
    merger.finish(&Adoption::default(), &mut merged).expect("it is not compressed");
    if count > 0 {
        let batch = RecordBatch::parse(&merged, 0).expect("a merged batch");
        batch.check_crc().expect("with its checksum");
        assert_eq!(decoder.decode(&batch).expect("and its records").count(), count);
    }
}
