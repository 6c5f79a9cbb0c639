//! What the actors do.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use object_store::ObjectStoreExt;

use super::super::{PruneOptions, Upkeep};
use super::scheduler::Shared;
use crate::PartitionNumber;
use crate::TimestampType;
use crate::repo::change::{Change, FoundGroups, TopicChange};
use crate::repo::error::{RepoError, RepoErrorKind, Result};
use crate::repo::groups::GroupState;
use crate::repo::id::{Hex, Id};
use crate::repo::keys::{Key, PartitionId};
use crate::repo::reader::SegmentReader;
use crate::repo::replace::{RemovedRecords, Replacement};
use crate::repo::repository::Repository;
use crate::repo::segment_entry::SegmentEntry;
use crate::repo::segment_hash::SegmentHash;
use crate::repo::snapshot::Snapshot;
use crate::repo::store::{Store, path};
use crate::repo::testing::change::{change, partition_change, topic_change};

const PARTITIONS: u16 = 3;
const TOPIC_ID: Id = Hex([7; 16]);

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// Creates an actor of a random kind.
pub(super) fn any(shared: Arc<Shared>, store: Store) -> Running {
    match shared.random(12) {
        0..5 => Box::pin(write(shared, store)),
        11 => Box::pin(merge(shared, store)),
        10 => Box::pin(expire(shared, store)),
        5..7 => Box::pin(forget(shared, store)),
        7 => Box::pin(read(shared, store)),
        _ => {
            let grace_hours = shared.of(&[24, 1, 0]);
            Box::pin(prune(shared, store, grace_hours))
        }
    }
}

/// Reports an error that an actor may not get.
fn judge(shared: &Shared, who: &str, error: &RepoError) {
    let expected = match error.kind() {
        // Injected.
        RepoErrorKind::Unavailable { .. }
        // Others were faster.
        | RepoErrorKind::Outdated
        | RepoErrorKind::Conflict { .. }
        | RepoErrorKind::Contended { .. } => true,
        RepoErrorKind::Pruned => {
            shared.oracle.lock().unwrap().totals.refused_commits += 1;
            who == "writer" || who == "merger"
        }
        RepoErrorKind::NoSuchSnapshot { .. } => who == "forgetter",
        _ => false,
    };
    if !expected {
        let violation = format!("a {who} fails: {error}");
        shared.oracle.lock().unwrap().violation(violation);
    }
}

fn upkeep(shared: &Shared, command: &str) -> Upkeep {
    Upkeep {
        command: command.to_owned(),
        detail: String::new(),
        writer: "simulation".to_owned(),
        now: shared.now(),
    }
}

/// Backs up: some commits with new segments, some with segments that others left behind, some with none.
async fn write(shared: Arc<Shared>, store: Store) {
    for _ in 0..=shared.random(2) {
        if let Err(error) = backup(&shared, &store).await {
            return judge(&shared, "writer", &error);
        }
    }
}

async fn backup(shared: &Shared, store: &Store) -> Result<()> {
    let repository = Repository::open(store.clone()).await?;
    let read_after = repository.newest_sequence().await?;
    let base = repository.latest().await?;
    // Some commits name new objects that are no segments, and nothing else.
    let stores = !shared.once_in(3);
    let mut partitions = Vec::new();
    for partition in 0..PARTITIONS {
        let id = id(partition);
        let before = base.as_ref().and_then(|base| base.partition(&id));
        let end = before.map_or(0, |state| state.end_offset);
        let segments = match stores && shared.once_in(2) {
            true => segments(shared, &repository, base.as_deref(), &id, end).await?,
            false => Vec::new(),
        };
        let end = segments.last().map_or(end, |last| last.end_offset);
        partitions.push(partition_change(partition.into(), end, segments));
    }
    let stored = partitions.iter().flat_map(|partition| &partition.segments);
    let stored: Vec<String> = stored.map(|segment| segment.key.clone()).collect();
    let topic = TopicChange {
        config: Some(BTreeMap::new()),
        ..topic_change(&id(0), partitions)
    };
    let change = Change {
        read_after,
        started_at: shared.now(),
        created_at: shared.now(),
        groups: groups(shared),
        ..change(base, vec![topic])
    };
    let snapshot = repository.commit(&change).await?;
    let mut oracle = shared.oracle.lock().unwrap();
    oracle.committed(&snapshot.manifest, &stored);
    Ok(())
}

/// Returns groups that often are those of another snapshot.
fn groups(shared: &Shared) -> Option<FoundGroups> {
    let names: &[&str] = shared.of(&[&[][..], &["a"], &["a", "b"]]);
    let group = |name: &&str| GroupState {
        group: (*name).to_owned(),
        r#type: None,
        state: None,
        taken_at: None,
        topics: Vec::new(),
    };
    (!shared.once_in(3)).then(|| FoundGroups {
        taken_at: Timestamp::UNIX_EPOCH,
        groups: names.iter().map(group).collect(),
    })
}

fn id(partition: u16) -> PartitionId {
    PartitionId {
        topic: "t".parse().unwrap(),
        topic_id: TOPIC_ID,
        partition: PartitionNumber::from(partition),
    }
}

/// Adopts a segment that begins at `end`, or writes one.
async fn segments(
    shared: &Shared,
    repository: &Repository,
    base: Option<&Snapshot>,
    id: &PartitionId,
    end: i64,
) -> Result<Vec<SegmentEntry>> {
    let adoptable = repository
        .adoptable(base.map(|it| &it.manifest), &BTreeSet::new())
        .await?;
    let found = repository.unnamed_segments(id, end, &adoptable);
    for found in found.await? {
        if let Key::Segment { base_offset, .. } = &found.key
            && *base_offset == end
        {
            let bytes = repository.store().read_at_most(&found.key, 64).await?;
            let Some(bytes) = bytes else { continue };
            let segment_id = Hex(bytes[..16].try_into().unwrap());
            return Ok(vec![entry(id, segment_id, end)]);
        }
    }
    let entry = entry(id, Id::random(), end);
    let key = Key::parse(&entry.key).unwrap();
    let payload = entry.segment_id.0.to_vec().into();
    let path = path(&key);
    let put = repository.store().objects().put(&path, payload).await;
    if put.is_err() {
        let operation = crate::repo::Operation::Write;
        let kind = RepoErrorKind::Unavailable { operation };
        return Err(repository.store().error(&key, kind));
    }
    if shared.once_in(4) {
        // Stopped before its commit: others may adopt the segment.
        let operation = crate::repo::Operation::Write;
        let kind = RepoErrorKind::Unavailable { operation };
        return Err(repository.store().error(&key, kind));
    }
    Ok(vec![entry])
}

/// What a segment states follows from its id and its first offset.
fn entry(id: &PartitionId, segment_id: Id, base_offset: i64) -> SegmentEntry {
    SegmentEntry {
        key: Key::segment(id, base_offset, &segment_id).to_string(),
        segment_id,
        size: 16,
        footer_position: 1,
        blake3: SegmentHash(Hex([3; 32])),
        base_offset,
        end_offset: base_offset + 10,
        min_timestamp: Some(base_offset + 1),
        max_timestamp: base_offset + 2,
        min_known_timestamp: Some(base_offset + 1),
        records: 10,
        raw_bytes: 100,
        timestamp_type: TimestampType::CreateTime,
        content_digest: Some(Id::ZERO),
        rendered: None,
        whole_lines: None,
        key_filter: false,
        batches: false,
    }
}

/// Forgets some snapshots.
async fn forget(shared: Arc<Shared>, store: Store) {
    let forgotten = async {
        let repository = Repository::open(store).await?;
        let mut sequences = repository.sequences().await?;
        sequences.pop();
        sequences.retain(|_| !shared.once_in(3));
        let plan = repository.plan_forget(sequences.into_iter().collect());
        let plan = plan.await?;
        let count = plan.sequences.len() as u64;
        repository.forget(&plan, &upkeep(&shared, "forget")).await?;
        shared.oracle.lock().unwrap().totals.forgotten += count;
        Ok::<_, RepoError>(())
    };
    if let Err(error) = forgotten.await {
        judge(&shared, "forgetter", &error);
    }
}

/// Expires the first segments of some partitions, all of them at times.
async fn expire(shared: Arc<Shared>, store: Store) {
    let expired = async {
        let repository = Repository::open(store).await?;
        let Some(newest) = repository.latest().await? else {
            return Ok(());
        };
        let (mut plan, mut keys) = (Vec::new(), Vec::new());
        for topic in &newest.topics {
            for state in &topic.partitions {
                let id = topic.partition_id(state.partition);
                let older_than = shared.of(&[0, state.end_offset / 2, i64::MAX]);
                let segments = repository.segments(&newest, &id, state).await?;
                let expiry = repository
                    .plan_expiry(&newest, id, state, older_than)
                    .await?;
                let gone = segments.iter().take(expiry.segments() as usize);
                keys.extend(gone.map(|segment| segment.key.clone()));
                plan.push(expiry);
            }
        }
        // Before, since a lost answer says nothing about the effect.
        shared.oracle.lock().unwrap().may_expire(&keys);
        let snapshot = repository.expire(&plan, &upkeep(&shared, "expire")).await?;
        if snapshot.is_some() {
            shared.oracle.lock().unwrap().expired(&keys);
        }
        Ok::<_, RepoError>(())
    };
    match expired.await {
        // Forgotten since it was read.
        Err(error) if matches!(error.kind(), RepoErrorKind::Forgotten { .. }) => {}
        Err(error) => judge(&shared, "expirer", &error),
        Ok(()) => {}
    }
}

/// Merges two segments of some partitions.
async fn merge(shared: Arc<Shared>, store: Store) {
    match merge_some(&shared, store).await {
        // Forgotten since it was read.
        Err(error) if matches!(error.kind(), RepoErrorKind::Forgotten { .. }) => {}
        Err(error) => judge(&shared, "merger", &error),
        Ok(()) => {}
    }
}

async fn merge_some(shared: &Shared, store: Store) -> Result<()> {
    let repository = Repository::open(store).await?;
    let Some(newest) = repository.latest().await? else {
        return Ok(());
    };
    let mut replacements = Vec::new();
    for topic in &newest.topics {
        for state in &topic.partitions {
            let id = topic.partition_id(state.partition);
            let segments = repository.segments(&newest, &id, state).await?;
            let first = shared.random(segments.len().max(1) as u64) as usize;
            let Some(pair) = segments.get(first..first + 2) else {
                continue;
            };
            let [one, two] = [&pair[0], &pair[1]];
            let merged = SegmentEntry {
                end_offset: two.end_offset,
                min_timestamp: one.min_timestamp.min(two.min_timestamp),
                max_timestamp: one.max_timestamp.max(two.max_timestamp),
                records: one.records + two.records,
                ..entry(&id, Id::random(), one.base_offset)
            };
            let key = Key::parse(&merged.key).unwrap();
            let payload = merged.segment_id.0.to_vec().into();
            let path = path(&key);
            let put = repository.store().objects().put(&path, payload);
            if put.await.is_err() {
                let operation = crate::repo::Operation::Write;
                let kind = RepoErrorKind::Unavailable { operation };
                return Err(repository.store().error(&key, kind));
            }
            replacements.push(Replacement {
                id,
                removed: pair.to_vec(),
                added: vec![merged],
                removed_digest: None,
                without: RemovedRecords::default(),
                recovered: None,
            });
        }
    }
    let keys = |of: &[SegmentEntry]| of.iter().map(|it| it.key.clone()).collect::<Vec<_>>();
    for replacement in &replacements {
        let mut oracle = shared.oracle.lock().unwrap();
        oracle.may_expire(&keys(&replacement.removed));
    }
    let upkeep = upkeep(shared, "merge");
    let replaced = repository.replace(&replacements, newest.sequence, &upkeep);
    let replaced = replaced.await?;
    for (at, replacement) in replacements.iter().enumerate() {
        if !replaced.outdated.contains(&at) {
            let (removed, added) = (keys(&replacement.removed), keys(&replacement.added));
            shared.oracle.lock().unwrap().replaced(&removed, &added);
        }
    }
    Ok(())
}

/// Prunes once.
pub(super) async fn prune(shared: Arc<Shared>, store: Store, grace_hours: u64) {
    let pruned = async {
        let repository = Repository::open(store).await?;
        let options = PruneOptions {
            grace: Duration::from_hours(grace_hours),
            now: shared.now(),
            claims: Vec::new(),
        };
        let plan = repository.plan_prune(&options).await?;
        repository.prune(plan, &upkeep(&shared, "prune")).await
    };
    if let Err(error) = pruned.await {
        judge(&shared, "pruner", &error);
    }
}

/// Reads a snapshot, down to the bytes of its segments.
async fn read(shared: Arc<Shared>, store: Store) {
    let listed = async {
        let repository = Repository::open(store).await?;
        let sequences = repository.sequences().await?;
        Ok::<_, RepoError>((repository, sequences))
    };
    let (repository, sequences) = match listed.await {
        Ok(listed) => listed,
        Err(error) => return judge(&shared, "reader", &error),
    };
    if sequences.is_empty() {
        return;
    }
    let sequence = shared.of(&sequences);
    let read = read_all(&repository, sequence).await;
    match read {
        Ok(()) => shared.oracle.lock().unwrap().totals.whole_reads += 1,
        Err(error) if *error.kind() == RepoErrorKind::Forgotten { sequence } => {
            let mut oracle = shared.oracle.lock().unwrap();
            oracle.read_forgotten(shared.objects(), sequence);
        }
        Err(error) => judge(&shared, "reader", &error),
    }
}

async fn read_all(repository: &Repository, sequence: u64) -> Result<()> {
    let snapshot = repository.snapshot(sequence).await?;
    repository.groups(&snapshot).await?;
    for topic in &snapshot.topics {
        for state in &topic.partitions {
            let id = topic.partition_id(state.partition);
            for entry in repository.segments(&snapshot, &id, state).await? {
                let read = SegmentReader::stored(repository.store(), &id, &entry, 0..entry.size);
                if let Err(error) = read.await {
                    return Err(repository.explain(sequence, error).await);
                }
            }
        }
    }
    Ok(())
}
