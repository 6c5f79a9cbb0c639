//! Decodes one block, assumed to be at the position that its header states.
#![no_main]

use kbk_format::BlockHeader;
use kbk_format::layout::block_header;
use kbk_fuzz::{decode, repair_block, with_ceiling};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut repaired = data.to_vec();
    if repair_block(&mut repaired).is_some() {
        read(&repaired);
    }
});

fn read(block: &[u8]) {
    let field = |at: usize| {
        block
            .get(at..)
            .and_then(|rest| rest.first_chunk::<8>())
            .copied()
    };
    let (Some(salt), Some(position)) = (field(block_header::SALT), field(block_header::POSITION))
    else {
        return;
    };
    with_ceiling(block, || {
        if let Ok(header) = BlockHeader::decode(block, u64::from_le_bytes(position), salt) {
            decode(&header, block);
        }
    });
}
