//! Repositories in a temporary folder, and ways to damage them.

#[path = "../../../../tests/support/forged_index.rs"]
mod forged_index;

#[path = "../../../../tests/support/as_batches.rs"]
pub mod as_batches;

#[path = "../../../../tests/support/change.rs"]
pub mod change;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use kbk_format::repo::{
    AclBinding, Change, CommittedOffset, Digest, Digested, DonePartition, FULL_MAP_PAGE, FoundAcls,
    FoundGroups, GroupState, GroupTopic, Hex, Id, Identity, MapPage, MapRun, ParentRef,
    PartitionChange, PartitionId, Repository, RestoreDone, RestoreId, RestoreManifest,
    RestoreTargets, RestoredPartition, RestoredTopic, SegmentEntry, SegmentHash, Snapshot, Store,
    TargetPartition, TargetTopic, TopicChange, Uploaded,
};
use kbk_format::{
    Compression, FileHeader, GapReason, Headers, IsolationLevel, KeyFilterBits, PartitionNumber,
    Record, SegmentWriter, TimestampType, WriterOptions,
};
use serde_json::Value;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use as_batches::SegmentKind;
use change::{change, partition_change, topic_change};

/// Offset and timestamp of a record; key and value follow from them.
pub type Row = (i64, i64);

/// Small enough that a segment of a few hundred records has several blocks.
const BLOCK_BYTES: usize = 1024;

/// What a record holds; a key may be null.
pub type KeyAndValue = (Option<Vec<u8>>, Vec<u8>);

/// What the record at an offset holds, and whether it is a control record.
type Content = (fn(i64) -> KeyAndValue, fn(i64) -> bool);

/// A repository in a folder.
pub struct World {
    pub runtime: Runtime,
    pub folder: TempDir,
    pub repository: Repository,
    /// Raw bytes per block.
    block_bytes: usize,
    /// The key and the value of the record at an offset.
    pub content: fn(i64) -> KeyAndValue,
    /// Whether the record at an offset is a control record.
    pub is_control: fn(i64) -> bool,
    /// The key filter of a segment with this first offset.
    pub key_filter: fn(i64) -> Option<KeyFilterBits>,
    /// The id of a segment with this first offset: which blocks its key filter takes for those of a key by chance depends on that.
    pub segment_id: fn(i64) -> Id,
    /// What its segments hold their records as.
    kind: SegmentKind,
}

fn usual_content(offset: i64) -> KeyAndValue {
    (Some(key_of(offset)), value_of(offset))
}

impl World {
    pub fn new() -> World {
        World::with_blocks(BLOCK_BYTES)
    }

    /// Makes an empty repository whose segments have blocks of this size.
    pub fn with_blocks(block_bytes: usize) -> World {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let location = folder.path().join("repository");
        let store = Store::open_or_create(location.to_str().unwrap()).unwrap();
        let repository = runtime
            .block_on(Repository::create(store, Identity::fresh()))
            .unwrap();
        World {
            runtime,
            folder,
            repository,
            block_bytes,
            content: usual_content,
            is_control: |_| false,
            key_filter: |_| None,
            segment_id: |_| Id::random(),
            kind: SegmentKind::of_this_run(),
        }
    }

    /// Returns the same, empty world with segments of this kind.
    pub fn of_kind(self, kind: SegmentKind) -> World {
        World { kind, ..self }
    }

    /// Makes a repository with one snapshot of `orders` (two partitions of 600 records, three segments each)
    /// and `payments` (one segment), and a second snapshot with one segment more.
    pub fn sample() -> World {
        World::new().with_samples()
    }

    /// Adds the snapshots of [`sample`](Self::sample).
    pub fn with_samples(self) -> World {
        let world = self;
        let rows = |from: i64, to: i64| (from..to).map(|o| (o, 1_000 + o * 10)).collect::<Vec<_>>();
        let segments: Vec<_> = [(0, 200), (200, 400), (400, 600)]
            .map(|(from, to)| rows(from, to))
            .into();
        world.backup(&[
            ("orders", 0, segments.clone()),
            ("orders", 1, segments),
            ("payments", 0, vec![rows(0, 100)]),
        ]);
        world.backup_with(
            &[("payments", 0, vec![rows(100, 250)])],
            Some(world.groups()),
            Some(World::acls()),
        );
        world
    }

    /// Adds what a finished restore of one partition leaves: begun.json, done.json, and a map of two pages, the first one full.
    pub fn restore(&self, name: &str) -> [Digest; 2] {
        let restore: RestoreId = name.parse().unwrap();
        let place = place("orders", 1);
        let run = |n: i64| MapRun {
            source_offset: 10 * n,
            target_partition: 1.into(),
            target_offset: 9 * n,
            records: 9,
        };
        let full = FULL_MAP_PAGE as i64;
        let mut first = MapPage {
            restore: restore.clone(),
            topic: place.topic.clone(),
            topic_id: place.topic_id,
            partition: 1.into(),
            base_offset: 0,
            end_offset: 10 * full,
            previous: None,
            records: 9 * full as u64,
            runs: (0..full).map(run).collect(),
        };
        let pages = [first.clone(), {
            first.previous = Some(first.sha256());
            first.base_offset = 10 * full;
            first.end_offset += 9;
            first.records += 9;
            first.runs = vec![run(full)];
            first
        }];
        let restored = |partition| RestoredPartition {
            partition,
            base_offset: 0,
            end_offset: 1_000_000,
            target_partition: Some(partition),
        };
        // Nothing was restored into the first one, which already held 500 offsets.
        let target = |(partition, offset)| TargetPartition { partition, offset };
        let topic = RestoredTopic {
            topic: place.topic.clone(),
            topic_id: place.topic_id,
            target: "copies".parse().unwrap(),
            create: None,
            config_afterwards: BTreeMap::new(),
            purge: false,
            targets: [(0.into(), 500), (1.into(), 0)].map(target).into(),
            partitions: PartitionNumber::first(2).map(restored).collect(),
        };
        self.finish(restore, topic, &pages).try_into().unwrap()
    }

    /// Adds a finished restore with these pages as its offset maps, those of each partition in order.
    pub fn finish(
        &self,
        restore: RestoreId,
        topic: RestoredTopic,
        pages: &[MapPage],
    ) -> Vec<Digest> {
        let snapshot = self.latest();
        let begun = RestoreManifest::of_everything(
            restore.clone(),
            self.repository.identity().repository_id,
            ParentRef {
                sequence: snapshot.sequence,
                sha256: snapshot.sha256,
            },
            vec![topic],
        );
        let last: BTreeMap<PartitionNumber, &MapPage> =
            pages.iter().map(|page| (page.partition, page)).collect();
        let partition = |page: &MapPage| DonePartition {
            topic: page.topic.clone(),
            topic_id: page.topic_id,
            partition: page.partition,
            records: page.records,
            page: Some(page.sha256()),
        };
        let done = RestoreDone {
            restore,
            sequence: self
                .runtime
                .block_on(self.repository.next_restore_done())
                .unwrap(),
            finished_at: Timestamp::UNIX_EPOCH,
            records: last.values().map(|page| page.records).sum(),
            partitions: last.into_values().map(partition).collect(),
        };
        let topics = begun.topics.iter().map(|topic| TargetTopic {
            target: topic.target.clone(),
            topic_id: Id::ZERO,
        });
        let targets = RestoreTargets {
            restore: begun.restore.clone(),
            topics: topics.collect(),
        };
        let repository = &self.repository;
        self.runtime.block_on(async {
            repository.begin_restore(&begun).await.unwrap();
            repository.record_targets(&targets).await.unwrap();
            let digests = repository.write_map_pages(pages).await.unwrap();
            repository.finish_restore(&done).await.unwrap();
            digests
        })
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join("repository").join(key)
    }

    /// Adds a snapshot with these segments, each given by its records.
    pub fn backup(&self, partitions: &[(&str, u16, Vec<Vec<Row>>)]) -> Digested<Snapshot> {
        self.backup_with(partitions, None, None)
    }

    /// Makes two groups: one with committed offsets of `payments` and of a topic that is not stored, and one without any.
    fn groups(&self) -> FoundGroups {
        let topic = |name: &str, partition, offset| GroupTopic {
            topic: name.parse().unwrap(),
            topic_id: place(name, 0).topic_id,
            taken_at: None,
            partitions: vec![CommittedOffset {
                partition,
                offset,
                leader_epoch: None,
                metadata: "by\tus".into(),
            }],
        };
        let group = |name: &str, topics| GroupState {
            group: name.into(),
            r#type: Some("Classic".into()),
            state: None,
            taken_at: None,
            topics,
        };
        FoundGroups {
            taken_at: Timestamp::UNIX_EPOCH,
            groups: [
                group(
                    "billing",
                    vec![
                        topic("audit", 3.into(), 7),
                        topic("payments", 0.into(), 120),
                    ],
                ),
                group("idle", Vec::new()),
            ]
            .into(),
        }
    }

    /// Makes two ACLs, and one that the backup could not represent.
    pub fn acls() -> FoundAcls {
        let binding = |resource_name: &str, pattern_type: &str, permission_type: &str| AclBinding {
            resource_type: "TOPIC".into(),
            resource_name: resource_name.into(),
            pattern_type: pattern_type.into(),
            principal: "User:a\tb".into(),
            host: "*".into(),
            operation: "READ".into(),
            permission_type: permission_type.into(),
        };
        FoundAcls {
            taken_at: Timestamp::UNIX_EPOCH,
            authorizer: true,
            left_out: 1,
            acls: [
                binding("orders", "LITERAL", "ALLOW"),
                binding("pay", "PREFIXED", "DENY"),
            ]
            .into(),
        }
    }

    /// Adds a snapshot of a principal that may see neither configurations nor groups nor ACLs.
    pub fn backup_denied(&self, partitions: &[(&str, u16, Vec<Vec<Row>>)]) -> Digested<Snapshot> {
        self.committed(partitions, None, None, None)
    }

    pub fn backup_with(
        &self,
        partitions: &[(&str, u16, Vec<Vec<Row>>)],
        groups: Option<FoundGroups>,
        acls: Option<FoundAcls>,
    ) -> Digested<Snapshot> {
        // As a cluster states it of a topic without settings of its own.
        self.committed(partitions, Some(BTreeMap::new()), groups, acls)
    }

    fn committed(
        &self,
        partitions: &[(&str, u16, Vec<Vec<Row>>)],
        config: Option<BTreeMap<String, String>>,
        groups: Option<FoundGroups>,
        acls: Option<FoundAcls>,
    ) -> Digested<Snapshot> {
        let base = self.runtime.block_on(self.repository.latest()).unwrap();
        let mut topics: BTreeMap<&str, Vec<PartitionChange>> = BTreeMap::new();
        for (topic, partition, segments) in partitions {
            let place = place(topic, *partition);
            let segments: Vec<_> = segments
                .iter()
                .map(|rows| self.segment(&place, rows))
                .collect();
            let end = segments.last().map_or(0, |entry| entry.end_offset);
            let partitions = topics.entry(topic).or_default();
            partitions.push(partition_change((*partition).into(), end, segments));
        }
        let topic = |(name, partitions): (&str, Vec<PartitionChange>)| TopicChange {
            config: config.clone(),
            ..topic_change(&place(name, 0), partitions)
        };
        let change = Change {
            created_at: Timestamp::now(),
            groups,
            acls,
            ..change(base, topics.into_iter().map(topic).collect())
        };
        let committed = self.runtime.block_on(self.repository.commit(&change));
        committed.unwrap()
    }

    /// Stores a segment that covers exactly the offsets of these records.
    pub fn segment(&self, place: &PartitionId, rows: &[Row]) -> SegmentEntry {
        let options = WriterOptions {
            block_bytes: self.block_bytes,
            key_filter: (self.key_filter)(rows[0].0),
            ..options()
        };
        let content = (self.content, self.is_control);
        let id = (self.segment_id)(rows[0].0);
        let (entry, bytes) = segment_with((place, id), rows, options, content, self.kind);
        let path = self.path(&entry.key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        entry
    }

    pub fn latest(&self) -> Digested<Snapshot> {
        let latest = self.runtime.block_on(self.repository.latest());
        latest.unwrap().unwrap()
    }

    /// Returns the index entries of a partition in the latest snapshot.
    pub fn entries(&self, topic: &str, partition: u16) -> Vec<SegmentEntry> {
        let (snapshot, place) = (self.latest(), place(topic, partition));
        let state = snapshot.partition(&place).unwrap();
        let segments = self.repository.segments(&snapshot, &place, state);
        self.runtime.block_on(segments).unwrap()
    }

    /// Returns the key of every object, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(self.path("")).unwrap();
                    keys.push(key.to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// Changes the bytes of an object.
    pub fn harm(&self, key: &str, harm: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(key)).unwrap();
        harm(&mut bytes);
        fs::write(self.path(key), bytes).unwrap();
    }

    pub fn flip(&self, key: &str, position: usize) {
        self.harm(key, |bytes| bytes[position] ^= 0x10);
    }

    /// Returns the index of the latest snapshot, to be changed and written again.
    pub fn forged_index(&self) -> forged_index::ForgedIndex {
        forged_index::ForgedIndex::read(&self.path(""), self.latest().sequence)
    }

    /// Changes the row of a partition in the index of the latest snapshot.
    pub fn forge_partition(&self, topic: &str, partition: u16, change: impl FnOnce(&mut Value)) {
        let mut index = self.forged_index();
        change(index.rows_of("partition", topic, partition).next().unwrap());
        index.write();
    }

    /// Changes the rows of a partition's segments in the index of the latest snapshot.
    pub fn forge_segments(&self, topic: &str, partition: u16, change: impl Fn(usize, &mut Value)) {
        let mut index = self.forged_index();
        let segments = index.rows_of("segment", topic, partition);
        segments.enumerate().for_each(|(at, row)| change(at, row));
        index.write();
    }

    /// Returns the keys of the tables of the latest snapshot, the newest first.
    pub fn tables(&self) -> Vec<String> {
        let snapshot = self.latest();
        let tables = snapshot
            .runs
            .iter()
            .flat_map(|run| run.tables.iter().flatten());
        tables.map(|table| table.key().to_string()).collect()
    }

    /// Changes the latest snapshot, and seals it again.
    pub fn forge_snapshot(&self, change: impl FnOnce(&mut Value)) {
        let key = format!("snapshots/{:020}.json", self.latest().sequence);
        let mut value = self.json(&key);
        change(&mut value);
        fs::write(self.path(&key), sealed(value).0).unwrap();
    }

    fn json(&self, key: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(key)).unwrap()).unwrap()
    }
}

/// Returns the bytes of `value` as a sealed object, and its digest.
pub fn sealed(mut value: Value) -> (String, String) {
    value.as_object_mut().unwrap().remove("sha256");
    let text = value.to_string();
    let body = text.strip_suffix('}').unwrap();
    let digest: Digest = Hex(Sha256::digest(body).into());
    (
        format!("{body},\"sha256\":\"{digest}\"}}\n"),
        digest.to_string(),
    )
}

pub fn place(topic: &str, partition: u16) -> PartitionId {
    PartitionId {
        topic: topic.parse().unwrap(),
        topic_id: Hex([topic.len() as u8; 16]),
        partition: partition.into(),
    }
}

pub fn key_of(offset: i64) -> Vec<u8> {
    format!("key-{offset}").into_bytes()
}

pub fn value_of(offset: i64) -> Vec<u8> {
    format!(
        "value {} of offset {offset}",
        offset.wrapping_mul(0x9E37_79B9)
    )
    .into_bytes()
}

/// Makes a segment; returns its index entry and its bytes.
pub fn segment(place: &PartitionId, rows: &[Row]) -> (SegmentEntry, Vec<u8>) {
    let content: Content = (usual_content, |_| false);
    let kind = SegmentKind::of_this_run();
    segment_with((place, Id::random()), rows, options(), content, kind)
}

fn options() -> WriterOptions {
    WriterOptions {
        compression: Compression::Lz4,
        block_bytes: BLOCK_BYTES,
        key_filter: None,
    }
}

fn segment_with(
    (place, id): (&PartitionId, Id),
    rows: &[Row],
    options: WriterOptions,
    (content, is_control): Content,
    kind: SegmentKind,
) -> (SegmentEntry, Vec<u8>) {
    let base_offset = rows[0].0;
    let header = FileHeader {
        segment_id: id.0,
        topic_id: place.topic_id.0,
        topic: place.topic.to_string(),
        partition: place.partition,
        timestamp_type: TimestampType::CreateTime,
        isolation_level: IsolationLevel::ReadCommitted,
        base_offset,
        cluster_id: None,
        writer: Some("test".into()),
        created_at: None,
        compression: None,
    };
    let mut writer = SegmentWriter::new(Vec::new(), header, options).unwrap();
    for (offset, timestamp) in rows {
        let (key, value) = content(*offset);
        writer
            .push(&Record {
                offset: *offset,
                timestamp: *timestamp,
                control: is_control(*offset),
                key: key.as_deref(),
                value: Some(&value),
                headers: Headers::EMPTY,
            })
            .unwrap();
    }
    let end_offset = rows[rows.len() - 1].0 + 1;
    let (bytes, sealed) = writer.seal(end_offset, GapReason::NotDelivered).unwrap();
    let (bytes, sealed) = kind.convert(bytes, sealed);
    let uploaded = Uploaded {
        blake3: SegmentHash::of(&bytes),
        size: bytes.len() as u64,
    };
    let entry = SegmentEntry::new(place, &sealed, uploaded);
    (entry, bytes)
}
