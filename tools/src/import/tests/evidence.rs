//! What is beside the batches of a log: notes of an export, ids of topics; and what nothing is beside of.

use kbk_format::kafka_log::{GAPS_FILE, GapFileWriter};

use super::ImportFindingKind::{DamagedGapFile, MissingInExport, NoTopicId, UnprovenOffsets};
use super::*;

#[test]
fn a_last_batch_whose_offsets_nothing_proves_is_named() {
    // No checksum covers a base offset: of any other batch, its neighbours contradict a flipped one.
    for bit in 0..40 {
        let world = World::new();
        let mut tail = batch(3..6);
        let moved = 3 ^ (1_i64 << bit);
        tail[..8].copy_from_slice(&moved.to_be_bytes());
        world.log("t-0", 0, &[batch(0..3), tail].concat());
        let report = world.import(&[world.data()]).unwrap();
        assert!(!report.is_whole(), "bit {bit}");
        let expected = match moved < 3 {
            true => DamagedBatch,
            false => UnprovenOffsets,
        };
        assert_eq!(kinds(&report), [expected], "bit {bit}");
        let (found, gaps) = world.stored();
        if moved > 3 {
            assert_eq!(gaps, [gap(3, moved, GapReason::Unknown)]);
            assert_eq!(found.keys().last(), Some(&(moved + 2)));
        }
    }
    // Where compaction has gone over the log, as others show, it is no surprise.
    let mut sparse = Vec::new();
    put(&mut sparse, plain(BatchCodec::None), &[0, 2], 2);
    for (head, cleaned) in [(sparse, None), (batch(0..3), Some(3))] {
        let world = World::new();
        world.log("t-0", 0, &[head, batch(6..9)].concat());
        if let Some(cleaned) = cleaned {
            world.note("cleaner-offset-checkpoint", cleaned);
        }
        let (found, _, gaps, incomplete) = world.outcome();
        assert_eq!((found, incomplete), (vec![], false));
        assert_eq!(gaps.last(), Some(&gap(3, 6, GapReason::Compacted)));
    }
}

#[test]
fn a_folder_without_metadata_is_of_the_topic_of_its_name() {
    let world = World::new();
    world.log("t-0", 0, &batch(0..3));
    let unnamed = world.log("t-1", 0, &batch(0..3));
    fs::remove_file(unnamed.join("partition.metadata")).unwrap();
    let report = world.import(&[world.data()]).unwrap();
    assert!(report.is_whole());
    assert_eq!(kinds(&report), [NoTopicId]);
    let finding = &report.findings[0];
    assert!(
        finding.message.contains("t-1 has no partition.metadata"),
        "{finding:?}"
    );
    assert_eq!(report.partitions.len(), 2);

    let other = encode_metadata([8; 16]);
    fs::write(unnamed.join("partition.metadata"), other).unwrap();
    let refused = world.import(&[world.data()]).unwrap_err().to_string();
    for folder in ["t-0", "t-1"] {
        let path = world.data().join(folder).display().to_string();
        assert!(refused.contains(&path), "{refused}");
    }
}

/// Writes what an export notes beside a log.
fn note_gaps(folder: &Path, base_offset: i64, end_offset: i64, gaps: &[Gap]) -> PathBuf {
    let mut file = GapFileWriter::new(Vec::new(), base_offset).unwrap();
    gaps.iter().for_each(|gap| file.push(*gap).unwrap());
    let (bytes, _) = file.finish(end_offset).unwrap();
    let path = folder.join(GAPS_FILE);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn gaps_that_an_export_has_noted_keep_their_reasons() {
    let harmless = [
        gap(3, 5, GapReason::Transaction),
        gap(5, 6, GapReason::NotDelivered),
        gap(9, 20, GapReason::Compacted),
        gap(22, 30, GapReason::Transaction),
    ];
    let log = |world: &World| {
        let folder = world.log("t-0", 0, &batch(0..3));
        world.log("t-0", 6, &batch(6..9));
        let mut tail = Vec::new();
        put(&mut tail, plain(BatchCodec::None), &[20, 21], 29);
        world.log("t-0", 20, &tail);
        folder
    };
    let world = World::new();
    note_gaps(&log(&world), 0, 30, &harmless);
    let stored = vec![0, 1, 2, 6, 7, 8, 20, 21];
    let expected = (vec![], stored.clone(), harmless.to_vec(), false);
    assert_eq!(world.outcome(), expected);

    // Records that the export lacked are missing from the import, too.
    for reason in [GapReason::Damaged, GapReason::Lost, GapReason::Unknown] {
        let world = World::new();
        let noted = [
            harmless[0],
            harmless[1],
            gap(9, 12, reason),
            gap(12, 20, GapReason::Compacted),
            harmless[3],
        ];
        note_gaps(&log(&world), 0, 30, &noted);
        let expected = (vec![MissingInExport], stored.clone(), noted.to_vec(), true);
        assert_eq!(world.outcome(), expected);
    }

    // What is not noted is judged as ever: a file is missing.
    let world = World::new();
    let folder = world.log("t-0", 0, &batch(0..3));
    world.log("t-0", 6, &batch(6..9));
    world.log("t-0", 20, &batch(20..22));
    note_gaps(&folder, 0, 30, &harmless[..2]);
    let (found, _, gaps, incomplete) = world.outcome();
    assert_eq!((found, incomplete), (vec![GapBetweenFiles], true));
    assert_eq!(gaps[2], gap(9, 20, GapReason::Unknown));
}

#[test]
fn a_note_of_gaps_that_is_damaged_explains_nothing() {
    let gaps = [gap(3, 6, GapReason::Transaction)];
    let world = World::new();
    let folder = world.log("t-0", 0, &[batch(0..3), batch(6..9), batch(9..10)].concat());
    let path = note_gaps(&folder, 0, 10, &gaps);
    let whole = fs::read(&path).unwrap();
    for damaged in [
        &whole[..whole.len() - 1],
        b"",
        b"kbk-gaps 2 0\n",
        &[b'9'; 4096],
    ] {
        let world = World::new();
        let folder = world.log("t-0", 0, &[batch(0..3), batch(6..9), batch(9..10)].concat());
        fs::write(folder.join(GAPS_FILE), damaged).unwrap();
        let (found, stored, gaps, incomplete) = world.outcome();
        assert_eq!((found, incomplete), (vec![DamagedGapFile], true));
        assert_eq!(stored, [0, 1, 2, 6, 7, 8, 9]);
        assert_eq!(gaps, [gap(3, 6, GapReason::Unknown)]);
    }
}
