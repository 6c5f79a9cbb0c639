//! Uploads: an object has all bytes that were written, or does not exist.

use std::io::Write;
use std::sync::Arc;

use kbk_format::repo::{
    Id, Key, RepoError, RepoErrorKind, SegmentHash, SegmentUpload, UploadBuffers, Uploaded,
};
use object_store::ObjectStore;

use crate::support::faulty::{Fault, FaultyStore};
use crate::world;

fn key() -> Key {
    Key::segment(&world::partition_id("a", 1, 0), 0, &Id::ZERO)
}

fn files(folder: &tempfile::TempDir) -> Vec<String> {
    let mut folders = vec![folder.path().to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    files
}

#[test]
fn the_object_is_what_was_written() {
    let runtime = world::runtime();
    let bytes: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    for (part_bytes, parts_in_flight, piece) in [(1 << 20, 1, 7), (100, 1, 999), (64, 3, 40_000)] {
        let folder = tempfile::tempdir().unwrap();
        let objects = world::local(&folder);
        let buffers = UploadBuffers {
            whole_below: 0,
            part_bytes,
            parts_in_flight,
            any_part_size: false,
        };
        let store = world::store(&objects);
        let mut upload =
            SegmentUpload::start(&store, key(), runtime.handle().clone(), buffers).unwrap();
        for piece in bytes.chunks(piece) {
            upload.write_all(piece).unwrap();
            assert!(!files(&folder).iter().any(|file| file.ends_with(".kseg")));
        }
        let expected = Uploaded {
            blake3: SegmentHash::of(&bytes),
            size: bytes.len() as u64,
        };
        assert_eq!(runtime.block_on(upload.complete()).unwrap(), expected);
        let stored = runtime.block_on(world::get(&objects, &key().to_string()));
        assert!(stored == bytes);
        assert_eq!(files(&folder).len(), 1, "no temporary file is left");
    }
}

#[test]
fn whole_buffers_are_handed_over_where_parts_may_have_any_size() {
    let runtime = world::runtime();
    for (any_part_size, parts_in_flight, whole_below) in
        [(true, 1, 0), (true, 3, 0), (false, 2, 0), (true, 1, 5_000)]
    {
        let folder = tempfile::tempdir().unwrap();
        let objects = world::local(&folder);
        let buffers = UploadBuffers {
            whole_below,
            part_bytes: 1_000,
            parts_in_flight,
            any_part_size,
        };
        let store = world::store(&objects);
        let mut upload =
            SegmentUpload::start(&store, key(), runtime.handle().clone(), buffers).unwrap();
        let (mut expected, mut buffer) = (Vec::new(), Vec::new());
        let mut buffers = std::collections::BTreeSet::new();
        for round in 0..40_usize {
            // Small ones, ones of just a part, and larger ones; before them, nothing, a few bytes, or most of a part.
            let written = vec![1; [0, 7, 900][round % 3]];
            upload.write_all(&written).unwrap();
            let length = [10, 500, 1_000, 3_001][round % 4];
            buffer.extend((0..length).map(|at| (at * 31 + round) as u8));
            expected.extend_from_slice(&written);
            expected.extend_from_slice(&buffer);
            if length == 3_001 {
                buffers.insert(buffer.as_ptr());
            }
            upload.write_buffer(&mut buffer).unwrap();
            assert!(buffer.is_empty(), "it is left for what follows");
        }
        // Those that were handed over come back.
        assert!(
            buffers.len() <= 2 * (parts_in_flight + 1) + 1,
            "{}",
            buffers.len()
        );
        let uploaded = runtime.block_on(upload.complete()).unwrap();
        assert_eq!(uploaded.blake3, SegmentHash::of(&expected));
        assert_eq!(uploaded.size, expected.len() as u64);
        let stored = runtime.block_on(world::get(&objects, &key().to_string()));
        assert!(stored == expected, "any size: {any_part_size}");
    }
}

#[test]
fn an_upload_that_is_dropped_leaves_nothing() {
    let runtime = world::runtime();
    let folder = tempfile::tempdir().unwrap();
    let store = world::store(&world::local(&folder));
    let buffers = UploadBuffers {
        whole_below: 0,
        part_bytes: 10,
        parts_in_flight: 1,
        any_part_size: false,
    };
    let mut upload =
        SegmentUpload::start(&store, key(), runtime.handle().clone(), buffers).unwrap();
    upload.write_all(&[1; 100]).unwrap();
    assert_eq!(files(&folder).len(), 1, "the temporary file");
    drop(upload);
    assert!(files(&folder).is_empty());
}

#[test]
fn after_a_failed_part_nothing_can_be_appended() {
    let runtime = world::runtime();
    let folder = tempfile::tempdir().unwrap();
    // Call 0 begins the upload, call 2 is its second part.
    let faulty = FaultyStore::new(world::local(&folder), Fault::Refused, 2);
    let objects: Arc<dyn ObjectStore> = Arc::new(faulty);
    let store = world::store(&objects);
    let buffers = UploadBuffers {
        whole_below: 0,
        part_bytes: 10,
        parts_in_flight: 1,
        any_part_size: false,
    };
    let mut upload =
        SegmentUpload::start(&store, key(), runtime.handle().clone(), buffers).unwrap();
    let error = upload.write_all(&[1; 100]).unwrap_err();
    let error = error.downcast::<RepoError>().unwrap();
    assert!(
        matches!(error.kind(), RepoErrorKind::Unavailable { .. }),
        "{error}"
    );
    assert!(files(&folder).is_empty());

    let error = upload.write_all(&[1; 100]).unwrap_err();
    let error = error.downcast::<RepoError>().unwrap();
    assert_eq!(*error.kind(), RepoErrorKind::UploadClosed, "{error}");
    let error = runtime.block_on(upload.complete()).unwrap_err();
    assert_eq!(*error.kind(), RepoErrorKind::UploadClosed, "{error}");
}
