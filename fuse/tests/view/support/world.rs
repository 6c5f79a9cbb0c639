//! A repository in memory, filled by commits of its test.

#[path = "../../../../tests/support/as_batches.rs"]
pub(crate) mod as_batches;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use kbk_format::repo::{
    Change, Digested, FoundGroups, Hex, Id, Identity, Incomplete, PartitionChange, PartitionId,
    Repository, SegmentEntry, SegmentHash, Snapshot, Store, TopicChange, Upkeep, Uploaded,
};
use kbk_format::{
    Compression, FileHeader, GapReason, IsolationLevel, KeyFilterBits, SegmentWriter,
    TimestampType, WriterOptions,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

use super::change::{change, partition_change, topic_change};
use super::records::Rec;
use as_batches::SegmentKind;

/// A segment of a partition: the offsets that it covers, and its records.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) offsets: Range<i64>,
    pub(crate) records: Vec<Rec>,
}

impl Part {
    /// One record per offset, a minute apart.
    pub(crate) fn plain(from: i64, to: i64) -> Part {
        let record = |offset: i64| Rec {
            offset,
            timestamp: offset * 60_000,
            key: Some(offset.to_string().into()),
            value: Some(vec![b'v'; 20]),
            ..Rec::default()
        };
        Part {
            offsets: from..to,
            records: (from..to).map(record).collect(),
        }
    }
}

/// What a backup adds to a partition: topic, topic id, partition, segments.
pub(crate) type Parts<'a> = (&'a str, u8, u16, Vec<Part>);

fn upkeep(command: &str) -> Upkeep {
    Upkeep {
        command: command.into(),
        detail: String::new(),
        writer: "test".into(),
        now: Timestamp::UNIX_EPOCH,
    }
}

/// A repository in memory.
pub(crate) struct World {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) repository: Repository,
    /// Raw bytes per block.
    pub(crate) block_bytes: usize,
    /// How many bytes too many each footer states for the text of the second block.
    pub(crate) overstated_bytes: u64,
    /// Whether segments state their hours.
    pub(crate) has_hours: bool,
    /// Who set the timestamps.
    pub(crate) timestamp_type: TimestampType,
    /// What the partitions of the backups lack.
    pub(crate) incomplete: Option<Incomplete>,
    /// Kafka's id of the topics; `None` makes it that of their history.
    pub(crate) kafka_id: Option<u8>,
    /// The time of the backups, in milliseconds.
    pub(crate) now_ms: i64,
    /// The id of all segments; `None` makes them random.
    pub(crate) segment_id: Option<Id>,
    /// The key filter of segments.
    pub(crate) key_filter: Option<KeyFilterBits>,
    /// What segments hold their records as.
    pub(crate) kind: SegmentKind,
}

impl World {
    pub(crate) async fn new() -> World {
        World::of(Identity::fresh()).await
    }

    pub(crate) async fn of(identity: Identity) -> World {
        let objects = Arc::new(InMemory::new());
        let store = Store::new(Arc::clone(&objects) as Arc<dyn ObjectStore>, "memory");
        World {
            repository: Repository::create(store, identity).await.unwrap(),
            objects,
            block_bytes: 700,
            overstated_bytes: 0,
            has_hours: true,
            timestamp_type: TimestampType::CreateTime,
            incomplete: None,
            kafka_id: None,
            now_ms: 4_000_000_000_000,
            segment_id: None,
            key_filter: None,
            kind: SegmentKind::of_this_run(),
        }
    }

    pub(crate) fn store(&self) -> Store {
        self.repository.store().clone()
    }

    /// Commits a snapshot that adds these segments.
    pub(crate) async fn backup(&self, partitions: &[Parts<'_>]) -> Digested<Snapshot> {
        self.backup_with(partitions, None, &[]).await
    }

    pub(crate) async fn backup_with(
        &self,
        partitions: &[Parts<'_>],
        groups: Option<FoundGroups>,
        gone: &[(&str, u8)],
    ) -> Digested<Snapshot> {
        let base = self.repository.latest().await.unwrap();
        let mut topics: BTreeMap<(&str, u8), Vec<PartitionChange>> = BTreeMap::new();
        for (topic, id, partition, parts) in partitions {
            let mut segments = Vec::new();
            for part in parts {
                segments.push(self.segment(&place(topic, *id, *partition), part).await);
            }
            let start = parts.first().map_or(0, |part| part.offsets.start);
            let end = parts.last().map_or(start, |part| part.offsets.end);
            topics
                .entry((topic, *id))
                .or_default()
                .push(PartitionChange {
                    log_start_offset: start,
                    incomplete: self.incomplete.clone(),
                    ..partition_change((*partition).into(), end, segments)
                });
        }
        let topic = |((name, id), partitions): ((&str, u8), Vec<PartitionChange>)| TopicChange {
            kafka_id: Some(Hex([self.kafka_id.unwrap_or(id); 16])),
            config: Some(BTreeMap::from([("retention.ms".into(), "1000".into())])),
            ..topic_change(&place(name, id, 0), partitions)
        };
        let gone = gone
            .iter()
            .map(|(name, id)| (name.parse().unwrap(), Hex([*id; 16])));
        let change = Change {
            created_at: Timestamp::from_millisecond(self.now_ms).unwrap(),
            gone: gone.collect(),
            groups,
            ..change(base, topics.into_iter().map(topic).collect())
        };
        self.repository.commit(&change).await.unwrap()
    }

    /// Expires the first segments of all partitions whose records are all older than a timestamp.
    pub(crate) async fn expire(&self, older_than: i64) -> u64 {
        let newest = self.repository.latest().await.unwrap().unwrap();
        let mut plan = Vec::new();
        for topic in &newest.topics {
            for state in &topic.partitions {
                let id = topic.partition_id(state.partition);
                let planned = self.repository.plan_expiry(&newest, id, state, older_than);
                plan.push(planned.await.unwrap());
            }
        }
        let upkeep = upkeep("expire");
        let expired = self.repository.expire(&plan, &upkeep).await;
        expired.unwrap().unwrap()
    }

    /// Forgets a snapshot.
    pub(crate) async fn forget(&self, sequence: u64) {
        let plan = self.repository.plan_forget([sequence].into()).await;
        let (plan, upkeep) = (plan.unwrap(), upkeep("forget"));
        let forgotten = self.repository.forget(&plan, &upkeep).await;
        assert!(forgotten.unwrap().snapshot.is_some());
    }

    /// Copies the objects that another repository lacks.
    pub(crate) async fn copy_into(&self, other: &World) {
        let mut objects = self.objects.list(None);
        while let Some(object) = objects.next().await {
            let key = object.unwrap().location;
            let bytes = self.objects.get(&key).await.unwrap().bytes().await.unwrap();
            let created = other
                .objects
                .put_opts(&key, bytes.into(), PutMode::Create.into());
            assert!(matches!(
                created.await,
                Ok(_) | Err(object_store::Error::AlreadyExists { .. })
            ));
        }
    }

    async fn segment(&self, place: &PartitionId, part: &Part) -> SegmentEntry {
        let header = FileHeader {
            segment_id: self.segment_id.unwrap_or_else(Id::random).0,
            topic_id: place.topic_id.0,
            topic: place.topic.to_string(),
            partition: place.partition,
            timestamp_type: self.timestamp_type,
            isolation_level: IsolationLevel::ReadCommitted,
            base_offset: part.offsets.start,
            cluster_id: None,
            writer: None,
            created_at: None,
            compression: None,
        };
        let options = WriterOptions {
            compression: Compression::Zstd(1),
            block_bytes: self.block_bytes,
            key_filter: self.key_filter,
        };
        let mut writer = SegmentWriter::new(Vec::new(), header, options).unwrap();
        for record in &part.records {
            record.with_record(|record| writer.push(record)).unwrap();
        }
        let (mut bytes, mut sealed) = writer
            .seal(part.offsets.end, GapReason::NotDelivered)
            .unwrap();
        // What is stated wrongly on purpose is stated.
        if self.overstated_bytes == 0 && self.has_hours {
            (bytes, sealed) = self.kind.convert(bytes, sealed);
        }
        if self.overstated_bytes > 0 {
            state_other_sizes(&mut bytes, self.overstated_bytes);
            sealed.rendered.as_mut().unwrap()[0] += self.overstated_bytes;
        }
        if !self.has_hours {
            hide_hours(&mut bytes);
        }
        let uploaded = Uploaded {
            blake3: SegmentHash::of(&bytes),
            size: bytes.len() as u64,
        };
        let entry = SegmentEntry::new(place, &sealed, uploaded);
        self.objects
            .put(&Path::from(entry.key.as_str()), bytes.into())
            .await
            .unwrap();
        entry
    }
}

pub(crate) fn place(topic: &str, id: u8, partition: u16) -> PartitionId {
    PartitionId {
        topic: topic.parse().unwrap(),
        topic_id: Hex([id; 16]),
        partition: partition.into(),
    }
}

/// Makes a footer state a longer text for the second block of `records.jsonl`. All checksums match.
fn state_other_sizes(bytes: &mut [u8], more: u64) {
    let (section, blocks) = section(bytes, 5);
    for block in 1..blocks {
        let at = section + 16 + 8 + 8 * block;
        let end = number(bytes, at, 8) + more;
        bytes[at..at + 8].copy_from_slice(&end.to_le_bytes());
    }
    hide_hours(bytes);
}

/// Gives the hours section a type that no reader knows, and makes all checksums match.
fn hide_hours(bytes: &mut [u8]) {
    let (section, _) = section(bytes, 7);
    bytes[section..section + 4].copy_from_slice(&77u32.to_le_bytes());
    let trailer = bytes.len() - 64;
    let footer = number(bytes, trailer, 8) as usize;
    let crc = crc32c::crc32c(&bytes[footer..trailer]);
    bytes[trailer + 20..trailer + 24].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[trailer..trailer + 52]);
    bytes[trailer + 52..trailer + 56].copy_from_slice(&crc.to_le_bytes());
}

/// The position of a section of the footer, and the number of blocks.
fn section(bytes: &[u8], kind: u64) -> (usize, usize) {
    let trailer = bytes.len() - 64;
    let mut section = number(bytes, trailer, 8) as usize;
    while number(bytes, section, 4) != kind {
        let length = number(bytes, section + 8, 8) as usize;
        section += (16 + length).next_multiple_of(8);
    }
    (section, number(bytes, trailer + 40, 4) as usize)
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let digits = bytes[at..at + length].iter().rev();
    digits.fold(0, |sum: u64, digit| sum << 8 | u64::from(*digit))
}
