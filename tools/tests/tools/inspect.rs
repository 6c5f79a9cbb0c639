//! Inspects one file: intact, damaged, and not a segment at all.

use std::fs;

use kbk_tools::inspect::{InspectError, Inspection, inspect};

use crate::support::{World, place, segment};

fn written(harm: impl FnOnce(&mut Vec<u8>)) -> Result<Inspection, InspectError> {
    let world = World::new();
    let rows: Vec<_> = (100..400).map(|offset| (offset, offset * 2)).collect();
    let (_, mut bytes) = segment(&place("orders", 3), &rows);
    harm(&mut bytes);
    let file = world.folder.path().join("x.kseg");
    fs::write(&file, bytes).unwrap();
    inspect(&file)
}

#[test]
fn an_intact_segment_is_shown_in_full() {
    let found = written(|_| {}).unwrap();
    assert_eq!(found.problems, []);
    let header = found.header.unwrap();
    assert_eq!(
        (&*header.topic, header.partition.get(), header.base_offset),
        ("orders", 3, 100)
    );
    let footer = found.footer.unwrap();
    assert_eq!((footer.end_offset, footer.record_count), (400, 300));
    assert_eq!(found.totals.records, 300);
    assert!(found.blocks.len() > 3);
    assert_eq!(found.blocks.last().unwrap().end_offset, 400);
    let raw: u64 = found.streams.iter().map(|stream| stream.raw_bytes).sum();
    assert_eq!(raw, found.totals.raw_bytes);
}

#[test]
fn blocks_are_found_without_a_footer() {
    let found = written(|bytes| {
        let end = bytes.len();
        bytes.truncate(end - 10);
    })
    .unwrap();
    assert!(found.footer.is_none());
    assert_eq!(found.header.unwrap().base_offset, 100);
    assert_eq!(found.totals.records, 300, "every block is found");
    assert!(!found.problems.is_empty());
}

#[test]
fn a_damaged_block_is_reported_with_its_offsets() {
    let found = written(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    })
    .unwrap();
    assert_eq!(found.problems.len(), 1);
    let offsets = found.problems[0].offsets.unwrap();
    assert!(offsets.base_offset < offsets.end_offset && offsets.end_offset <= 400);
}

#[test]
fn other_files_are_not_segments() {
    for bytes in [b"".as_slice(), b"hello", &[0; 4096]] {
        let error = written(|file| *file = bytes.to_vec()).unwrap_err();
        assert!(matches!(error, InspectError::NotASegment { .. }), "{error}");
    }
    let missing = inspect("/nonexistent/x.kseg".as_ref()).unwrap_err();
    assert!(matches!(missing, InspectError::Io { .. }), "{missing}");
}
