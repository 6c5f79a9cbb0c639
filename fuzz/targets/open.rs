//! Opens a segment from its last bytes, searches it, reads all its blocks, and verifies it.
#![no_main]

use kbk_format::layout::TAIL_LENGTH;
use kbk_format::{Open, Segment, verify};
use kbk_fuzz::{decode, repair_segment, with_ceiling};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut repaired = data.to_vec();
    if repair_segment(&mut repaired).is_some() {
        read(&repaired);
    }
});

fn read(bytes: &[u8]) {
    with_ceiling(bytes, || {
        let _ = verify::verify_whole(bytes, true);
        let tail = bytes.len().saturating_sub(TAIL_LENGTH as usize / 64);
        let segment = match Segment::open(&bytes[tail..], bytes.len() as u64) {
            Ok(Open::Ready(segment)) => *segment,
            Ok(Open::Need(range)) => {
                assert!(range.end == bytes.len() as u64 && range.start < tail as u64);
                let Ok(Open::Ready(segment)) =
                    Segment::open(&bytes[range.start as usize..], range.end)
                else {
                    return;
                };
                *segment
            }
            Err(_) => return,
        };
        search(&segment);
        look_up(&segment, bytes);
        for number in 0..segment.index().entries().len() {
            let range = segment
                .index()
                .range(number..number + 1)
                .expect("a block of the index");
            let block = &bytes[range.start as usize..range.end as usize];
            if let Ok(found) = segment.block(number, block) {
                decode(found.header(), block);
            }
        }
    });
}

/// Looks keys up in the key filter, and decodes all of its pages.
fn look_up(segment: &Segment, bytes: &[u8]) {
    let Some(filter) = segment.key_filter() else {
        return;
    };
    let blocks = segment.index().entries().len();
    let hashes: Vec<_> = [None, Some(&b""[..]), Some(b"key-1")]
        .map(|key| filter.hasher().hash(key))
        .into();
    for page in 0..filter.page_count() {
        let range = filter.range_of(page..page + 1);
        let stored = &bytes[range.start as usize..range.end as usize];
        let Ok(found) = filter.blocks_of(page, stored, &hashes) else {
            continue;
        };
        assert!(found.is_sorted_by(|a, b| a < b), "blocks out of order");
        assert!(found.iter().all(|block| *block < blocks), "no such block");
        assert!(
            found.is_empty() || hashes.iter().any(|hash| filter.page_of(*hash) == page),
            "blocks of keys of another page"
        );
    }
}

/// Searches every offset and timestamp that the index states.
fn search(segment: &Segment) {
    let index = segment.index();
    for entry in index.entries() {
        let found = index.block_of_offset(entry.base_offset);
        assert_eq!(
            found.is_some(),
            segment.coverage().contains(&entry.base_offset)
        );
        let min = entry.min_timestamps.map_or(i64::MIN, |min| min.all);
        for time in [min, entry.max_timestamp] {
            let found = index
                .blocks_of_time(time)
                .next()
                .map(|block| index.entries()[block]);
            assert!(found.is_none_or(|entry| entry.max_timestamp >= time));
        }
        let blocks = index.blocks_of_times(min, entry.max_timestamp);
        std::hint::black_box((blocks.count(), segment.gaps().reason(entry.base_offset)));
    }
}
