//! Scans bytes for blocks without an index.
#![no_main]

use kbk_format::Scanner;
use kbk_format::block::decode::check_stored_bytes;
use kbk_format::scan::Found;
use kbk_fuzz::{decode, repair_segment, with_ceiling};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut repaired = data.to_vec();
    repair_segment(&mut repaired);
    read(&repaired);
});

fn read(bytes: &[u8]) {
    with_ceiling(bytes, || {
        let mut scanner = Scanner::new(bytes);
        let (mut end_offset, mut blocks) = (0, 0);
        for found in &mut scanner {
            match found {
                Found::Block { header, bytes } => {
                    assert!(header.base_offset >= end_offset, "offsets do not ascend");
                    // A block whose stored bytes are damaged gives no records, so it does not cover any offsets.
                    if check_stored_bytes(&header, bytes).is_ok() {
                        end_offset = header.end_offset;
                    }
                    blocks += 1;
                    decode(&header, bytes);
                }
                Found::OutOfOrder(header) => assert!(header.base_offset < end_offset),
                Found::Skipped(range) => {
                    assert!(range.start < range.end && range.end <= bytes.len() as u64)
                }
            }
        }
        assert!(
            blocks <= bytes.len() / 192,
            "more blocks than fit into the input"
        );
    });
}
