//! Walks over Kafka's record batches, decodes each whatever its checksum, and encodes its records again.
#![no_main]

use kbk_format::batch::{BatchBuilder, BatchDecoder, BatchOptions, RecordBatch, RecordBatches};
use kbk_fuzz::with_ceiling;
use libfuzzer_sys::fuzz_target;

/// What one batch may decompress to here: far below the ceiling of memory.
const LIMIT: usize = 32 << 20;

fuzz_target!(|data: &[u8]| {
    with_ceiling(data, || {
        let mut decoder = BatchDecoder::with_limit(LIMIT);
        let mut end = 0;
        for batch in RecordBatches::new(data, 0).map_while(Result::ok) {
            assert_eq!(batch.position(), end, "bytes between batches");
            end += batch.bytes().len() as u64;
            // A fuzzer cannot guess a checksum, so it is not asked for.
            let _ = batch.check_crc();
            read(&mut decoder, &batch);
        }
    });
});

fn read(decoder: &mut BatchDecoder, batch: &RecordBatch<'_>) {
    let header = *batch.header();
    let Ok(records) = decoder.decode(batch) else {
        return;
    };
    if let Some(stated) = header.record_count {
        assert_eq!(records.clone().count(), stated as usize);
    }
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut previous = -1;
    for record in records.clone() {
        assert!(record.offset > previous, "offsets do not ascend");
        // An old message set that states offset 0 does not state its last one.
        if header.record_count.is_some() {
            assert!(record.offset <= header.last_offset, "an offset after the end of the batch");
        }
        previous = record.offset;
        if builder.push(&record).is_err() {
            return;
        }
    }
    let mut again = Vec::new();
    if builder.finish(previous, &mut again).is_err() || again.is_empty() {
        return;
    }
    let mut decoder = BatchDecoder::new();
    let again = RecordBatch::parse(&again, 0).and_then(|batch| batch.check_crc().map(|()| batch));
    let again = again.expect("a batch that was just written");
    let again = decoder.decode(&again).expect("and its records");
    for (record, again) in records.zip(again) {
        let control = record.control;
        assert_eq!(kbk_format::Record { control, ..again }, record);
    }
}
