//! What is read of a segment on a disk gets the buffer of something that was read before, and nothing that is still used changes.

use std::fs;

use kbk_format::repo::{SegmentEntry, SegmentReader, Store};

use crate::world;

#[test]
fn ranges_share_buffers_once_nobody_uses_them() {
    let folder = tempfile::tempdir().unwrap();
    let id = world::partition_id("orders", 2, 3);
    let (entry, bytes) = world::entry(&id, 0, 50_000);
    let file = folder.path().join(&entry.key);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &bytes).unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let runtime = world::runtime();
    let read = |entry: &SegmentEntry, range: std::ops::Range<u64>| {
        let read = SegmentReader::stored(&store, &id, entry, range);
        runtime.block_on(read).map(|read| read.bytes)
    };
    let part = |from: usize, to: usize| &bytes[from..to];

    let first = read(&entry, 1_000..301_000).unwrap();
    assert!(first == part(1_000, 301_000));
    let kept = first.slice(200_000..200_100);
    let second = read(&entry, 0..300_000).unwrap();
    assert_ne!(first.as_ptr(), second.as_ptr(), "both are used");
    assert!(second == part(0, 300_000));
    let place = second.as_ptr();
    drop((first, second));
    let third = read(&entry, 90_000..385_000).unwrap();
    assert_eq!(third.as_ptr(), place);
    assert!(third == part(90_000, 385_000));
    let fourth = read(&entry, 90_000..385_000).unwrap();
    assert!(fourth == third);
    assert!(kept == part(201_000, 201_100), "a part of it is still used");

    // A file that ends within the range is an error, and what is read next is whole.
    fs::write(&file, &bytes[..350_000]).unwrap();
    let whole = read(&entry, 90_000..385_000).unwrap_err();
    assert!(whole.to_string().contains("350000"), "{whole}");
    let shorter = SegmentEntry {
        size: 350_000,
        ..entry
    };
    assert!(read(&shorter, 40_000..350_000).unwrap() == part(40_000, 350_000));
    read(&shorter, 90_000..385_000).unwrap_err();
    assert!(read(&shorter, 0..70_000).unwrap() == part(0, 70_000));
    assert!(kept == part(201_000, 201_100));
}
