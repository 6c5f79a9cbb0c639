//! Shared by the fuzz targets: a ceiling for allocations, and the repair of checksums.
//!
//! A reader refuses bytes whose checksums do not match before it interprets them, and a fuzzer cannot guess
//! checksums. So each target reads its input unchanged, and once more with every checksum recomputed.

mod ceiling;
mod repair;

pub use ceiling::with_ceiling;
pub use repair::{repair_block, repair_segment};

use kbk_format::{BlockDecoder, BlockHeader, Columns, Streams};

/// Decodes a block with every selection of streams and checks all records, and lends its batches.
pub fn decode(header: &BlockHeader, block: &[u8]) {
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    if let Ok(Some(batches)) = decoder.batches(header, block, None) {
        let mut records = 0;
        for batch in batches {
            let batch = batch.expect("it was checked");
            batch.check_crc().expect("so was this");
            records += batch.header().record_count.unwrap_or_default();
        }
        assert_eq!(records, header.record_count, "records of the batches");
    }
    for streams in [Streams::Meta, Streams::Keys, Streams::All] {
        if decoder
            .decode(header, block, streams, &mut columns)
            .is_err()
        {
            assert!(columns.is_empty(), "an error leaves no record");
            continue;
        }
        assert_eq!(columns.len(), header.record_count as usize);
        let offsets = header.base_offset..header.end_offset;
        // Of batches that are not computed, only those that a verifier accepts are within the bound.
        let times = match header.computed {
            Some(numbers) => numbers.min_timestamp..=header.max_timestamp,
            None => i64::MIN..=i64::MAX,
        };
        for record in columns.iter() {
            assert!(
                offsets.contains(&record.offset),
                "an offset outside the coverage"
            );
            assert!(
                times.contains(&record.timestamp),
                "a timestamp outside the bounds"
            );
            let headers = record
                .headers
                .clone()
                .map(|header| header.name.len())
                .sum::<usize>();
            std::hint::black_box((record.key, record.value, headers));
        }
    }
}
