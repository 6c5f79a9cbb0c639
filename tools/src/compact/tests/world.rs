//! A repository of random segments, and what it must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::StreamExt;
use jiff::Timestamp;
use kbk_format::repo::{
    Change, Digested, Hex, Id, Identity, LostRange, PartitionChange, PartitionId, RepoError,
    Repository, SegmentEntry, SegmentHash, SegmentReader, Snapshot, Store, StoreProfile,
    TopicChange, Uploaded,
};
use kbk_format::{
    BlockDecoder, Columns, Compression, FileHeader, Gap, GapReason, Header, Headers,
    IsolationLevel, KeyFilter, KeyFilterBits, SegmentSummary, SegmentWriter, Streams,
    TimestampType, WriterOptions,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

pub(crate) use super::model::{Model, Record};
use crate::compact::{CompactOptions, CompactReport, KeyFilters, compact};
use crate::maintenance::{MaintenanceError, MaintenanceOptions};
use crate::testing::as_batches::SegmentKind;
use crate::testing::change::{change, partition_change, topic_change};
use crate::testing::faulty::{Faults, FaultyStore, Withheld};
use crate::testing::lying::Lying;
use crate::testing::random::Random;
use crate::verify::{VerifyDepth, VerifyOptions, verify};

const PARTITIONS: u16 = 3;

/// The segments of each partition.
pub(crate) type Segments = BTreeMap<PartitionId, Vec<SegmentEntry>>;

pub(crate) fn id(partition: u16) -> PartitionId {
    PartitionId {
        topic: "t".parse().unwrap(),
        topic_id: Hex([7; 16]),
        partition: partition.into(),
    }
}

pub(crate) fn options() -> CompactOptions {
    CompactOptions {
        segment_bytes: 1 << 20,
        block_bytes: 500,
        compression: None,
        key_filters: KeyFilters::Kept,
        older_than: None,
        keep: None,
        key_memory: 1 << 20,
        run: MaintenanceOptions {
            dry_run: false,
            writer: "test".to_owned(),
            policy: "test".to_owned(),
            now: Timestamp::UNIX_EPOCH,
        },
    }
}

pub(crate) struct World {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) model: BTreeMap<PartitionId, Model>,
    pub(crate) keys: u64,
    /// What its segments hold their records as.
    pub(crate) kind: SegmentKind,
}

impl World {
    /// Makes a repository of a few backups.
    pub(crate) async fn random(seed: u64) -> World {
        World::random_of(seed, SegmentKind::of_this_run()).await
    }

    /// Makes the same with segments of this kind.
    pub(crate) async fn random_of(seed: u64, kind: SegmentKind) -> World {
        let mut world = World::empty(1 + seed % 40).await;
        world.kind = kind;
        for round in 0..3 {
            world.backup(seed * 10 + round).await;
        }
        world
    }

    /// Makes one with many keys in few segments.
    pub(crate) async fn with_keys(seed: u64, keys: u64) -> World {
        let mut world = World::empty(keys).await;
        for round in 0..40 {
            world.backup(seed * 100 + round).await;
        }
        world
    }

    /// Makes one of a single partition, which has this segment.
    pub(crate) async fn of_segment(segment: (Vec<u8>, SegmentSummary)) -> World {
        let world = World::empty(1).await;
        let entry = world.put(&id(0), segment).await;
        let mut change = world.prepare_backup(1).await.change;
        let partitions = &mut change.topics[0].partitions;
        partitions.truncate(1);
        partitions[0].high_watermark = entry.end_offset;
        partitions[0].last_stable_offset = entry.end_offset;
        partitions[0].lost.clear();
        partitions[0].segments = vec![entry];
        world.open().await.commit(&change).await.unwrap();
        world
    }

    async fn empty(keys: u64) -> World {
        let world = World {
            objects: Arc::new(InMemory::new()),
            model: BTreeMap::new(),
            keys,
            kind: SegmentKind::of_this_run(),
        };
        let store = world.store(0, None, Random::new(1));
        Repository::create(store, Identity::fresh()).await.unwrap();
        world
    }

    pub(crate) fn store(&self, percent: u64, calls: Option<u64>, random: Random) -> Store {
        let objects = FaultyStore {
            objects: Arc::clone(&self.objects),
            faults: Faults::new(random, percent, calls),
            meanwhile: Arc::default(),
        };
        Store::new(Arc::new(objects), "memory").with_profile(profile())
    }

    pub(crate) async fn open(&self) -> Repository {
        let store = self.store(0, None, Random::new(1));
        Repository::open(store).await.unwrap()
    }

    /// Opens a store that does not return some of its objects.
    pub(crate) fn store_without(&self, withheld: Withheld) -> Store {
        let faults = Faults::new(Random::new(1), 0, None);
        faults.lock().unwrap().withhold(withheld);
        let objects = FaultyStore {
            objects: Arc::clone(&self.objects),
            faults,
            meanwhile: Arc::default(),
        };
        Store::new(Arc::new(objects), "memory").with_profile(profile())
    }

    pub(crate) async fn open_without(&self, withheld: Withheld) -> Repository {
        let store = self.store_without(withheld);
        Repository::open(store).await.unwrap()
    }

    pub(crate) async fn latest(&self) -> Digested<Snapshot> {
        self.open().await.latest().await.unwrap().unwrap()
    }

    pub(crate) async fn compact(
        &self,
        options: &CompactOptions,
    ) -> Result<CompactReport, MaintenanceError> {
        let snapshot = self.latest().await;
        self.compact_of(&snapshot, options).await
    }

    /// Compacts on a store that does not return some of its objects.
    pub(crate) async fn compact_without(
        &self,
        options: &CompactOptions,
        withheld: Withheld,
    ) -> Result<CompactReport, MaintenanceError> {
        let snapshot = self.latest().await;
        run(&self.open_without(withheld).await, &snapshot, options).await
    }

    pub(crate) async fn compact_of(
        &self,
        snapshot: &Snapshot,
        options: &CompactOptions,
    ) -> Result<CompactReport, MaintenanceError> {
        run(&self.open().await, snapshot, options).await
    }

    /// Compacts on a store of which some calls fail, or all after some number.
    pub(crate) async fn compact_faulty(
        &self,
        options: &CompactOptions,
        percent: u64,
        calls: Option<u64>,
    ) -> Result<CompactReport, MaintenanceError> {
        let snapshot = self.latest().await;
        let store = self.store(percent, calls, Random::new(percent + calls.unwrap_or(0)));
        let repository = Repository::open(store).await?;
        run(&repository, &snapshot, options).await
    }

    /// Compacts on a store that returns other bytes of what was written last.
    pub(crate) async fn compact_lying(
        &self,
        options: &CompactOptions,
    ) -> Result<CompactReport, MaintenanceError> {
        let snapshot = self.latest().await;
        run(&self.open_lying().await, &snapshot, options).await
    }

    /// Opens a store that returns other bytes of what is written from now on.
    pub(crate) async fn open_lying(&self) -> Repository {
        let known = self.keys().await;
        let objects = Lying {
            objects: Arc::clone(&self.objects),
            known,
        };
        let mut profile = profile();
        // By one request.
        profile.upload.whole_below = 1 << 20;
        let store = Store::new(Arc::new(objects), "memory").with_profile(profile);
        Repository::open(store).await.unwrap()
    }

    /// Makes the model what these options ask for.
    /// `segments` are those before.
    pub(crate) fn apply(&mut self, options: &CompactOptions, segments: &Segments) -> u64 {
        let Some(keep) = options.keep else { return 0 };
        let mut tombstones = 0;
        for (id, model) in &mut self.model {
            let is_old = |it: &&SegmentEntry| {
                options.older_than.is_none_or(|moment| {
                    let is_dated = match it.is_computed() {
                        true => it.min_known_timestamp.is_some(),
                        false => it.max_timestamp != -1,
                    };
                    it.records == 0 || it.max_timestamp < moment && is_dated
                })
            };
            let old = segments[id].iter().take_while(is_old).last();
            let end = old.map_or(0, |it| it.end_offset);
            tombstones += model.keep_latest(end, keep.tombstones_from);
        }
        tombstones
    }

    /// Appends random segments to all partitions.
    pub(crate) async fn backup(&mut self, seed: u64) {
        let prepared = self.prepare_backup(seed).await;
        self.commit(prepared).await.unwrap();
    }

    pub(crate) async fn commit(&mut self, prepared: Prepared) -> Result<(), RepoError> {
        let repository = self.open().await;
        repository.commit(&prepared.change).await?;
        for (id, added) in prepared.added {
            let model = self.model.entry(id).or_default();
            model.records.extend(added.records);
            model.gaps.extend(added.gaps);
            model.end = added.end;
        }
        Ok(())
    }

    /// Writes random segments, and returns what would commit them.
    pub(crate) async fn prepare_backup(&self, seed: u64) -> Prepared {
        let mut random = Random::new(seed + 77);
        let base = self.open().await.latest().await.unwrap();
        let mut added = Vec::new();
        let mut partitions = Vec::new();
        for partition in 0..PARTITIONS {
            let id = id(partition);
            let mut at = self.model.get(&id).map_or(0, |model| model.end);
            let mut model = Model::default();
            let mut segments = Vec::new();
            let mut lost = Vec::new();
            for _ in 0..1 + random.below(4) {
                let segment = self.segment(&mut random, &id, at, &mut model, &mut lost);
                let segment = segment.await;
                at = segment.end_offset;
                segments.push(segment);
            }
            model.end = at;
            added.push((id, model));
            partitions.push(PartitionChange {
                lost,
                ..partition_change(partition.into(), at, segments)
            });
        }
        let topic = TopicChange {
            kafka_id: None,
            ..topic_change(&id(0), partitions)
        };
        Prepared {
            change: change(base, vec![topic]),
            added,
        }
    }

    /// Writes a segment of random records, gaps, types and compression.
    async fn segment(
        &self,
        random: &mut Random,
        id: &PartitionId,
        base_offset: i64,
        model: &mut Model,
        lost: &mut Vec<LostRange>,
    ) -> SegmentEntry {
        let segment_id = Id::random();
        let timestamp_type = match random.one_in(4) {
            true => TimestampType::LogAppendTime,
            false => TimestampType::CreateTime,
        };
        let cluster_id = random.one_in(6).then(|| "other".to_owned());
        let header = FileHeader {
            segment_id: segment_id.0,
            topic_id: id.topic_id.0,
            topic: id.topic.to_string(),
            partition: id.partition,
            timestamp_type,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset,
            cluster_id,
            writer: None,
            created_at: None,
            compression: None,
        };
        let compressions = [Compression::None, Compression::Lz4, Compression::Zstd(1)];
        let options = WriterOptions {
            compression: compressions[random.below(3) as usize],
            block_bytes: 40 + random.below(400) as usize,
            key_filter: random.one_in(4).then(KeyFilterBits::default),
        };
        let mut writer = SegmentWriter::new(Vec::new(), header, options).unwrap();
        let end = base_offset + 1 + random.below(60) as i64;
        let reasons = [
            GapReason::NotDelivered,
            GapReason::Transaction,
            GapReason::Lost,
            GapReason::Unknown,
            GapReason::Damaged,
        ];
        let default_reason = reasons[random.below(5) as usize];
        // A segment in a few has no record at all.
        let records_in_100 = if random.one_in(10) {
            0
        } else {
            30 + random.below(71)
        };
        let mut at = base_offset;
        while at < end {
            if random.below(100) < records_in_100 {
                let record = self.record(random, timestamp_type);
                writer
                    .push(&borrowed(at, &record, &headers(&record)))
                    .unwrap();
                model.records.insert(at, record);
                at += 1;
            } else if random.one_in(2) {
                let gap = Gap {
                    from_offset: at,
                    to_offset: end.min(at + 1 + random.below(4) as i64),
                    reason: reasons[random.below(5) as usize],
                };
                writer.name_gap(gap).unwrap();
                for offset in gap.from_offset..gap.to_offset {
                    model.gaps.insert(offset, gap.reason);
                }
                if gap.reason == GapReason::Lost {
                    let (from, to) = (gap.from_offset, gap.to_offset);
                    lost.push(LostRange::deleted(from, to));
                }
                at = gap.to_offset;
            } else {
                model.gaps.insert(at, default_reason);
                at += 1;
            }
        }
        let (bytes, summary) = writer.seal(end, default_reason).unwrap();
        self.put(id, self.kind.convert(bytes, summary)).await
    }

    async fn put(
        &self,
        id: &PartitionId,
        (bytes, summary): (Vec<u8>, SegmentSummary),
    ) -> SegmentEntry {
        let uploaded = Uploaded {
            blake3: SegmentHash::of(&bytes),
            size: bytes.len() as u64,
        };
        let entry = SegmentEntry::new(id, &summary, uploaded);
        let path = Path::from(entry.key.as_str());
        self.objects.put(&path, bytes.into()).await.unwrap();
        entry
    }

    fn record(&self, random: &mut Random, timestamp_type: TimestampType) -> Record {
        let key = match random.below(8) {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("key {}", random.below(self.keys)).into_bytes()),
        };
        let value = match random.below(5) {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(vec![b'v'; random.below(60) as usize]),
        };
        let timestamp = match random.below(10) {
            0 => -1,
            _ => random.below(1_500) as i64,
        };
        let headers = match random.below(4) {
            0 => vec![(b"a".to_vec(), None), (b"a".to_vec(), Some(vec![0xff]))],
            _ => Vec::new(),
        };
        Record {
            timestamp,
            timestamp_type,
            key,
            value,
            headers,
        }
    }

    /// Returns the segments of the newest snapshot.
    pub(crate) async fn segments(&self) -> Segments {
        let mut segments = BTreeMap::new();
        for partition in 0..PARTITIONS {
            segments.insert(id(partition), self.entries_of(&id(partition)).await);
        }
        segments
    }

    pub(crate) async fn entries_of(&self, id: &PartitionId) -> Vec<SegmentEntry> {
        let (repository, snapshot) = (self.open().await, self.latest().await);
        let state = snapshot.partition(id).unwrap();
        repository.segments(&snapshot, id, state).await.unwrap()
    }

    /// Returns what the newest snapshot holds.
    pub(crate) async fn read(&self) -> BTreeMap<PartitionId, Model> {
        let mut found = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let id = id(partition);
            let mut model = Model::default();
            for entry in self.entries_of(&id).await {
                self.read_segment(&id, &entry, &mut model).await;
                model.end = entry.end_offset;
            }
            found.insert(id, model);
        }
        found
    }

    async fn read_segment(&self, id: &PartitionId, entry: &SegmentEntry, model: &mut Model) {
        let repository = self.open().await;
        let (reader, bytes) = SegmentReader::open_whole(repository.store(), id, entry)
            .await
            .unwrap();
        let segment = reader.segment();
        let (mut decoder, mut columns) = (BlockDecoder::new(), Columns::new());
        let start = segment.file_header_length() as usize;
        let blocks = 0..segment.index().entries().len();
        let before = model.records.len();
        for block in segment.blocks(blocks, &bytes[start..]) {
            let block = block.unwrap();
            block
                .decode(&mut decoder, Streams::All, &mut columns)
                .unwrap();
            for record in columns.iter() {
                let headers = record.headers.clone();
                let headers = headers.map(|it| (it.name.to_vec(), it.value.map(<[u8]>::to_vec)));
                let owned = Record {
                    timestamp: record.timestamp,
                    timestamp_type: segment.header().timestamp_type,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: headers.collect(),
                };
                model.records.insert(record.offset, owned);
            }
        }
        let read = (model.records.len() - before) as u64;
        assert_eq!(read, entry.records);
        for offset in segment.coverage() {
            if !model.records.contains_key(&offset) {
                model.gaps.insert(offset, segment.gaps().reason(offset));
            }
        }
    }

    /// Compares everything with the model, and verifies every byte.
    pub(crate) async fn check(&self, seed: u64) {
        let found = self.read().await;
        for (id, model) in &self.model {
            let found = &found[id];
            assert_eq!(found.records, model.records, "seed {seed}: {id}");
            assert_eq!(found.gaps, model.gaps, "seed {seed}: {id}");
        }
        let repository = self.open().await;
        let options = VerifyOptions {
            snapshots: repository.sequences().await.unwrap(),
            depth: VerifyDepth::Hash,
            accept_lost: true,
            ..VerifyOptions::default()
        };
        let report = verify(&repository, &options, Arc::new(|_: u64| ())).await;
        assert!(report.is_intact(), "seed {seed}: {:?}", report.findings);
        let snapshot = self.latest().await;
        for (id, model) in &self.model {
            let state = snapshot.partition(id).unwrap();
            let compacted = model.gaps.values();
            let compacted = compacted.filter(|it| **it == GapReason::Compacted).count() as u64;
            assert_eq!(state.compacted_records(), compacted, "seed {seed}: {id}");
        }
    }

    /// Checks which segments have a key filter after all of them were compacted.
    pub(super) async fn check_key_filters(&self, wanted: KeyFilters) {
        let repository = self.open().await;
        for partition in 0..PARTITIONS {
            let id = id(partition);
            for entry in self.entries_of(&id).await {
                let reader = SegmentReader::open(repository.store(), &id, &entry).await;
                let reader = reader.unwrap();
                let found = reader.segment().key_filter().map(KeyFilter::target);
                let holds = match wanted {
                    KeyFilters::Kept => true,
                    KeyFilters::All(None) => found.is_some(),
                    KeyFilters::All(Some(bits)) => found == Some(bits),
                    KeyFilters::Dropped => found.is_none(),
                };
                assert!(holds, "{found:?}, {wanted:?}");
            }
        }
    }

    /// Damages some segments of the newest snapshot in their blocks, and returns their keys.
    pub(crate) async fn harm(&self, random: &mut Random) -> BTreeSet<String> {
        let mut harmed = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let all = self.entries_of(&id(partition)).await;
            let with_records: Vec<_> = all.iter().filter(|it| it.records > 3).collect();
            for _ in 0..random.below(3) {
                let Some(entry) =
                    with_records.get(random.below(1 + with_records.len() as u64) as usize)
                else {
                    continue;
                };
                let repository = self.open().await;
                let opened =
                    SegmentReader::open_whole(repository.store(), &id(partition), entry).await;
                // One whose footer is damaged already stays as it is; so does one that is harmed: the same bit twice would be no harm.
                let Some((reader, bytes)) = opened.ok().filter(|_| !harmed.contains(&entry.key))
                else {
                    continue;
                };
                harmed.insert(entry.key.clone());
                let mut bytes = bytes.to_vec();
                // Anywhere in its blocks, and not in its key filter, which is made anew.
                let index = reader.segment().index();
                let blocks = index.range(0..index.entries().len()).unwrap();
                let at = (blocks.start + random.below(blocks.end - blocks.start)) as usize;
                bytes[at] ^= 1 << random.below(8);
                let path = Path::from(entry.key.as_str());
                self.objects.put(&path, bytes.into()).await.unwrap();
            }
        }
        harmed
    }

    /// Returns the records of the newest snapshot's segments but for these.
    pub(crate) async fn read_intact(
        &self,
        harmed: &BTreeSet<String>,
    ) -> BTreeMap<PartitionId, BTreeMap<i64, Record>> {
        let mut found = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let id = id(partition);
            let mut model = Model::default();
            for entry in self.entries_of(&id).await {
                if !harmed.contains(&entry.key) {
                    self.read_segment(&id, &entry, &mut model).await;
                }
            }
            found.insert(id, model.records);
        }
        found
    }

    pub(crate) async fn keys(&self) -> BTreeSet<String> {
        let listed: Vec<_> = self.objects.list(None).collect().await;
        let keys = listed
            .into_iter()
            .map(|it| it.unwrap().location.to_string());
        keys.collect()
    }
}

async fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &CompactOptions,
) -> Result<CompactReport, MaintenanceError> {
    let topics = snapshot.topics.iter();
    let topics = topics.map(|it| (it.name.clone(), it.topic_id)).collect();
    compact(repository, snapshot, &topics, options, Arc::new(())).await
}

/// Small, so that segments have several ranges, and some of them parts.
fn profile() -> StoreProfile {
    let mut profile = StoreProfile::remote();
    profile.range_bytes = 700;
    profile.upload.whole_below = 900;
    profile.upload.part_bytes = 500;
    profile
}

fn headers(record: &Record) -> Vec<Header<'_>> {
    let headers = record.headers.iter();
    headers
        .map(|(name, value)| Header {
            name,
            value: value.as_deref(),
        })
        .collect()
}

fn borrowed<'a>(
    offset: i64,
    record: &'a Record,
    headers: &'a [Header<'a>],
) -> kbk_format::Record<'a> {
    kbk_format::Record {
        offset,
        timestamp: record.timestamp,
        control: false,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: Headers::Slice(headers),
    }
}

/// What a backup is going to commit.
pub(crate) struct Prepared {
    change: Change,
    added: Vec<(PartitionId, Model)>,
}
