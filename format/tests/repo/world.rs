//! A small cluster to back up: topics that grow, a backup of them, and a check that nothing is missing.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;
use kbk_format::repo::{
    AclBinding, Change, CommittedOffset, Digested, FoundAcls, FoundGroups, GroupState, GroupTopic,
    Hex, Id, Identity, Key, PartitionId, RepoError, Repository, Result, SegmentEntry, SegmentHash,
    SegmentUpload, Snapshot, Store, TopicChange, TopicName, UploadBuffers,
};
use kbk_format::{PartitionNumber, TimestampType};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tokio::runtime::Runtime;

use crate::change::{change, partition_change, topic_change};

/// The cluster: for each topic its id and the offsets at which its partitions end.
pub(crate) type Cluster = BTreeMap<&'static str, (u8, Vec<i64>)>;

pub(crate) fn cluster(topics: &[(&'static str, u8, &[i64])]) -> Cluster {
    let topic = |&(name, id, ends): &(&'static str, u8, &[i64])| (name, (id, ends.to_vec()));
    topics.iter().map(topic).collect()
}

pub(crate) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// A store without the flushes of [`Store::open`]: what they guard against cannot be observed by a test.
pub(crate) fn local(folder: &tempfile::TempDir) -> Arc<dyn ObjectStore> {
    Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap())
}

pub(crate) fn store(objects: &Arc<dyn ObjectStore>) -> Store {
    Store::new(Arc::clone(objects), "test://repository")
}

pub(crate) fn identity() -> Identity {
    Identity {
        repository_id: Hex([9; 16]),
        created_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn name(topic: &str) -> TopicName {
    topic.parse().unwrap()
}

pub(crate) fn partition_id(topic: &str, id: u8, partition: u16) -> PartitionId {
    PartitionId {
        topic: name(topic),
        topic_id: Hex([id; 16]),
        partition: partition.into(),
    }
}

/// Creates a change that looked at all of `cluster` and has stored nothing yet.
pub(crate) fn look(base: Option<Digested<Snapshot>>, cluster: &Cluster) -> Change {
    let partition = |(at, end): (u16, &i64)| partition_change(at.into(), *end, Vec::new());
    let topics = cluster.iter().map(|(topic, (id, ends))| TopicChange {
        config: Some(BTreeMap::from([("retention.ms".into(), "1000".into())])),
        ..topic_change(
            &partition_id(topic, *id, 0),
            (0..).zip(ends).map(partition).collect(),
        )
    });
    change(base, topics.collect())
}

/// Creates groups that were read at `second`; each has committed offsets of two partitions of one topic.
pub(crate) fn groups(second: i64, names: &[&str]) -> Option<FoundGroups> {
    let committed = |partition| CommittedOffset {
        partition,
        offset: second,
        leader_epoch: (partition > PartitionNumber::ZERO).then_some(3),
        metadata: "\u{0}\"größe\"".into(),
    };
    let group = |group: &&str| GroupState {
        group: (*group).into(),
        r#type: Some("Classic".into()),
        state: None,
        taken_at: None,
        topics: vec![GroupTopic {
            topic: name("elsewhere"),
            topic_id: Hex([7; 16]),
            taken_at: None,
            partitions: vec![committed(0.into()), committed(4.into())],
        }],
    };
    Some(FoundGroups {
        taken_at: Timestamp::from_second(second).unwrap(),
        groups: names.iter().map(group).collect(),
    })
}

pub(crate) fn acls(second: i64, principals: &[&str]) -> Option<FoundAcls> {
    let binding = |principal: &&str| AclBinding {
        resource_type: "TOPIC".into(),
        resource_name: "größe \"*\"".into(),
        pattern_type: "PREFIXED".into(),
        principal: (*principal).into(),
        host: "*".into(),
        operation: "READ".into(),
        permission_type: "DENY".into(),
    };
    Some(FoundAcls {
        taken_at: Timestamp::from_second(second).unwrap(),
        authorizer: true,
        left_out: 1,
        acls: principals.iter().map(binding).collect(),
    })
}

/// Creates an entry and its bytes. The content of a segment does not matter here: every offset is one record of 8 bytes.
pub(crate) fn entry(
    partition: &PartitionId,
    base_offset: i64,
    end_offset: i64,
) -> (SegmentEntry, Vec<u8>) {
    let bytes: Vec<u8> = (base_offset..end_offset)
        .flat_map(i64::to_le_bytes)
        .collect();
    let segment_id = Id::random();
    let entry = SegmentEntry {
        key: Key::segment(partition, base_offset, &segment_id).to_string(),
        segment_id,
        size: bytes.len() as u64,
        footer_position: bytes.len() as u64 - 1,
        blake3: SegmentHash::of(&bytes),
        base_offset,
        end_offset,
        min_timestamp: Some(-1),
        max_timestamp: i64::MAX,
        min_known_timestamp: Some(0),
        records: (end_offset - base_offset) as u64,
        raw_bytes: bytes.len() as u64,
        timestamp_type: TimestampType::CreateTime,
        content_digest: Some(Id::ZERO),
        rendered: None,
        whole_lines: None,
        key_filter: false,
        batches: false,
    };
    (entry, bytes)
}

/// Stores everything that is new in `cluster`, in two segments per partition where possible, and commits it with groups and ACLs.
pub(crate) fn backup(
    runtime: &Runtime,
    repository: &Repository,
    base: Option<Digested<Snapshot>>,
    cluster: &Cluster,
) -> Result<Digested<Snapshot>> {
    let mut change = look(base, cluster);
    change.groups = groups(9, &["g", "h"]);
    change.acls = acls(9, &["User:a", "User:b"]);
    for topic in &mut change.topics {
        for partition in &mut topic.partitions {
            let id = PartitionId {
                topic: topic.name.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
            };
            let before = change.base.as_ref().and_then(|base| base.partition(&id));
            let from = before.map_or(0, |state| state.end_offset);
            let to = partition.high_watermark;
            let middle = from + (to - from) / 2;
            for (from, to) in [(from, middle), (middle, to)] {
                if from < to {
                    let entry = store_segment(runtime, repository, &id, from, to)?;
                    partition.segments.push(entry);
                }
            }
        }
    }
    runtime.block_on(repository.commit(&change))
}

fn store_segment(
    runtime: &Runtime,
    repository: &Repository,
    partition: &PartitionId,
    from: i64,
    to: i64,
) -> Result<SegmentEntry> {
    let (entry, bytes) = entry(partition, from, to);
    let key = Key::parse(&entry.key).unwrap();
    let buffers = UploadBuffers {
        whole_below: 0,
        part_bytes: 16,
        parts_in_flight: 2,
        any_part_size: false,
    };
    let store = repository.store();
    let mut upload = SegmentUpload::start(store, key, runtime.handle().clone(), buffers)?;
    upload
        .write_all(&bytes)
        .map_err(|error| error.downcast::<RepoError>().unwrap())?;
    let uploaded = runtime.block_on(upload.complete())?;
    assert_eq!((uploaded.size, uploaded.blake3), (entry.size, entry.blake3));
    Ok(entry)
}

/// Reads everything that every snapshot names, down to the bytes of the segments, and returns the
/// newest one's sequence and the ends of its partitions.
pub(crate) async fn check_whole(
    objects: &Arc<dyn ObjectStore>,
) -> (u64, BTreeMap<PartitionId, i64>) {
    let repository = Repository::open(store(objects)).await.unwrap();
    let sequences = repository.sequences().await.unwrap();
    let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
    assert_eq!(sequences, expected, "snapshots are contiguous");
    let mut ends = BTreeMap::new();
    let mut parent = None;
    for sequence in sequences {
        let snapshot = repository.snapshot(sequence).await.unwrap();
        let named = snapshot.parent.as_ref().map(|p| (p.sequence, p.sha256));
        assert_eq!(named, parent, "each snapshot follows the one before");
        parent = Some((sequence, snapshot.sha256));
        ends = check_snapshot(objects, &repository, &snapshot).await;
    }
    (expected.len() as u64, ends)
}

async fn check_snapshot(
    objects: &Arc<dyn ObjectStore>,
    repository: &Repository,
    snapshot: &Snapshot,
) -> BTreeMap<PartitionId, i64> {
    let mut ends = BTreeMap::new();
    for topic in &snapshot.topics {
        for state in &topic.partitions {
            let partition = topic.partition_id(state.partition);
            let mut at = state.base_offset;
            for entry in repository
                .segments(snapshot, &partition, state)
                .await
                .unwrap()
            {
                assert_eq!(
                    entry.base_offset, at,
                    "no offset is missing or covered twice"
                );
                at = entry.end_offset;
                let bytes = get(objects, &entry.key).await;
                assert_eq!(bytes.len() as u64, entry.size);
                assert_eq!(SegmentHash::of(&bytes), entry.blake3);
            }
            assert_eq!(at, state.end_offset);
            assert_eq!(state.records as i64, state.end_offset - state.base_offset);
            ends.insert(partition, at);
        }
    }
    ends
}

pub(crate) async fn get(objects: &Arc<dyn ObjectStore>, key: &str) -> Vec<u8> {
    let options = object_store::GetOptions::default();
    let object = objects.get_opts(&key.into(), options).await.unwrap();
    object.bytes().await.unwrap().to_vec()
}

pub(crate) async fn put(objects: &Arc<dyn ObjectStore>, key: &str, bytes: &[u8]) {
    let payload = bytes.to_vec().into();
    let options = object_store::PutOptions::default();
    objects
        .put_opts(&key.into(), payload, options)
        .await
        .unwrap();
}

/// Returns the ends that a complete backup of `cluster` reaches.
pub(crate) fn ends(cluster: &Cluster) -> BTreeMap<PartitionId, i64> {
    let mut all = BTreeMap::new();
    for (topic, (id, ends)) in cluster {
        for (partition, end) in (0..).zip(ends) {
            all.insert(partition_id(topic, *id, partition), *end);
        }
    }
    all
}
