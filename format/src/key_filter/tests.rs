use super::*;
use crate::split_mix::SplitMix64;

const SALT: [u8; 8] = *b"saltsalt";

/// A filter over blocks of keys, and its bytes; the pages are at position 128.
fn filter(blocks: &[Vec<Option<Vec<u8>>>], bits: u8) -> (KeyFilter, Vec<u8>) {
    let hasher = KeyHasher::new(SALT);
    let mut builder = KeyFilterBuilder::new(hasher, KeyFilterBits::new(bits).unwrap());
    for block in blocks {
        let keys = block.iter().map(|key| hasher.hash(key.as_deref()));
        let mut hashes: Vec<u64> = keys.map(|hash| hash.high(MOST_HASH_BITS)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert!(builder.push(&hashes));
    }
    builder.finish(128)
}

fn blocks_of(filter: &KeyFilter, bytes: &[u8], key: Option<&[u8]>) -> Vec<usize> {
    let hash = filter.hasher().hash(key);
    let page = filter.page_of(hash);
    let range = filter.range_of(page..page + 1);
    let page_bytes = &bytes[(range.start - 128) as usize..(range.end - 128) as usize];
    filter.blocks_of(page, page_bytes, &[hash]).unwrap()
}

fn decoded(filter: &KeyFilter, blocks: u32) -> Result<KeyFilter> {
    KeyFilter::decode(&filter.encode(), 0, SALT, blocks, filter.range().end)
}

#[test]
fn every_key_is_found_in_every_block_that_has_it() {
    let mut random = SplitMix64(1);
    for case in 0..300_u64 {
        let bits = (random.next() % 21) as u8;
        let blocks: Vec<Vec<Option<Vec<u8>>>> = (0..random.next() % 12)
            .map(|_| {
                let count = random.next() % if case % 10 == 0 { 9000 } else { 40 };
                let distinct = 1 + random.next() % 60_000;
                (0..count)
                    .map(|_| match random.next() % distinct {
                        0 => None,
                        1 => Some(Vec::new()),
                        key => Some(key.to_string().into_bytes()),
                    })
                    .collect()
            })
            .collect();
        let (filter, bytes) = filter(&blocks, bits);
        assert_eq!(
            bytes.len() as u64,
            filter.range().end - filter.range().start
        );
        assert_eq!(decoded(&filter, blocks.len() as u32).unwrap(), filter);
        filter.check(0..filter.page_count(), &bytes).unwrap();
        for (number, block) in blocks.iter().enumerate() {
            for key in block.iter().step_by(1 + block.len() / 50) {
                let found = blocks_of(&filter, &bytes, key.as_deref());
                assert!(found.contains(&number), "case {case}: {key:?} in {number}");
            }
        }
    }
}

#[test]
fn few_blocks_are_read_in_vain() {
    let mut random = SplitMix64(7);
    for (bits, blocks, keys) in [(4, 64, 500), (8, 300, 200), (10, 1000, 100), (12, 16, 6000)] {
        let stored: Vec<Vec<Option<Vec<u8>>>> = (0..blocks)
            .map(|_| {
                let keys = (0..keys).map(|_| Some(random.next().to_le_bytes().to_vec()));
                keys.collect()
            })
            .collect();
        let (filter, bytes) = filter(&stored, bits);
        let lookups = 20_000;
        let vain: usize = (0..lookups)
            .map(|other: u64| format!("absent {other}"))
            .map(|key| blocks_of(&filter, &bytes, Some(key.as_bytes())).len())
            .sum();
        let found = vain as f64 / lookups as f64;
        let entries = filter.entry_count() as f64;
        let stated = entries / 2_f64.powi(i32::from(filter.hash_bits()));
        let most = f64::from(blocks) / 2_f64.powi(i32::from(bits));
        assert!(
            stated <= most,
            "{bits} bits: {stated} blocks, {most} at most"
        );
        let tolerance = 5.0 * (stated / lookups as f64).sqrt();
        assert!(
            (found - stated).abs() < tolerance,
            "{bits}: {found} of {stated}"
        );
        let per_entry = 8.0 * bytes.len() as f64 / entries;
        assert!(
            per_entry < f64::from(bits) + 2.7,
            "{per_entry} bits per entry"
        );
    }
}

#[test]
fn null_and_empty_keys_are_told_apart() {
    let (filter, bytes) = filter(&[vec![None], vec![Some(Vec::new())]], 20);
    assert_eq!(blocks_of(&filter, &bytes, None), [0]);
    assert_eq!(blocks_of(&filter, &bytes, Some(b"")), [1]);
}

#[test]
fn a_filter_without_keys_or_blocks_has_no_bytes() {
    for blocks in [&[][..], &[vec![]], &[vec![], vec![]]] {
        let (filter, bytes) = filter(blocks, 10);
        assert!(bytes.is_empty());
        assert_eq!(decoded(&filter, blocks.len() as u32).unwrap(), filter);
        assert_eq!(blocks_of(&filter, &bytes, Some(b"k")), [0; 0]);
    }
}

#[test]
fn runs_of_pages_cover_the_filter_once() {
    let keys = (0..50_000_u32).map(|key| Some(key.to_le_bytes().to_vec()));
    let (filter, _) = filter(&[keys.collect()], 10);
    assert!(filter.page_count() > 4);
    for bytes in [0, 1, 10_000, 30_000, u64::MAX] {
        let runs = filter.runs(bytes);
        let mut at = (0, filter.range().start);
        for run in runs {
            let range = filter.range_of(run.clone());
            assert!(range.end - range.start <= bytes || run.len() == 1);
            assert_eq!((run.start, range.start), at);
            at = (run.end, range.end);
        }
        assert_eq!(at, (filter.page_count(), filter.range().end));
    }
}

/// Whatever a page holds, decoding it ends, and returns entries of that page only.
#[test]
fn pages_of_any_bytes_are_decoded_or_refused() {
    let mut random = SplitMix64(3);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let hash_bits = (random.next() % 41) as u8;
        let form = Form {
            hash_bits,
            page_bits: (random.next() % u64::from(hash_bits.min(MOST_PAGE_BITS) + 1)) as u8,
            rice_bits: (random.next() % 61) as u8,
            blocks: random.next() % (limits::BLOCKS as u64 + 1),
        };
        let page = (random.next() % (1 << form.page_bits)) as usize;
        let bytes: Vec<u8> = (0..random.next() % 40)
            .map(|_| random.next() as u8)
            .collect();
        let count = (random.next() % 9) as u32;
        let mut values = Vec::new();
        let decoded = bits::decode(form, page, count, &bytes, &mut |hash, block| {
            values.push(hash * form.blocks + block as u64);
        });
        assert!(values.is_sorted_by(|a, b| a < b));
        assert!(values.iter().all(|value| form.values(page).contains(value)));
        if decoded.is_ok() {
            accepted += 1;
            let mut again = Vec::new();
            bits::encode(form, page, &values, &mut again);
            assert_eq!(again, bytes);
        }
    }
    assert!(accepted > 50, "{accepted}");
}

#[test]
fn sections_that_contradict_themselves_are_refused() {
    let (filter, _) = filter(&[vec![Some(b"a".to_vec()), None]], 10);
    let intact = filter.encode();
    let end = filter.range().end;
    let class = |payload: &[u8], footer: u64| {
        KeyFilter::decode(payload, 0, SALT, 1, footer)
            .err()
            .map(|error| error.class)
    };
    assert_eq!(class(&intact, end), None);
    let inconsistent = Some(ErrorClass::Inconsistent);
    for (at, byte) in [
        (at::HASH_BITS, 41),
        (at::PAGE_BITS, 17),
        (at::PAGE_BITS, intact[at::HASH_BITS] + 1),
        (at::PAGE_BITS, 1),
        (at::RICE_BITS, 61),
        (at::RICE_BITS, 60),
        (at::TARGET_BITS, 21),
        (at::POSITION, 64),
        (at::POSITION + 7, 255),
        (at::PAGES_LENGTH, intact[at::PAGES_LENGTH] + 1),
        (at::LENGTH + key_page::END, 255),
        (at::LENGTH + key_page::ENTRY_COUNT, 0),
    ] {
        let mut payload = intact.clone();
        payload[at] = byte;
        assert_eq!(class(&payload, end), inconsistent, "{byte} at {at}");
    }
    let mut longer = intact.clone();
    longer.push(0);
    assert_eq!(class(&longer, end), inconsistent);
    assert_eq!(class(&intact[..at::LENGTH - 1], end), inconsistent);
    assert_eq!(class(&intact, end + 64), inconsistent);
    let mut large = intact.clone();
    large[at::PAGES_LENGTH + 3] = 5;
    assert_eq!(class(&large, end), Some(ErrorClass::Limit));
    // As many entries as its bytes may have, and more than are allowed.
    let mut many = intact;
    many[at::RICE_BITS] = 0;
    let length = (limits::KEY_FILTER_LENGTH as u32).to_le_bytes();
    many[at::PAGES_LENGTH..][..4].copy_from_slice(&length);
    many[at::LENGTH + key_page::END..][..4].copy_from_slice(&length);
    let entries = (limits::KEY_FILTER_ENTRIES as u32 + 1).to_le_bytes();
    many[at::LENGTH + key_page::ENTRY_COUNT..][..4].copy_from_slice(&entries);
    let footer = 128 + limits::KEY_FILTER_LENGTH as u64;
    assert_eq!(class(&many, footer), Some(ErrorClass::Limit));
}

#[test]
fn a_key_that_a_filter_lacks_or_adds_is_found() {
    use crate::record::{Headers, Record};
    let columns = |keys: &[Option<&[u8]>]| {
        let mut columns = Columns::new();
        for (offset, key) in (0..).zip(keys) {
            columns
                .push(&Record {
                    offset,
                    timestamp: 0,
                    control: false,
                    key: *key,
                    value: None,
                    headers: Headers::EMPTY,
                })
                .unwrap();
        }
        columns
    };
    let (a, b): (&[u8], &[u8]) = (b"a", b"b");
    let stored = [vec![Some(a.to_vec()), None], vec![Some(b.to_vec())]];
    let (filter, bytes) = filter(&stored, 16);
    let checked = |blocks: [Option<&[Option<&[u8]>]>; 2]| {
        let mut check = KeyFilterCheck::new(2);
        for block in blocks {
            check.block(&filter, block.map(columns).as_ref());
        }
        check
            .pages(&filter, 0..filter.page_count(), &bytes)
            .unwrap();
        check.finish(&filter).err().map(|error| error.detail)
    };
    assert_eq!(
        checked([Some(&[None, Some(a), Some(a)]), Some(&[Some(b)])]),
        None
    );
    let names = |found: Option<String>, block: &str| found.is_some_and(|it| it.contains(block));
    for wrong in [
        &[Some(a)][..],
        &[None, Some(a), Some(b)],
        &[None, Some(b)],
        &[],
    ] {
        assert!(names(
            checked([Some(wrong), Some(&[Some(b)])]),
            "of block 0,"
        ));
        assert!(names(
            checked([Some(&[Some(a), None]), Some(wrong)]),
            "of block 1,"
        ));
        // A block that is damaged says nothing.
        assert_eq!(checked([None, Some(&[Some(b)])]), None);
    }
    let mut unread = KeyFilterCheck::new(2);
    unread.block(&filter, None);
    assert!(unread.finish(&filter).is_err());
}
