//! Scans bytes for blocks without an index, and writes a new segment of what is proved.
#![no_main]

use kbk_format::salvage::{Known, Salvage};
use kbk_format::scan::Found;
use kbk_format::{FileHeader, IsolationLevel, Scanner, TimestampType, verify};
use kbk_fuzz::{decode, repair_segment, with_ceiling};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut repaired = data.to_vec();
    repair_segment(&mut repaired);
    read(&repaired);
    salvage(&repaired);
});

fn read(bytes: &[u8]) {
    with_ceiling(bytes, || {
        let mut at = 0;
        for found in Scanner::new(bytes) {
            let position = match found {
                Found::Block(block) => {
                    decode(&block.header, block.bytes);
                    block.position
                }
                Found::Damaged { position, .. } | Found::Foreign { position, .. } => position,
                Found::Skipped(range) => {
                    assert!(range.start < range.end && range.end <= bytes.len() as u64);
                    range.start
                }
            };
            assert!(position >= at, "positions do not ascend");
            at = position;
        }
    });
}

/// Whatever is proved can be written, and the result is a valid segment with exactly that.
fn salvage(bytes: &[u8]) {
    let salvage = Salvage::of(bytes, &Known::default());
    let header = salvage.header.clone().unwrap_or(FileHeader {
        segment_id: [0; 16],
        topic_id: [0; 16],
        topic: "t".to_owned(),
        partition: 0.into(),
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadUncommitted,
        base_offset: 0,
        cluster_id: None,
        writer: None,
        created_at: None,
        compression: None,
    });
    let header = FileHeader {
        segment_id: [1; 16],
        base_offset: salvage.base.offset,
        timestamp_type: salvage.timestamp_type.unwrap_or(header.timestamp_type),
        ..header
    };
    let (written, summary) = salvage
        .write(&[bytes], header, Vec::new())
        .expect("what is proved can be written");
    let segment = verify::verify_whole(&written, true).expect("it is a valid segment");
    assert_eq!(summary.statistics.record_count, salvage.records());
    assert_eq!(segment.coverage(), salvage.coverage());
}
