//! Recovery of segment files: every broken fixture, and what the program may not do to files.

use std::fs;
use std::path::{Path, PathBuf};

use kbk_format::salvage::LossReason;
use kbk_format::{BlockDecoder, Columns, GapReason, Segment, Streams, verify};
use kbk_tools::recover::{FileOptions, FileRecovery, RecoverError, recover_files};
use serde_json::Value;

/// Returns the broken fixtures with their descriptions.
fn broken() -> Vec<(String, PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/broken/v1");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let json = entry.unwrap().path();
        if json.extension().is_some_and(|it| it == "json") {
            let described = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
            let name = json.file_stem().unwrap().to_str().unwrap().to_owned();
            found.push((name, json.with_extension("kseg"), described));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() > 100, "{} fixtures", found.len());
    found
}

fn options(files: &[&Path], output: &Path) -> FileOptions {
    FileOptions {
        files: files.iter().map(|file| file.to_path_buf()).collect(),
        output: output.to_owned(),
        partition: None,
        writer: "a test".to_owned(),
        dry_run: false,
    }
}

/// Returns the offsets of a valid segment.
fn offsets(file: &Path) -> (Segment, Vec<i64>) {
    let bytes = fs::read(file).unwrap();
    let segment = verify::verify_whole(&bytes, true).unwrap();
    let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
    let mut offsets = Vec::new();
    let first = segment.file_header_length() as usize;
    for block in segment.blocks(0..segment.index().entries().len(), &bytes[first..]) {
        let block = block.unwrap();
        let decoded = block.decode(&mut decoder, Streams::Meta, &mut columns);
        decoded.unwrap();
        offsets.extend_from_slice(columns.offsets());
    }
    (segment, offsets)
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let names = entries.map(|entry| name(entry).into_string().unwrap());
    names.collect()
}

#[test]
fn of_every_broken_fixture_exactly_what_a_scan_finds_is_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let (mut recovered, mut refused) = (0, Vec::new());
    for (name, file, described) in broken() {
        let before = fs::read(&file).unwrap();
        let output = folder.path().join(format!("{name}.kseg"));
        let scanned: Option<Vec<i64>> = described["scan_offsets"]
            .as_array()
            .map(|offsets| offsets.iter().map(|it| it.as_i64().unwrap()).collect());
        let recovered_or_not = match recover_files(&options(&[&file], &output)) {
            // No copy of the header is left: the caller says what it is.
            Err(RecoverError::Unidentified { .. }) => recover_files(&FileOptions {
                partition: Some(("orders".parse().unwrap(), 0.into())),
                ..options(&[&file], &output)
            }),
            done => done,
        };
        match recovered_or_not {
            Ok(report) if report.output.is_some() => {
                let (segment, offsets) = offsets(&output);
                if let Some(scanned) = &scanned {
                    assert_eq!(offsets, *scanned, "{name}");
                }
                assert_eq!(report.records, offsets.len() as u64, "{name}");
                assert_eq!(report.complete, report.lost_records == Some(0), "{name}");
                for loss in &report.losses {
                    let from = loss.offsets.base_offset;
                    assert_eq!(segment.gaps().reason(from), GapReason::Damaged, "{name}");
                }
                recovered += 1;
            }
            Ok(report) => {
                assert!(!report.complete && report.records == 0, "{name}");
                assert!(scanned.is_none_or(|it| it.is_empty()), "{name}");
                assert!(!output.exists(), "{name}");
            }
            Err(error) => {
                assert!(scanned.is_none_or(|it| it.is_empty()), "{name}: {error}");
                assert!(!output.exists(), "{name}");
                refused.push((name, error.to_string()));
            }
        }
        assert_eq!(fs::read(&file).unwrap(), before, "the file is not changed");
    }
    assert!(recovered > 80, "{recovered} recovered");
    assert!(refused.len() < 8, "{refused:#?}");
    let left = files_in(folder.path());
    assert_eq!(left.len(), recovered, "no temporary file is left: {left:?}");
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/golden/v1/{name}.kseg"))
}

fn recover(files: &[&Path], output: &Path) -> FileRecovery {
    recover_files(&options(files, output)).unwrap()
}

#[test]
fn an_intact_segment_is_recovered_as_it_is_and_no_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = golden("three-blocks");
    let output = folder.path().join("new.kseg");
    let report = recover(&[&file], &output);
    assert!(report.complete && report.losses.is_empty());
    assert_eq!(report.lost_records, Some(0));
    let (old, old_offsets) = offsets(&file);
    let (new, new_offsets) = offsets(&output);
    assert_eq!(old_offsets, new_offsets);
    assert_eq!(old.statistics(), new.statistics());
    assert_ne!(old.header().segment_id, new.header().segment_id);

    let again = recover_files(&options(&[&file], &output));
    assert!(matches!(again, Err(RecoverError::Exists { .. })));
    let dry = FileOptions {
        dry_run: true,
        ..options(&[&file], &folder.path().join("dry.kseg"))
    };
    let report = recover_files(&dry).unwrap();
    assert!(report.complete && report.output.is_none() && report.segment.is_some());
    assert_eq!(files_in(folder.path()), ["new.kseg"]);
}

#[test]
fn copies_make_up_for_each_other_and_where_a_segment_ended_is_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(golden("three-blocks")).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let [first, _, last] =
        [0, 1, 2].map(|block| segment.index().entries()[block].position as usize);
    let [a, b] = ["a.kseg", "b.kseg"].map(|name| folder.path().join(name));
    // One lacks the first block, and the other one the end from the last block on.
    let mut damaged = bytes.clone();
    damaged[first + 8] ^= 1;
    fs::write(&a, damaged).unwrap();
    fs::write(&b, &bytes[..last]).unwrap();

    let cut = recover(&[&b], &folder.path().join("cut.kseg"));
    assert!(!cut.complete && !cut.end.is_proved);
    assert_eq!((cut.lost_records, cut.losses.len()), (None, 0));
    assert_eq!(cut.records, 6);

    let both = recover(&[&b, &a], &folder.path().join("both.kseg"));
    assert!(both.complete);
    let blocks: Vec<u64> = both.files.iter().map(|file| file.blocks).collect();
    assert_eq!((blocks, both.records), (vec![2, 1], 9));
    let (_, found) = offsets(&folder.path().join("both.kseg"));
    assert_eq!(found, (100..109).collect::<Vec<i64>>());
}

#[test]
fn damaged_batches_are_named_and_their_block_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = |name: &str| {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/broken/v1");
        fixtures.join(format!("{name}.kseg"))
    };
    let lost = |report: &FileRecovery| {
        let batches = report.losses.iter().map(|loss| {
            assert_eq!(loss.reason, LossReason::DamagedBatch);
            let (start, end) = (loss.offsets.base_offset, loss.offsets.end_offset);
            (start, end, loss.records)
        });
        batches.collect::<Vec<_>>()
    };
    let one = fixture("batches-flip-in-a-batch");
    let report = recover(&[&one], &folder.path().join("one.kseg"));
    assert_eq!(lost(&report), [(105, 107, Some(2))]);
    assert_eq!((report.records, report.lost_records), (12, Some(2)));
    // The batches before and after it are of one block.
    assert_eq!((report.blocks, report.partial_blocks), (3, 1));
    assert_eq!(report.files[0].blocks, 4);
    let block = report.losses[0].position.unwrap();
    let bytes = report.losses[0].bytes.unwrap();
    assert!(
        block > 640 && block + bytes < 1344,
        "{block}, {bytes} bytes"
    );

    let two = fixture("batches-flip-in-two-batches");
    let report = recover(&[&two], &folder.path().join("two.kseg"));
    assert_eq!(lost(&report), [(103, 105, Some(2)), (107, 110, Some(3))]);
    assert_eq!((report.blocks, report.partial_blocks), (3, 1));

    // What one copy lacks is in the other one.
    let both = recover(&[&one, &two], &folder.path().join("both.kseg"));
    assert!(both.complete, "{:?}", both.losses);
    let blocks: Vec<u64> = both.files.iter().map(|file| file.blocks).collect();
    assert_eq!((both.records, blocks), (14, vec![4, 1]));
}

#[test]
fn a_segment_among_bytes_that_may_have_been_another_one_is_not_called_whole() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(golden("three-blocks")).unwrap();
    let file = folder.path().join("inner.kseg");
    let around = [0x5a; 4_000];
    for (number, (before, after)) in [(4_000, 0), (4_000, 3)].into_iter().enumerate() {
        let inner = [&around[..before], &bytes, &around[..after]].concat();
        fs::write(&file, inner).unwrap();
        let report = recover(&[&file], &folder.path().join(format!("{number}.kseg")));
        assert_eq!((report.records, report.losses.len()), (9, 0));
        assert!(report.base.is_proved && report.end.is_proved);
        assert!(!report.complete, "{number}: presented as whole");
        assert_eq!(report.lost_records, None);
    }
}

#[test]
fn a_file_of_another_segment_and_what_was_lost_before_are_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let three = golden("three-blocks");
    let other = golden("log-append-time");
    let report = recover(&[&three, &other], &folder.path().join("both.kseg"));
    assert_eq!((report.complete, report.lost_records), (false, None));
    assert_eq!(report.files[0].other_segment, None);
    let id = Segment::open_whole(&fs::read(&other).unwrap()).unwrap();
    let id = format!("{}", kbk_format::repo::Hex(id.header().segment_id));
    assert_eq!(report.files[1].other_segment.as_deref(), Some(&id[..16]));

    // What a recovery has lost stays lost.
    let mut damaged = fs::read(&three).unwrap();
    let segment = Segment::open_whole(&damaged).unwrap();
    damaged[segment.index().entries()[1].position as usize + 8] ^= 1;
    let file = folder.path().join("damaged.kseg");
    fs::write(&file, damaged).unwrap();
    let once = folder.path().join("once.kseg");
    let first = recover(&[&file], &once);
    assert!(!first.complete && first.lost_offsets > 0 && first.damaged_offsets == 0);
    let second = recover(&[&once], &folder.path().join("twice.kseg"));
    assert_eq!(second.damaged_offsets, first.lost_offsets);
    assert_eq!((second.complete, second.lost_records), (false, None));
    assert!(second.losses.is_empty());
}

#[test]
fn without_any_header_the_caller_says_which_partition_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(golden("log-append-time")).unwrap();
    let segment = Segment::open_whole(&bytes).unwrap();
    let first = segment.index().entries()[0].position as usize;
    let file = folder.path().join("headless.kseg");
    fs::write(&file, &bytes[first..segment.footer_position() as usize]).unwrap();
    let output = folder.path().join("new.kseg");
    let unknown = recover_files(&options(&[&file], &output));
    assert!(matches!(unknown, Err(RecoverError::Unidentified { .. })));
    let named = FileOptions {
        partition: Some(("payments".parse().unwrap(), 7.into())),
        ..options(&[&file], &output)
    };
    let report = recover_files(&named).unwrap();
    assert!(!report.complete, "where it ended is not known");
    let (new, _) = offsets(&output);
    assert_eq!(
        (&*new.header().topic, new.header().partition.get()),
        ("payments", 7)
    );
    // The digests tell the type of the timestamps.
    assert_eq!(new.header().timestamp_type, segment.header().timestamp_type);
    assert_eq!(new.statistics().digests(), segment.statistics().digests());
    let other = FileOptions {
        files: vec![golden("log-append-time")],
        output: folder.path().join("other.kseg"),
        ..named
    };
    let other = recover_files(&other);
    assert!(matches!(other, Err(RecoverError::OtherPartition { .. })));
}

#[test]
fn what_is_no_file_of_a_segment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let letter = folder.path().join("letter");
    fs::write(&letter, "dear").unwrap();
    let output = folder.path().join("new.kseg");
    let refused = recover_files(&options(&[&letter], &output));
    assert!(matches!(refused, Err(RecoverError::NotASegment { .. })));
    for file in [folder.path().to_owned(), folder.path().join("none")] {
        let refused = recover_files(&options(&[&file], &output));
        assert!(matches!(refused, Err(RecoverError::Read(_))), "{file:?}");
    }
    let nowhere = folder.path().join("none/new.kseg");
    let refused = recover_files(&options(&[&golden("minimal")], &nowhere));
    assert!(matches!(refused, Err(RecoverError::Write { .. })));
    assert_eq!(files_in(folder.path()), ["letter"]);
}
