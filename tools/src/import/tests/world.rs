//! A broker's folder, and a repository to import it into.

use std::collections::BTreeMap;
use std::fs;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use kbk_format::batch::{BatchBuilder, BatchCodec, BatchOptions, Producer};
use kbk_format::kafka_log::encode_metadata;
use kbk_format::repo::{Identity, Repository, SegmentReader, Store};
use kbk_format::{Gap, GapReason, Headers, Record, Streams};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use super::super::*;
use crate::read::{ReadPlan, Selection};

/// A broker's folder, and a repository.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) runtime: Runtime,
    pub(super) repository: Repository,
}

impl World {
    pub(super) fn new() -> World {
        let folder = TempDir::new().unwrap();
        let runtime = Runtime::new().unwrap();
        let path = folder.path().join("repo");
        let store = Store::open_or_create(path.to_str().unwrap()).unwrap();
        let created = Repository::create(store, Identity::fresh());
        let repository = runtime.block_on(created).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        World {
            folder,
            runtime,
            repository,
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a partition's log.
    pub(super) fn log(&self, partition: &str, base_offset: i64, bytes: &[u8]) -> PathBuf {
        let folder = self.data().join(partition);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("partition.metadata"), encode_metadata([7; 16])).unwrap();
        fs::write(folder.join(format!("{base_offset:020}.log")), bytes).unwrap();
        folder
    }

    pub(super) fn options() -> ImportOptions {
        ImportOptions {
            compression: Compression::Lz4,
            block_bytes: 1 << 16,
            segment_bytes: 1 << 20,
            allow_cluster_change: false,
            threads: 2,
            writer: "test".to_owned(),
        }
    }

    /// Returns what a dry run finds in all folders.
    pub(super) fn planned(&self) -> Vec<ImportFinding> {
        let found = find(&[self.data()]).unwrap();
        let options = World::options();
        let planned = dry_run(&self.repository, found, &options);
        let planned = self.runtime.block_on(planned).unwrap();
        assert_eq!((planned.snapshot, planned.records), (None, 0));
        planned.findings
    }

    pub(super) fn import(&self, folders: &[PathBuf]) -> Result<ImportReport, ImportError> {
        self.import_with(folders, Arc::new(()))
    }

    pub(super) fn import_with(
        &self,
        folders: &[PathBuf],
        events: Arc<dyn ImportEvents>,
    ) -> Result<ImportReport, ImportError> {
        let options = World::options();
        let found = find(folders)?;
        let claim_events = Arc::new(|_: &crate::claims::ClaimEvent| ());
        let import = import(
            &self.repository,
            found,
            options,
            pending(),
            events,
            claim_events,
        );
        self.runtime.block_on(import)
    }

    /// Returns the records and the named gaps of partition 0 of the newest history of topic `t`.
    pub(super) fn stored(&self) -> (BTreeMap<i64, Vec<u8>>, Vec<Gap>) {
        self.runtime.block_on(async {
            let snapshot = self.repository.latest().await.unwrap().unwrap();
            let topic = snapshot.topics.iter().find(|topic| !topic.deleted).unwrap();
            let state = topic.partitions.first().unwrap();
            let id = topic.partition_id(state.partition);
            let all = Selection::all();
            let plan = ReadPlan::new(&self.repository, &snapshot, id.clone(), state, all);
            let plan = plan.await.unwrap();
            let mut gaps = Vec::new();
            for entry in plan.segments() {
                let store = self.repository.store();
                let reader = SegmentReader::open(store, &id, entry).await.unwrap();
                gaps.extend(reader.segment().gaps().entries.iter().copied());
            }
            let mut records = BTreeMap::new();
            let mut reader = plan.read(Streams::All, &Handle::current());
            while let Some(batch) = reader.next().await.unwrap() {
                for record in batch.records() {
                    records.insert(record.offset, record.value.unwrap().to_vec());
                }
            }
            (records, gaps)
        })
    }
}

pub(super) fn value(offset: i64) -> Vec<u8> {
    format!("value {offset} ").repeat(3).into_bytes()
}

/// Appends a batch with these offsets.
pub(super) fn put(log: &mut Vec<u8>, options: BatchOptions, offsets: &[i64], last: i64) {
    let mut builder = BatchBuilder::new(options);
    for offset in offsets {
        let value = value(*offset);
        let record = Record {
            offset: *offset,
            timestamp: 1_000 + offset,
            control: false,
            key: None,
            value: Some(&value),
            headers: Headers::EMPTY,
        };
        builder.push(&record).unwrap();
    }
    builder.finish(last, log).unwrap();
}

pub(super) fn plain(codec: BatchCodec) -> BatchOptions {
    BatchOptions {
        codec,
        ..BatchOptions::default()
    }
}

pub(super) fn of_producer(id: i64) -> BatchOptions {
    BatchOptions {
        producer: Producer {
            id,
            epoch: 0,
            base_sequence: 0,
        },
        transactional: true,
        ..BatchOptions::default()
    }
}

/// Appends the marker of a producer's transaction.
pub(super) fn mark(log: &mut Vec<u8>, id: i64, offset: i64, commits: bool) {
    let start = log.len();
    let key = [0, 0, 0, u8::from(commits)];
    let mut builder = BatchBuilder::new(of_producer(id));
    let record = Record {
        offset,
        timestamp: 1_000,
        control: true,
        key: Some(&key),
        value: Some(&[0; 6]),
        headers: Headers::EMPTY,
    };
    builder.push(&record).unwrap();
    builder.finish(offset, log).unwrap();
    let batch = &mut log[start..];
    // The attribute of control batches, which kbk itself never writes.
    batch[22] |= 0x20;
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

pub(super) fn records(offsets: impl IntoIterator<Item = i64>) -> BTreeMap<i64, Vec<u8>> {
    offsets.into_iter().map(|it| (it, value(it))).collect()
}

pub(super) fn gap(from_offset: i64, to_offset: i64, reason: GapReason) -> Gap {
    Gap {
        from_offset,
        to_offset,
        reason,
    }
}
