//! Kafka's own batches in logs: as they are stored, or built anew.

use kbk_format::kafka_log::GAPS_FILE;

use super::*;
use crate::compact::tests::world::{World as RandomWorld, id};
use crate::testing::as_batches::SegmentKind;
use crate::testing::malformed;

type Fields = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// Returns the records of a log, and how many of its batches are compressed.
fn records(folder: &Path) -> (Vec<Fields>, usize) {
    let names = fs::read_dir(folder).unwrap();
    let mut logs: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|it| it == "log"));
    logs.sort();
    let (mut records, mut compressed) = (Vec::new(), 0);
    let mut decoder = BatchDecoder::new();
    for log in logs {
        let bytes = fs::read(log).unwrap();
        for batch in RecordBatches::new(&bytes, 0) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            let codec = batch.header().attributes.codec();
            compressed += usize::from(codec != Some(BatchCodec::None));
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let of_batch = decoder.decode(&batch).unwrap();
            records.extend(
                of_batch.map(|it| (it.offset, it.timestamp, owned(it.key), owned(it.value))),
            );
        }
    }
    (records, compressed)
}

/// Exports the selected records of all topics as logs.
async fn export_log(
    world: &RandomWorld,
    out: &Path,
    selection: Selection,
    keeps_batches: bool,
) -> ExportReport {
    let format = ExportFormat::KafkaLog {
        codec: BatchCodec::None,
        keeps_batches,
        log: LogOptions::default(),
        topic_id: None,
    };
    let options = ExportOptions {
        out: out.to_owned(),
        format,
        overwrite: false,
        threads: 2,
    };
    let repository = world.open().await;
    let snapshot = repository.latest().await.unwrap().unwrap();
    let mut plan = ExportPlan::default();
    for topic in snapshot.topics.iter().filter(|topic| !topic.deleted) {
        for state in &topic.partitions {
            let (of, selection) = ((topic, state), selection.clone());
            let added = plan.add(&repository, &snapshot, of, selection, &format);
            added.await.unwrap();
        }
    }
    export(plan, &options, Arc::new(())).await.unwrap()
}

/// Kafka's own batches as they are have the records, and the gaps, that batches have which are built of them, whatever is selected.
#[test]
fn batches_that_are_kept_have_the_same_records_and_gaps() {
    let runtime = Runtime::new().unwrap();
    let mut kept = 0;
    for (seed, kind) in (0..10).zip([SegmentKind::Batches, SegmentKind::NotComputed].repeat(5)) {
        let world = runtime.block_on(RandomWorld::random_of(seed, kind));
        let folder = TempDir::new().unwrap();
        let selections = [
            Selection::all(),
            Selection {
                offsets: 20..57,
                ..Selection::all()
            },
            Selection {
                times: i64::MIN..=400_000,
                ..Selection::all()
            },
        ];
        for (number, selection) in selections.into_iter().enumerate() {
            let export_to = |keeps_batches: bool| {
                let out = folder.path().join(format!("{number}-{keeps_batches}"));
                let exported = export_log(&world, &out, selection.clone(), keeps_batches);
                let report = runtime.block_on(exported);
                (out, report)
            };
            let ((one, of_one), (other, of_other)) = (export_to(true), export_to(false));
            assert_eq!(of_one.records, of_other.records, "seed {seed}");
            for partition in fs::read_dir(&other).unwrap() {
                let name = partition.unwrap().file_name();
                let (one, other) = (one.join(&name), other.join(&name));
                if !other.is_dir() {
                    continue;
                }
                let (found, compressed) = records(&one);
                assert_eq!(found, records(&other).0, "seed {seed}, {name:?}");
                kept += compressed;
                let gaps = |folder: &Path| fs::read(folder.join(GAPS_FILE)).ok();
                assert_eq!(gaps(&one), gaps(&other), "seed {seed}, {name:?}");
            }
        }
    }
    assert!(
        kept > 50,
        "{kept} batches are compressed, as they were stored"
    );
}

/// Of a block with a batch that a faulty producer has written, nothing is in the log, and the report says so of all of it, where its records are
/// built into batches anew.
#[test]
fn nothing_is_exported_of_a_block_that_cannot_be_decoded() {
    let segment = malformed::segment(&id(0));
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(RandomWorld::of_segment(segment));
    let folder = TempDir::new().unwrap();
    for (keeps_batches, from) in [(true, 5), (true, 25), (false, 0)] {
        let selection = Selection {
            offsets: from..40,
            ..Selection::all()
        };
        let out = folder.path().join(format!("{keeps_batches}-{from}"));
        let report = runtime.block_on(export_log(&world, &out, selection, keeps_batches));
        let of_log = fs::read_dir(&out).unwrap().map(|it| it.unwrap().path());
        let found = of_log
            .filter(|it| it.is_dir())
            .flat_map(|it| records(&it).0);
        let offsets: Vec<i64> = found.map(|(offset, ..)| offset).collect();
        // From 25 on, the batch in question is not selected.
        let first = if from == 25 { 25 } else { 30 };
        assert_eq!(offsets, (first..40).collect::<Vec<_>>(), "from {from}");
        assert_eq!(report.records, offsets.len() as u64, "from {from}");
        // The second block is written as it is.
        let not_decoded = if keeps_batches { 10 } else { 0 };
        assert_eq!(report.not_decoded_records, not_decoded, "from {from}");
        let missing: Vec<_> = report.findings.iter().filter_map(|it| it.offsets).collect();
        match from {
            25 => assert_eq!(missing, []),
            from => assert_eq!(missing, [(from..30).into()]),
        }
    }
    // Written as it is, the batch is what the source had, and the report says that nobody has looked at it.
    let out = folder.path().join("whole");
    let report = runtime.block_on(export_log(&world, &out, Selection::all(), true));
    assert!(!report.lacks_records(), "{report:?}");
    assert_eq!((report.records, report.not_decoded_records), (40, 40));
    assert_eq!(report.partitions[0].not_decoded_records, 40);
}
