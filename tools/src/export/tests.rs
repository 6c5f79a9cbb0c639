//! What becomes of records, and of what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use kbk_format::batch::{BatchBuilder, BatchDecoder, BatchOptions, RecordBatches};
use kbk_format::kafka_log::encode_metadata;
use kbk_format::repo::{Identity, Repository, Store};
use kbk_format::{Compression, Gap, GapReason, Headers, Record};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::import::{self, ImportFindingKind, ImportOptions};
use crate::maintenance::MaintenanceOptions;
use crate::read::{ReadPlan, Selection};
use crate::recover;

mod batches;

const RECORDS: i64 = 3_000;

/// A repository with a partition of records 0 to 3000, imported from a log.
struct World {
    folder: TempDir,
    runtime: Runtime,
    repository: Repository,
}

impl World {
    /// Returns the only segment.
    fn segment(&self) -> PathBuf {
        let mut path = self.folder.path().join("repo/data/t");
        while path.is_dir() {
            path = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
        }
        path
    }

    /// Damages a block in the middle of the only segment.
    fn damage(&self) {
        let path = self.segment();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }

    /// Replaces what is damaged, as `kbk recover` does.
    fn recover(&self) {
        let options = MaintenanceOptions {
            dry_run: false,
            writer: "test".to_owned(),
            policy: "test".to_owned(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let silent: Arc<dyn recover::RecoverEvents> = Arc::new(|_: u64| ());
        self.runtime.block_on(async {
            let snapshot = self.repository.latest().await.unwrap().unwrap();
            let topics = snapshot.topics.iter();
            let topics = topics.map(|it| (it.name.clone(), it.topic_id)).collect();
            let plan = recover::plan(&self.repository, &snapshot, &topics, false, &silent);
            let plan = plan.await.unwrap();
            let repository = &self.repository;
            let done = recover::recover(repository, &snapshot, &plan, None, &options, silent);
            done.await.unwrap();
        });
    }

    fn new() -> World {
        World::of(1)
    }

    /// Makes a repository with this many equal partitions.
    fn of(partitions: u16) -> World {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("logs/t-0");
        fs::create_dir_all(&log).unwrap();
        let (mut builder, mut bytes) = (BatchBuilder::new(BatchOptions::default()), Vec::new());
        for offset in 0..RECORDS {
            let value = format!("{offset} ").repeat(100);
            let record = Record {
                offset,
                timestamp: offset,
                control: false,
                key: None,
                value: Some(value.as_bytes()),
                headers: Headers::EMPTY,
            };
            builder.push(&record).unwrap();
        }
        builder.finish(RECORDS + 9, &mut bytes).unwrap();
        fs::write(log.join("00000000000000000000.log"), bytes).unwrap();
        fs::write(log.join("partition.metadata"), encode_metadata([7; 16])).unwrap();
        for partition in 1..partitions {
            let other = folder.path().join(format!("logs/t-{partition}"));
            fs::create_dir(&other).unwrap();
            for file in fs::read_dir(&log).unwrap().flatten() {
                fs::copy(file.path(), other.join(file.file_name())).unwrap();
            }
        }

        let runtime = Runtime::new().unwrap();
        let path = folder.path().join("repo");
        let store = Store::open_or_create(path.to_str().unwrap()).unwrap();
        let repository = runtime
            .block_on(Repository::create(store, Identity::fresh()))
            .unwrap();
        let options = ImportOptions {
            compression: Compression::None,
            block_bytes: 1 << 16,
            segment_bytes: 1 << 30,
            allow_cluster_change: false,
            threads: 1,
            writer: "test".to_owned(),
        };
        let found = import::find(&[folder.path().join("logs")]).unwrap();
        let claims = Arc::new(|_: &crate::claims::ClaimEvent| ());
        let imported = import::import(&repository, found, options, pending(), Arc::new(()), claims);
        assert!(runtime.block_on(imported).unwrap().is_whole());
        World {
            folder,
            runtime,
            repository,
        }
    }

    /// Exports to where nothing is.
    fn export_anew(&self, format: ExportFormat) -> ExportReport {
        let _ = fs::remove_dir_all(self.folder.path().join("out"));
        self.export(format, false, Arc::new(())).unwrap()
    }

    fn export(
        &self,
        format: ExportFormat,
        overwrite: bool,
        events: Arc<dyn ExportEvents>,
    ) -> Result<ExportReport, ExportError> {
        let options = ExportOptions {
            out: self.folder.path().join("out"),
            format,
            overwrite,
            threads: 2,
        };
        self.runtime.block_on(async {
            let snapshot = self.repository.latest().await?.unwrap();
            let mut plan = ExportPlan::default();
            for topic in &snapshot.topics {
                for state in &topic.partitions {
                    let all = Selection::all();
                    plan.add(&self.repository, &snapshot, (topic, state), all, &format)
                        .await?;
                }
            }
            export(plan, &options, events).await
        })
    }

    /// Returns the names in the folder.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path().join("out")).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn parquet() -> ExportFormat {
    ExportFormat::Parquet(ParquetLayout {
        zstd_level: Some(1),
        folders: ParquetFolders::Hive,
        file_bytes: 1 << 20,
    })
}

fn parquet_by_date() -> ExportFormat {
    ExportFormat::Parquet(ParquetLayout {
        zstd_level: Some(1),
        folders: ParquetFolders::HiveByDate,
        file_bytes: 1 << 20,
    })
}

fn kafka_log() -> ExportFormat {
    ExportFormat::KafkaLog {
        codec: BatchCodec::Zstd,
        keeps_batches: true,
        log: LogOptions::default(),
        topic_id: None,
    }
}

/// Returns the offsets of all records of a log, and one past its last offset.
fn offsets(folder: &Path) -> (Vec<i64>, i64) {
    let bytes = fs::read(folder.join("00000000000000000000.log")).unwrap();
    let (mut offsets, mut end) = (Vec::new(), 0);
    let mut decoder = BatchDecoder::new();
    for batch in RecordBatches::new(&bytes, 0) {
        let batch = batch.unwrap();
        batch.check_crc().unwrap();
        end = batch.header().last_offset + 1;
        offsets.extend(decoder.decode(&batch).unwrap().map(|record| record.offset));
    }
    (offsets, end)
}

#[test]
fn what_is_damaged_is_a_gap_and_is_named() {
    let world = World::new();
    let data = world.folder.path().join("repo/data/t");
    let mut path = data;
    while path.is_dir() {
        path = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    for format in [kafka_log(), ExportFormat::JsonLines, parquet()] {
        let report = world.export(format, true, Arc::new(())).unwrap();
        let [finding] = &report.findings[..] else {
            panic!("{report:#?}")
        };
        assert_eq!(finding.kind, ExportFindingKind::DamagedRecords);
        let missing = finding.offsets.unwrap();
        let lost = missing.end_offset - missing.base_offset;
        assert!(lost > 0 && lost < RECORDS / 2);
        assert_eq!(report.records, (RECORDS - lost) as u64);
        if let ExportFormat::KafkaLog { .. } = format {
            let (found, end) = offsets(&world.folder.path().join("out/t-0"));
            let expected = (0..missing.base_offset).chain(missing.end_offset..RECORDS);
            assert_eq!((found, end), (expected.collect(), RECORDS + 10));
        }
    }
    assert_eq!(world.names(), ["t-0", "t-0.jsonl", "topic=t"]);
}

/// Returns all files below a folder, by their paths, and what they hold.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn what_exists_stays_where_records_cannot_be_read() {
    let world = World::of(2);
    let formats = [
        kafka_log(),
        ExportFormat::JsonLines,
        parquet(),
        parquet_by_date(),
    ];
    for format in formats {
        assert!(world.export_anew(format).is_whole());
        let out = world.folder.path().join("out");
        let before = files(&out);
        let harmed = world.segment();
        let intact = fs::read(&harmed).unwrap();
        for is_lost in [false, true] {
            match is_lost {
                true => fs::remove_file(&harmed).unwrap(),
                false => world.damage(),
            }
            let report = world.export(format, true, Arc::new(())).unwrap();
            let [finding] = &report.findings[..] else {
                panic!("{report:#?}")
            };
            assert_eq!(report.records, RECORDS as u64);
            for partition in &report.partitions {
                let stays = partition.partition == finding.partition;
                let found = (partition.not_replaced, partition.replaced);
                assert_eq!(found, (stays, !stays), "{partition:#?}");
                let written = (partition.records, partition.segments, partition.bytes);
                assert_eq!(written == (0, 0, 0), stays, "{partition:#?}");
            }
            assert_eq!(files(&out), before);
        }
        fs::write(&harmed, intact).unwrap();
        let report = world.export(format, true, Arc::new(())).unwrap();
        assert!(report.is_whole() && report.partitions.iter().all(|it| it.replaced));
    }
}

#[test]
fn two_exports_do_not_write_to_one_folder_at_a_time() {
    let world = World::new();
    let out = world.folder.path().join("out");
    fs::create_dir(&out).unwrap();
    for format in [kafka_log(), ExportFormat::JsonLines, parquet()] {
        let other = output::lock(&out).unwrap();
        let refused = world.export(format, false, Arc::new(()));
        assert!(
            matches!(refused, Err(ExportError::Busy { .. })),
            "{refused:?}"
        );
        drop(other);
        assert!(
            world
                .export(format, false, Arc::new(()))
                .unwrap()
                .is_whole()
        );
    }
}

#[test]
fn nothing_is_replaced_unasked_and_nothing_half_is_left() {
    struct Stops(AtomicBool);
    impl ExportEvents for Stops {
        fn written(&self, _: u64, _: u64) {
            self.0.store(true, Ordering::Relaxed);
        }
        fn is_stopped(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    let world = World::new();
    for format in [kafka_log(), ExportFormat::JsonLines, parquet()] {
        let stops = Arc::new(Stops(AtomicBool::new(false)));
        let report = world.export(format, false, stops).unwrap();
        assert!(report.interrupted && report.partitions.is_empty());
        // A folder that several partitions have may stay.
        let names = world.names();
        assert!(names.iter().all(|name| name == "topic=t"), "{names:?}");
        let folder = world.folder.path().join("out/topic=t");
        assert!(!folder.exists() || fs::read_dir(folder).unwrap().next().is_none());
    }
    let out = world.folder.path().join("out");
    // What a crash left.
    fs::create_dir(out.join(".t-0.partial")).unwrap();
    fs::write(out.join(".t-0.partial/x"), "").unwrap();
    for format in [kafka_log(), ExportFormat::JsonLines, parquet()] {
        let report = world.export(format, false, Arc::new(())).unwrap();
        assert!(report.is_whole());
        let again = world.export(format, false, Arc::new(()));
        assert!(
            matches!(again, Err(ExportError::Exists { .. })),
            "{again:?}"
        );
        assert!(world.export(format, true, Arc::new(())).unwrap().is_whole());
    }
    assert_eq!(world.names(), ["t-0", "t-0.jsonl", "topic=t"]);
    let lines = fs::read_to_string(out.join("t-0.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), RECORDS as usize);
    assert_eq!(
        offsets(&out.join("t-0")),
        ((0..RECORDS).collect(), RECORDS + 10)
    );
    let metadata = fs::read_to_string(out.join("t-0/partition.metadata")).unwrap();
    assert_eq!(metadata, encode_metadata([7; 16]));
}

/// Waits, in the first two partitions, until both are being written.
#[derive(Default)]
struct Meeting {
    there: Mutex<BTreeSet<String>>,
    came: Condvar,
    missed: AtomicBool,
}

impl ExportEvents for Meeting {
    fn written(&self, _: u64, _: u64) {
        let mut there = self.there.lock().unwrap();
        there.insert(format!("{:?}", thread::current().id()));
        self.came.notify_all();
        let patience = Duration::from_secs(30);
        let is_alone = |there: &mut BTreeSet<String>| there.len() < 2;
        let waited = self.came.wait_timeout_while(there, patience, is_alone);
        let (_there, waited) = waited.unwrap();
        self.missed.fetch_or(waited.timed_out(), Ordering::Relaxed);
    }
}

#[test]
fn two_partitions_are_written_at_the_same_time() {
    let world = World::of(2);
    for format in [kafka_log(), ExportFormat::JsonLines, parquet()] {
        let meeting = Arc::new(Meeting::default());
        let events: Arc<dyn ExportEvents> = Arc::clone(&meeting) as _;
        let report = world.export(format, true, events).unwrap();
        assert_eq!(report.partitions.len(), 2);
        let missed = meeting.missed.load(Ordering::Relaxed);
        assert!(!missed, "they are written one after the other");
    }
}

#[test]
fn progress_moves_with_every_block_and_ends_at_the_total() {
    #[derive(Default)]
    struct Counts(Mutex<Vec<(u64, u64)>>);
    impl ExportEvents for Counts {
        fn written(&self, records: u64, stored_bytes: u64) {
            self.0.lock().unwrap().push((records, stored_bytes));
        }
    }
    let world = World::new();
    for format in [kafka_log(), ExportFormat::JsonLines, parquet()] {
        let counts = Arc::new(Counts::default());
        let events: Arc<dyn ExportEvents> = Arc::clone(&counts) as _;
        let report = world.export(format, true, events).unwrap();
        let counts = counts.0.lock().unwrap();
        assert!(counts.len() > 10, "{}", counts.len());
        let records: u64 = counts.iter().map(|(records, _)| records).sum();
        assert_eq!(records, report.records);
        let moves = |(records, bytes): &(u64, u64)| *records > 0 && *bytes > 0;
        assert!(counts.iter().all(moves));
    }
}

/// Imports a log into a repository of its own; returns what was found, and all gaps with their reasons.
fn imported_again(world: &World, log: &Path) -> (Vec<ImportFindingKind>, Vec<Gap>) {
    let folder = TempDir::new_in(world.folder.path()).unwrap();
    let store = Store::open_or_create(folder.path().to_str().unwrap()).unwrap();
    world.runtime.block_on(async {
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        let options = ImportOptions {
            compression: Compression::None,
            block_bytes: 1 << 16,
            segment_bytes: 1 << 30,
            allow_cluster_change: false,
            threads: 1,
            writer: "test".to_owned(),
        };
        let found = import::find(&[log.to_owned()]).unwrap();
        let claims = Arc::new(|_: &crate::claims::ClaimEvent| ());
        let imported = import::import(&repository, found, options, pending(), Arc::new(()), claims);
        let report = imported.await.unwrap();
        let snapshot = repository.latest().await.unwrap().unwrap();
        let topic = &snapshot.topics[0];
        let state = &topic.partitions[0];
        let id = topic.partition_id(state.partition);
        let plan = ReadPlan::new(&repository, &snapshot, id, state, Selection::all());
        let plan = plan.await.unwrap();
        let mut gaps = Vec::new();
        for number in 0..plan.segments().len() {
            gaps.extend(plan.gaps(number).await.unwrap().unwrap().entries);
        }
        let kinds = report.findings.iter().map(|finding| finding.kind);
        (kinds.collect(), gaps)
    })
}

#[test]
fn an_import_of_an_export_knows_why_offsets_are_missing() {
    let world = World::new();
    let end = Gap {
        from_offset: RECORDS,
        to_offset: RECORDS + 10,
        reason: GapReason::Compacted,
    };
    let log = world.folder.path().join("out/t-0");
    assert!(
        world
            .export(kafka_log(), true, Arc::new(()))
            .unwrap()
            .is_whole()
    );
    assert_eq!(imported_again(&world, &log), (vec![], vec![end]));

    world.damage();
    let report = world.export_anew(kafka_log());
    let missing = report.findings[0].offsets.unwrap();
    let damaged = Gap {
        from_offset: missing.base_offset,
        to_offset: missing.end_offset,
        reason: GapReason::Damaged,
    };
    let expected = (vec![ImportFindingKind::MissingInExport], vec![damaged, end]);
    assert_eq!(imported_again(&world, &log), expected);
}

/// Returns what the Parquet files below a folder say of themselves: whether they have rows, their offsets, and what is missing.
fn stated(folder: &Path) -> Vec<(bool, std::ops::Range<i64>, String)> {
    let mut stated = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            stated.extend(self::stated(&path));
            continue;
        }
        let file = fs::File::open(path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let about = reader.metadata().file_metadata();
        let of = |name: &str| {
            let mut pairs = about.key_value_metadata().unwrap().iter();
            let pair = pairs.find(|pair| pair.key == name);
            pair.unwrap().value.clone().unwrap()
        };
        let offset = |name: &str| of(name).parse().unwrap();
        let offsets = offset("kbk.base_offset")..offset("kbk.end_offset");
        stated.push((about.num_rows() > 0, offsets, of("kbk.missing")));
    }
    stated
}

/// Returns the statements of the files that speak for all offsets.
fn stated_of_all(world: &World) -> Vec<(bool, String)> {
    let stated = stated(&world.folder.path().join("out/topic=t")).into_iter();
    let all = stated.filter(|(_, offsets, _)| *offsets == (0..RECORDS + 10));
    all.map(|(has_rows, _, missing)| (has_rows, missing))
        .collect()
}

#[test]
fn what_is_damaged_stays_damaged_after_a_recovery() {
    let world = World::new();
    world.damage();
    let report = world.export(kafka_log(), true, Arc::new(())).unwrap();
    let missing = report.findings[0].offsets.unwrap();
    let said = serde_json::to_string(&[missing]).unwrap();
    let log = world.folder.path().join("out/t-0");
    let before = imported_again(&world, &log);
    assert_eq!(before.0, [ImportFindingKind::MissingInExport]);
    for is_recovered in [false, true] {
        if is_recovered {
            world.recover();
        }
        let report = world.export_anew(kafka_log());
        assert_eq!(report.lacks_records(), !is_recovered);
        assert_eq!(imported_again(&world, &log), before);
        // The only file of the partition, with and without rows.
        for (format, has_rows) in [(parquet(), true), (parquet_by_date(), false)] {
            world.export_anew(format);
            assert_eq!(stated_of_all(&world), [(has_rows, said.clone())]);
        }
    }
}

#[test]
fn a_partition_that_is_lost_is_stated_by_date() {
    let world = World::new();
    fs::remove_file(world.segment()).unwrap();
    let all = format!(r#"[{{"base_offset":0,"end_offset":{}}}]"#, RECORDS + 10);
    for is_recovered in [false, true] {
        if is_recovered {
            world.recover();
        }
        let report = world.export_anew(parquet_by_date());
        let [partition] = &report.partitions[..] else {
            panic!("{report:#?}")
        };
        assert_eq!((partition.records, partition.segments), (0, 1));
        assert_eq!(stated_of_all(&world), [(false, all.clone())]);
    }
}

#[test]
fn a_dry_run_finds_that_a_topic_has_no_id() {
    let world = World::new();
    let format = kafka_log();
    let report = world.runtime.block_on(async {
        let snapshot = world.repository.latest().await.unwrap().unwrap();
        let topic = &snapshot.topics[0];
        let mut plan = ExportPlan::default();
        let of = (topic, &topic.partitions[0]);
        let all = Selection::all();
        plan.add(&world.repository, &snapshot, of, all, &format)
            .await
            .unwrap();
        plan.partitions[0].kafka_id = None;
        let options = ExportOptions {
            out: world.folder.path().join("out"),
            format,
            overwrite: false,
            threads: 1,
        };
        let planned = dry_run(plan.clone(), &options).await.unwrap();
        assert_eq!(planned.unread_records, RECORDS as u64);
        let done = export(plan, &options, Arc::new(())).await.unwrap();
        assert_eq!(done.unread_records, 0);
        assert_eq!(planned.findings, done.findings);
        done
    });
    assert_eq!(report.findings[0].kind, ExportFindingKind::NoTopicId);
}
